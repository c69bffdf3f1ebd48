# SPDX-License-Identifier: Apache-2.0
"""The bundle's workflows run alone and with overlays, from anywhere, and satisfy MONAI's own checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.checkpoints import load_pretrained
from libra_monai.errors import StudiesFailed

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundle" / "configs"


def _data(phantom, out, **more):
    return {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out), **more}


SHORT = {"max_epochs": 1, "train_limit": 4, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 12}}


@pytest.mark.parametrize(
    ("overlays", "trained"),
    [
        ([], "connector"),
        (["stage/align"], "connector"),
        (["stage/finetune_lora"], "language"),
        (["stage/pretrain_encoder"], "encoder"),
        (["stage/pretrain_connector"], "connector"),
        (["stage/pretrain_language"], "language"),
        (["stage/pretrain_reading"], "language"),
    ],
    ids=lambda v: v[0] if isinstance(v, list) and v else None,
)
def test_training_runs_two_steps_and_changes_only_what_is_trained(phantom, tmp_path, overlays, trained):
    workflow = LibraWorkflow("train", overlays, _data(phantom, tmp_path, **SHORT))
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    workflow.run()
    workflow.finalize()
    changed = {name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert trained in changed
    assert changed <= {name for name, how in network.trainable.items() if how}
    assert load_pretrained(tmp_path / "last").card["training_data"] == "synthetic"
    assert (tmp_path / "best" / "report_model.json").is_file()


def test_two_runs_with_one_seed_give_the_same_weights(phantom, tmp_path):
    for name in "ab":
        LibraWorkflow("train", ["stage/align"], _data(phantom, tmp_path / name, **SHORT)).run_all()
    a, b = (load_file(tmp_path / name / "last" / "connector.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_tensorboard_gets_losses_rate_metrics_drafts_and_picture_pairs(phantom, tmp_path):
    LibraWorkflow("train", ["stage/align"], _data(phantom, tmp_path, **SHORT)).run_all()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/learning_rate", "validation/bleu_4_coco", "validation/rouge_l_coco",
            "validation/finding_side_micro_f1", "validation/loss"} <= set(tags["scalars"])
    assert {"train/gradient_norm", "speed/studies_per_second", "speed/tokens_per_second", "memory/peak_gb", "words/drafted_mean",
            "validation/best_by"} <= set(tags["scalars"])
    assert len(events.Scalars("train/loss")) == 2 and "words/reference" in tags["histograms"]
    assert {"custom_scalars__config__", "_hparams_/session_start_info"} <= set(events.summary_metadata)
    assert "prior and current/0" in tags["images"]
    assert any(tag.startswith("reports/0") for tag in tags["tensors"])


def test_tensorboard_shows_no_patient_content_unless_the_data_allow_it(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    content.pop("privacy")
    (phantom / "private.json").write_text(json.dumps(content))
    options = _data(phantom, tmp_path, **SHORT) | {"datalist": str(phantom / "private.json")}
    LibraWorkflow("train", ["stage/align"], options).run_all()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert not events.Tags()["images"] and not [tag for tag in events.Tags()["tensors"] if "reports" in tag]
    content = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    texts = [r["findings"] for r in json.loads((phantom / "private.json").read_text())["validation"][:2]]
    assert texts and not any(text.encode() in content for text in texts)
    assert "train/loss" in events.Tags()["scalars"]


def test_evaluation_writes_predictions_scores_and_a_page(phantom, tmp_path):
    LibraWorkflow("evaluate", [], _data(phantom, tmp_path, limit=4, batch_size=2)).run_all()
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    fields = {"study_id", "patient_id", "prediction", "findings", "impression", "reference", "prior_study_id",
              "prior_used", "warnings", "model"}  # fmt: skip
    assert all(fields <= set(line) for line in lines)
    assert all("NOT REVIEWED" in line["marks"][0] and "synthetic" in line["marks"][0] for line in lines)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert {"bleu_4_coco", "rouge_l_coco", "finding_side_micro_f1"} <= set(scores)
    for score in scores.values():
        assert set(score) == {"value", "low", "high", "n", "signature"} and score["n"] == 4
        assert score["low"] <= score["high"]
    assert len((tmp_path / "per_study.csv").read_text().splitlines()) == 5
    page = (tmp_path / "report.html").read_text()
    assert page.count("<article>") == 4 and "NOT REVIEWED" in page and "data:image/png" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_the_control_suite_runs_at_the_end_of_an_evaluation(phantom, tmp_path):
    LibraWorkflow("evaluate", [], _data(phantom, tmp_path, limit=4, controls=["shuffled", "moved"])).run_all()
    table = json.loads((tmp_path / "controls.json").read_text())
    assert set(table["controls"]) == {"shuffled", "moved"} and table["studies"] == 4
    assert set(table["answers"]) == {"picture", "prior"}
    assert "Does the model look?" in (tmp_path / "evaluation.html").read_text()
    scores, drafts = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("metrics", "coverage"))
    assert scores["rouge_l_coco"]["n"] == drafts["scored"] == 4


def test_inference_writes_a_marked_draft_per_study(phantom, tmp_path):
    LibraWorkflow("inference", [], _data(phantom, tmp_path, limit=2)).run_all()
    drafts = sorted((tmp_path / "drafts").glob("*.txt"))
    assert len(drafts) == 2
    assert all("NOT REVIEWED" in path.read_text().splitlines()[0] for path in drafts)


def test_inference_of_files_equals_the_python_interface(phantom, records, tiny, tmp_path):
    record = next(r for r in records if r["prior"])
    files = {"current": str(phantom / record["current"]), "prior": str(phantom / record["prior"])}
    LibraWorkflow("inference", [], {"output_dir": str(tmp_path), **files}).run_all()
    line = json.loads((tmp_path / "predictions.jsonl").read_text())
    assert line["prediction"] == tiny.report(**files).text and line["prior_used"]


@pytest.mark.parametrize("name", ["inference", "evaluate"])
def test_evidence_is_a_switch_of_the_workflow_and_changes_no_draft(phantom, tmp_path, name):
    lines = []
    for asked in (False, True):
        options = _data(phantom, tmp_path / str(asked), limit=2, evidence=asked, metrics=[], decoding={"max_new_tokens": 40})
        LibraWorkflow(name, [], options).run_all()
        lines.append([json.loads(line) for line in (tmp_path / str(asked) / "predictions.jsonl").read_text().splitlines()])
    for plain, told in zip(*lines, strict=True):
        assert "evidence" not in plain and {key: told[key] for key in plain} == plain
        assert told["evidence"] and all(one["text"] in told["prediction"] for one in told["evidence"])
    assert "how sure the model was" in (tmp_path / "True" / "report.html").read_text()


@pytest.mark.parametrize("given", ["datalist", "data_root"])
def test_a_datalist_or_its_folder_is_enough(phantom, tmp_path, given):
    where = {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom)}
    LibraWorkflow("inference", [], {given: where[given], "output_dir": str(tmp_path), "limit": 1, "device": "auto"}).run_all()
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 1


def test_a_run_that_dies_keeps_what_it_drafted(phantom, tmp_path):
    workflow = LibraWorkflow("evaluate", [], _data(phantom, tmp_path, limit=3, batch_size=1))
    workflow.initialize()
    evaluator = workflow.parser.get_parsed_content("evaluator")

    def die(engine):
        raise KeyboardInterrupt

    evaluator.add_event_handler(Events.ITERATION_STARTED(once=3), die)
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    assert len((tmp_path / "predictions.partial.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_trained_model_has_a_name_of_its_own_and_names_its_parent(phantom, tmp_path):
    LibraWorkflow("train", ["stage/align"], _data(phantom, tmp_path / "mine", **SHORT)).run_all()
    card = load_pretrained(tmp_path / "mine" / "last").card
    assert card["name"] == "mine" and card["parents"] == ["libra_tiny 0.4.0"]


def test_a_batch_of_studies_is_drafted_as_each_alone(phantom, tmp_path):
    texts = []
    for size in (1, 6):
        LibraWorkflow("evaluate", [], _data(phantom, tmp_path / str(size), limit=6, batch_size=size)).run_all()
        lines = (tmp_path / str(size) / "predictions.jsonl").read_text().splitlines()
        texts.append({json.loads(line)["study_id"]: json.loads(line)["prediction"] for line in lines})
    assert texts[0] == texts[1]


def test_bad_studies_are_listed_the_others_go_on_and_the_run_fails(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    content["test"][0]["current"] = "images/missing.dcm"
    (phantom / "report.dcm").write_text("this is a text file")
    content["test"][1]["current"] = "report.dcm"
    (phantom / "bad.json").write_text(json.dumps(content))
    options = _data(phantom, tmp_path, limit=4, batch_size=2) | {"datalist": str(phantom / "bad.json")}
    with pytest.raises(StudiesFailed, match="2 of the studies"):
        LibraWorkflow("evaluate", [], options).run_all()
    failed = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert {f["study_id"] for f in failed} == {s["study_id"] for s in content["test"][:2]}
    assert all(set(f) == {"study_id", "file", "stage", "reason", "remedy"} and f["remedy"] for f in failed)
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("workflow", ["evaluate", "inference"])
def test_plain_monai_bundle_run_works_from_an_empty_directory(tmp_path, phantom, workflow):
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIGS / f"{workflow}.json"),
        "--datalist", str(phantom / "datalist.json"), "--data_root", str(phantom), "--limit", "2",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert len((tmp_path / "runs" / workflow / "predictions.jsonl").read_text().splitlines()) == 2


def test_plain_monai_bundle_run_ends_with_our_sentence(tmp_path, phantom):
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIGS / "evaluate.json"),
        "--datalist", str(phantom / "datalist.json"), "--data_root", str(phantom), "--connector#name", "tacc",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("libra-monai: connector 'tacc' is not registered. Did you mean 'tac'?")
