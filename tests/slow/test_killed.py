# SPDX-License-Identifier: Apache-2.0
"""Trainings that are really killed: SIGKILL at random steps, SIGTERM, a reading process that dies."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.slow import trainings

pytestmark = pytest.mark.slow
STEPS = 12
SCRIPT = textwrap.dedent(
    """
    import json, os, signal, sys
    from ignite.engine import Events
    from libra_monai.apps.workflow import LibraWorkflow

    overlays, options, at, what = json.loads(sys.argv[1])
    workflow = LibraWorkflow("train", overlays, options)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")

    def act(engine):
        if engine.state.iteration == at:
            os.kill(-os.getpid() if os.getpgrp() == os.getpid() else os.getpid(), getattr(signal, what))

    if at:
        trainer.add_event_handler(Events.ITERATION_STARTED, act)
    workflow.run()
    workflow.finalize()
    """
)


def _run_anew(overlays, options, at=None, what="SIGKILL", script=SCRIPT):
    """A training in a new Python, the first of its group, that sends the whole group a signal at a step."""
    words = [sys.executable, "-c", script, json.dumps([overlays, options, at, what])]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, start_new_session=True)


def _options(phantom, out, **more):
    return {
        "datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out), "max_epochs": 2,
        "train_limit": 12, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 6}, "save_interval": {"steps": 2},
        "val_interval": {"steps": 5}, "full": True, **more,
    }  # fmt: skip


def _overlays(stage):
    """A stage as the recipe of the small model has it: what learns to see, with Muon."""
    return [f"stage/{stage}", *(["stage/muon"] if stage in ("pretrain_encoder", "pretrain_connector") else [])]


def _weights(out):
    return {f"{p.relative_to(out)}/{k}": v for p in out.rglob("last/**/*.safetensors") for k, v in load_file(p).items()}


def _same(one, two):
    a, b = _weights(one), _weights(two)
    assert a and a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def unbroken(phantom, tmp_path_factory):
    """The folder of a run of a stage that nothing interrupts, made once."""

    @functools.cache
    def of(stage):
        out = tmp_path_factory.mktemp("unbroken") / stage
        run = trainings.run(_overlays(stage), _options(phantom, out))
        assert run.returncode == 0, run.stderr[-2000:]
        return out

    return of


@pytest.mark.parametrize(
    ("stage", "kills"),
    [
        ("align", 3), ("finetune_lora", 3), ("pretrain_encoder", 1), ("pretrain_connector", 1), ("pretrain_language", 1),
        ("pretrain_reading", 1),
    ],
)  # fmt: skip
def test_a_run_killed_at_random_steps_ends_with_the_bits_of_an_unbroken_one(phantom, tmp_path, unbroken, stage, kills):
    overlays = _overlays(stage)
    steps = sorted(random.sample(range(2, STEPS + 1), kills))
    options = _options(phantom, tmp_path / "killed")
    for step in steps:
        assert trainings.run(overlays, options, at=step).returncode == -signal.SIGKILL, steps
    last = trainings.run(overlays, options)
    assert last.returncode == 0, (steps, last.stderr[-2000:])
    saved = (steps[-1] - 1) // 2 * 2  # killed at the start of a step; saved behind every second one
    assert not saved or f"step {saved} of {STEPS}" in last.stderr, steps
    assert _same(unbroken(stage), tmp_path / "killed"), steps


def test_killed_at_any_moment_while_it_saves_at_every_step(phantom, tmp_path, unbroken):
    options = _options(phantom, tmp_path / "killed", save_interval={"steps": 1})
    folder = tmp_path / "killed" / "checkpoints"
    for _ in range(3):
        seen = set(folder.glob("step_*"))
        process = trainings.begin(["stage/finetune_lora"], options)
        before = time.monotonic()
        while set(folder.glob("step_*")) <= seen and process.is_alive() and time.monotonic() - before < 120:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.join()
    last = trainings.run(["stage/finetune_lora"], options)
    assert last.returncode == 0, last.stderr[-2000:]
    assert _same(unbroken("finetune_lora"), tmp_path / "killed")


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_to_all_of_a_run_saves_and_exits_with_success(phantom, tmp_path, unbroken, workers):
    options = _options(phantom, tmp_path / "asked", save_interval=None, num_workers=workers)
    stopped = _run_anew(["stage/align"], options, at=5, what="SIGTERM")
    assert stopped.returncode == 0 and "stopped at step 5 of 12 by SIGTERM" in stopped.stderr
    assert [p.name for p in (tmp_path / "asked" / "checkpoints").iterdir()] == ["step_00000005"]
    assert not (tmp_path / "asked" / "last").exists()
    assert trainings.run(["stage/align"], options).returncode == 0
    assert _same(unbroken("align"), tmp_path / "asked")


def test_a_reading_process_that_dies_is_told_and_the_run_goes_on_later(phantom, tmp_path):
    script = SCRIPT.replace(
        "os.kill(-os.getpid() if os.getpgrp() == os.getpid() else os.getpid(), getattr(signal, what))",
        "[os.kill(w.pid, signal.SIGKILL) for w in engine._dataloader_iter._workers]",
    ).replace("ITERATION_STARTED", "ITERATION_COMPLETED")
    options = _options(phantom, tmp_path, num_workers=1, batch_size=1)
    died = _run_anew(["stage/align"], options, at=3, script=script)
    assert died.returncode != 0
    assert "a reading process died at step" in died.stderr and "lower num_workers" in died.stderr, died.stderr[-3000:]
    again = trainings.run(["stage/align"], options)
    assert again.returncode == 0 and "going on from" in again.stderr


def _torchrun(processes, options, overlays=("stage/align",), kill_at=None):
    script = SCRIPT if kill_at is None else SCRIPT.replace("if at:", "import torch.distributed as dist\nif at and dist.get_rank() == 1:")
    path = os.path.join(options["output_dir"] + "_run.py")
    with open(path, "w") as file:
        file.write(script)
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", path,
        json.dumps([list(overlays), options, kill_at, "SIGKILL"]),
    ]  # fmt: skip
    return subprocess.run(words, capture_output=True, text=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _losses(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in ("train/loss", "validation/loss")}


@pytest.fixture(scope="module")
def alone(phantom, tmp_path_factory):
    """By stage, a run in one process of ten studies in steps of three, which do not divide by two."""

    @functools.cache
    def of(stage):
        out = tmp_path_factory.mktemp(f"alone_{stage}") / "one"
        assert trainings.run([f"stage/{stage}"], _shared(phantom, out)).returncode == 0
        return out

    return of


def _shared(phantom, out, **more):
    options = {"train_limit": 10, "batch_size": 3, "val_limit": 3, "augment": [], "connector#dropout": 0.0, "val_interval": 1}
    return _options(phantom, out, **options, **more)


# of three studies a process has two or one, of a last one or none: micro-batches of one are not as many on both
# and pre-training leaves some parameters of the encoder without a gradient
@pytest.mark.parametrize(
    ("stage", "parallel", "micro_batch"), [("align", "ddp", None), ("pretrain_connector", "ddp", None), ("align", "fsdp", 1)]
)
def test_two_processes_learn_what_one_does(phantom, tmp_path, alone, stage, parallel, micro_batch):
    more = {"micro_batch": micro_batch, "validate#dataloader#batch_size": 1}  # of three studies: two batches here, one there
    run = _torchrun(2, _shared(phantom, tmp_path / "two", parallel=parallel, **more), [f"stage/{stage}"])
    assert run.returncode == 0, run.stderr[-3000:]
    one, two = _losses(alone(stage)), _losses(tmp_path / "two")
    for tag in one:
        assert [s for s, _ in one[tag]] == [s for s, _ in two[tag]]
        assert [v for _, v in two[tag]] == pytest.approx([v for _, v in one[tag]], abs=1e-4)
    a, b = _weights(alone(stage)), _weights(tmp_path / "two")
    # Adam turns noise in a gradient of nearly zero into a step of full size: single weights may differ, and the third of an
    # attention's bias that is the keys', whose gradient is zero, but not most of a tensor
    apart = {name: float((a[name] - b[name]).abs().median()) for name in a}
    assert a.keys() == b.keys() and {name: middle for name, middle in apart.items() if middle >= 1e-4} == {}
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1  # one process writes


@pytest.mark.parametrize(("before", "after", "parallel"), [(2, 1, "fsdp"), (1, 2, "ddp")])
def test_checkpoints_go_from_some_processes_to_others(phantom, tmp_path, alone, before, after, parallel):
    options = _shared(phantom, tmp_path / "moved", parallel=parallel)
    if before == 2:
        assert _torchrun(2, options, kill_at=6).returncode != 0
    else:
        assert trainings.run(["stage/align"], options, at=6).returncode == -signal.SIGKILL
    run = _torchrun(2, options) if after == 2 else trainings.run(["stage/align"], options)
    assert run.returncode == 0 and "going on from" in run.stdout + run.stderr, run.stderr[-3000:]
    steps = dict(_losses(tmp_path / "moved")["train/loss"])
    assert steps == pytest.approx(dict(_losses(alone("align"))["train/loss"]), abs=1e-4)


def test_two_processes_evaluate_every_study_once(phantom, tmp_path):
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "libra_monai", "run", "evaluate",
        "--datalist", str(phantom / "datalist.json"), "--data_root", str(phantom), "--limit", "5", "--batch_size", "2",
        "--decoding#max_new_tokens", "24",
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.run([*words, "--output_dir", str(tmp_path / "two")], capture_output=True, text=True, timeout=300, env=env)
    assert two.returncode == 0, two.stderr[-3000:]
    one = subprocess.run([*words[:1], *words[5:], "--output_dir", str(tmp_path / "one")], capture_output=True, text=True, timeout=300, env=env)
    assert one.returncode == 0, one.stderr[-3000:]
    assert (tmp_path / "one" / "predictions.jsonl").read_text() == (tmp_path / "two" / "predictions.jsonl").read_text()
    scores = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert scores[0].keys() == scores[1].keys()
    for name, score in scores[0].items():
        if "value" in score:
            assert score["value"] == pytest.approx(scores[1][name]["value"], abs=1e-6) and score["n"] == scores[1][name]["n"]
