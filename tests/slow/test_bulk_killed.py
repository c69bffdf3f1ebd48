# SPDX-License-Identifier: Apache-2.0
"""Bulk runs that are really killed: every study stands in the file once in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
STUDIES = 6
SCRIPT = textwrap.dedent(
    """
    import json, os, signal, sys
    from ignite.engine import Events
    from libra_monai import ranks
    from libra_monai.apps.workflow import LibraWorkflow

    options, rank, at, event = json.loads(sys.argv[1])
    workflow = LibraWorkflow("inference", [], options)
    workflow.initialize()
    evaluator = workflow.parser.get_parsed_content("evaluator")

    def act(engine):
        if at and engine.state.iteration == at and ranks.rank() == rank:
            os.kill(os.getpid(), signal.SIGKILL)

    evaluator.add_event_handler(getattr(Events, event), act)
    workflow.run()
    """
)


def _run(options, processes=1, rank=0, at=None, event="ITERATION_STARTED"):
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    script = options["output_dir"] + ".py"
    with open(script, "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    words = [sys.executable, *(torchrun if processes > 1 else []), script, json.dumps([options, rank, at, event])]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_alone_and_in_two_processes_and_every_study_once(phantom, tmp_path):
    options = {
        "datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(tmp_path / "out"),
        "split": "training", "limit": STUDIES, "batch_size": 1, "decoding": {"max_new_tokens": 4}, "formats": ["json"],
    }  # fmt: skip
    at, event = random.randint(1, 2), random.choice(["ITERATION_STARTED", "ITERATION_COMPLETED"])
    assert _run(options, at=at, event=event).returncode == -signal.SIGKILL
    path = tmp_path / "out" / "predictions.jsonl"
    done = at - (event == "ITERATION_STARTED")
    assert (len(path.read_text().splitlines()) if done else 0) == done
    assert _run(options, 2, rank=random.randint(0, 1), at=random.randint(1, 2)).returncode != 0
    with path.open("a") as file:
        file.write('{"study_id": "PH')  # as a full disk leaves it
    last = _run(options, 2)
    assert last.returncode == 0, last.stderr
    lines = [json.loads(line)["study_id"] for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == STUDIES
    assert sorted(p.name for p in (tmp_path / "out").glob("predictions*")) == ["predictions.jsonl"]
    assert len(list((tmp_path / "out" / "drafts").glob("*.json"))) == STUDIES


@pytest.mark.parametrize("metrics", [[], [{"_target_": "libra_monai.build", "kind": "metric", "name": "bleu"}]])
def test_a_process_without_a_study_ends_with_the_other(phantom, tmp_path, metrics):
    options = {
        "datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(tmp_path / "out"),
        "split": "training", "batch_size": 1, "decoding": {"max_new_tokens": 4}, "formats": ["json"], "metrics": metrics,
    }  # fmt: skip
    path = tmp_path / "out" / "predictions.jsonl"
    for limit in [1] if metrics else [1, 2, 2]:  # one of one, one that remains of two, none
        run = _run({**options, "limit": limit}, 2)
        assert run.returncode == 0, run.stderr
        assert len(path.read_text().splitlines()) == len(list((tmp_path / "out" / "drafts").glob("*.json"))) == limit
    if metrics:
        scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert scores and all(score["n"] == 1 for score in scores.values())


def _alive(group):
    """Commands of the processes of a group that have not ended; one that only waits to be asked for its status has."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(stat.with_name("cmdline").read_text().replace("\0", " "))
    return found


def test_ctrl_c_with_reading_processes_leaves_no_traceback_and_no_process_and_the_same_command_goes_on(phantom, tmp_path):
    options = {
        "datalist": phantom / "datalist.json", "data_root": phantom, "output_dir": tmp_path / "out", "split": "training", "limit": 12,
        "batch_size": 1, "num_workers": 2, "decoding": '{"max_new_tokens": 40}', "formats": '["json"]', "refill": random.choice(["true", "false"]),
    }  # fmt: skip
    words = [sys.executable, "-m", "libra_monai", "run", "inference", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    path, pipes = tmp_path / "out" / "predictions.jsonl", {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(words, start_new_session=True, env=environment, **pipes)
    while not (path.is_file() and path.stat().st_size) and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: every process of the group
    said = run.communicate(timeout=120)
    assert run.returncode == 130 and "stopped when asked" in said[1] and "Traceback" not in said[0] + said[1], said
    until = time.monotonic() + 20  # whoever was interrupted while it read ends a moment after the run
    while (left := _alive(run.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left, left
    before = len(path.read_text().splitlines())
    assert 0 < before < 12
    again = subprocess.run(words, env=environment, timeout=300, **pipes)
    assert again.returncode == 0, again.stderr
    lines = [json.loads(line)["study_id"] for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 12
