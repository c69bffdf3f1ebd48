# SPDX-License-Identifier: Apache-2.0
"""A training that dies goes on where it stood and ends with the same bits; another configuration is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from ignite.engine import Events
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.errors import ConfigError, ModelError, TrainingError

SHORT = {
    "max_epochs": 2, "train_limit": 8, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 8},
    "save_interval": {"steps": 3}, "val_interval": {"steps": 2}, "full": True,
}  # fmt: skip
STEPS = 8


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


def _options(phantom, out, **more):
    return {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out), **SHORT, **more}


def _train(overlays, options, die_after=None):
    """Run a training, and let it die behind a step; what it did with each batch."""
    workflow = LibraWorkflow("train", overlays, options)
    workflow.initialize()
    trainer, seen = workflow.parser.get_parsed_content("train#trainer"), []

    def note(engine):
        seen.append((engine.state.iteration, tuple(engine.state.batch.study_ids), engine.state.output["loss"]))
        if engine.state.iteration == die_after:
            raise Killed

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    if die_after is None:
        workflow.run()
    else:
        with pytest.raises(Killed):
            workflow.run()
    return seen, workflow


def _weights(out):
    return {f"{p.parent.name}/{p.name}/{k}": v for p in (out / "last").rglob("*.safetensors") for k, v in load_file(p).items()}


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("overlays", "more"),
    [
        (["stage/align"], {"schedule#name": "linear", "amp": "fp16"}),
        (["stage/finetune_lora"], {"lora": {"r": 4, "lora_dropout": 0.1}, "group_by": "findings", "num_workers": 1}),
        (["stage/pretrain_encoder"], {"micro_batch": 1}),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else "",
)
def test_a_run_that_dies_in_an_epoch_ends_with_the_bits_of_an_unbroken_one(phantom, tmp_path, overlays, more):
    whole, _ = _train(overlays, _options(phantom, tmp_path / "whole", **more))
    before, _ = _train(overlays, _options(phantom, tmp_path / "dead", **more), die_after=5)
    after, _ = _train(overlays, _options(phantom, tmp_path / "dead", **more))
    assert [row[0] for row in after] == list(range(4, STEPS + 1))  # the last checkpoint was behind step 3
    assert before + after[2:] == whole
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "dead"))


def test_best_score_patience_and_tensorboard_go_on(phantom, tmp_path):
    options = {"best_by": "loss", "learning_rate": 1e-12, "patience": 100}  # nothing gets better after the first validation
    whole, one = _train(["stage/align"], _options(phantom, tmp_path / "whole", **options))
    _train(["stage/align"], _options(phantom, tmp_path / "dead", **options), die_after=7)
    _, two = _train(["stage/align"], _options(phantom, tmp_path / "dead", **options))
    states = [workflow.parser.get_parsed_content("best").state_dict() for workflow in (one, two)]
    assert states[0] == states[1] and states[0]["misses"] + states[0]["step"] // 2 == STEPS // 2
    events = EventAccumulator(str(tmp_path / "dead" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [row[0] for row in whole]
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx([row[2] for row in whole])


def test_training_ends_when_nothing_gets_better(phantom, tmp_path):
    options = _options(phantom, tmp_path, best_by="loss", learning_rate=1e-12, best_mode="max", patience=2)
    options["learning_rate"] = 0.0
    seen, _ = _train(["stage/align"], options)
    assert len(seen) == 6  # best at step 2, equal at 4 and 6
    assert (tmp_path / "last" / "report_model.json").is_file()


def test_another_configuration_is_refused_and_named(phantom, tmp_path):
    _train(["stage/align"], _options(phantom, tmp_path), die_after=4)
    with pytest.raises(ConfigError, match=r"learning_rate: 0.001 -> 0.002.*--resume false") as error:
        LibraWorkflow("train", ["stage/align"], _options(phantom, tmp_path, learning_rate=0.002)).run_all()
    assert "batch_size" not in str(error.value)
    seen, _ = _train(["stage/align"], _options(phantom, tmp_path, learning_rate=0.002, resume=False))
    assert len(seen) == STEPS


def test_a_damaged_checkpoint_is_passed_over_and_told(phantom, tmp_path, capsys):
    _train(["stage/align"], _options(phantom, tmp_path), die_after=7)
    newest = tmp_path / "checkpoints" / "step_00000006"
    data = bytearray((newest / "trained.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "trained.safetensors").write_bytes(data)
    seen, _ = _train(["stage/align"], _options(phantom, tmp_path))
    assert seen[0][0] == 4
    told = capsys.readouterr().err
    assert "step_00000006: trained.safetensors is damaged" in told and "before it" in told
    assert not list((tmp_path / "checkpoints").glob(".step*"))


def test_without_any_readable_checkpoint_the_run_does_not_silently_start_anew(phantom, tmp_path):
    _train(["stage/align"], _options(phantom, tmp_path), die_after=4)
    (tmp_path / "checkpoints" / "step_00000003" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ModelError, match="none of the 1 checkpoints"):
        LibraWorkflow("train", ["stage/align"], _options(phantom, tmp_path)).run_all()


def test_a_full_disk_leaves_the_checkpoint_before(phantom, tmp_path, monkeypatch, capsys):
    _train(["stage/align"], _options(phantom, tmp_path), die_after=4)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("libra_monai.checkpoints.training.torch.save", full)
    _train(["stage/align"], _options(phantom, tmp_path), die_after=7)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_00000003"]
    told = capsys.readouterr().err
    assert "no checkpoint at step 6" in told and "No space left" in told
    monkeypatch.undo()
    assert _train(["stage/align"], _options(phantom, tmp_path))[0][0][0] == 4


def test_only_the_last_checkpoints_stay_and_a_finished_run_is_not_resumed(phantom, tmp_path):
    _train(["stage/align"], _options(phantom, tmp_path, save_interval={"steps": 1}, keep=3))
    kept = sorted(p.name for p in (tmp_path / "checkpoints").glob("step_*"))
    assert kept == ["step_00000006", "step_00000007", "step_00000008"]
    seen, _ = _train(["stage/align"], _options(phantom, tmp_path))
    assert [row[0] for row in seen] == list(range(1, STEPS + 1))


def test_a_checkpoint_can_be_named(phantom, tmp_path):
    _train(["stage/align"], _options(phantom, tmp_path / "a"), die_after=7)
    shutil.move(tmp_path / "a" / "checkpoints" / "step_00000003", tmp_path / "kept")
    seen, _ = _train(["stage/align"], _options(phantom, tmp_path / "b", resume=str(tmp_path / "kept")))
    assert seen[0][0] == 4


def test_a_loss_that_is_no_number_stops_and_lists_the_studies(phantom, tmp_path):
    options = _options(phantom, tmp_path, learning_rate=1e30, max_grad_norm=None, val_interval=None)
    with pytest.raises(TrainingError, match=r"step \d is (nan|inf).*not_a_number.json.*learning rate"):
        LibraWorkflow("train", ["stage/align"], options).run_all()
    told = json.loads((tmp_path / "not_a_number.json").read_text())
    known = {r["study_id"] for r in json.loads((phantom / "datalist.json").read_text())["training"]}
    assert len(told["study_ids"]) == 2 and set(told["study_ids"]) <= known and told["what"] == "loss"


def test_an_empty_validation_split_is_refused_at_the_start(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    content["validation"] = []
    (phantom / "no_validation.json").write_text(json.dumps(content))
    options = _options(phantom, tmp_path) | {"datalist": str(phantom / "no_validation.json")}
    with pytest.raises(ConfigError, match="validation"):
        LibraWorkflow("train", ["stage/align"], options).run_all()
