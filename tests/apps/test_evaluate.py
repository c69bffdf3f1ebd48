# SPDX-License-Identifier: Apache-2.0
"""`libra-monai evaluate`, with and without a model."""

from __future__ import annotations

import csv
import json

import pytest

from libra_monai import paths
from libra_monai.apps.main import main
from libra_monai.data import load_records


@pytest.fixture
def texts(phantom, tmp_path):
    """Files of drafts: the references with every third one cut short."""
    records = load_records(phantom / "datalist.json", "training")
    rows = [(r["study_id"], r["findings"] if i % 3 else r["findings"][:20]) for i, r in enumerate(records)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"study_id": s, "prediction": t}) + "\n" for s, t in rows[:-1]))
    with (tmp_path / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("study_id", "text"), *((s, "Clear lungs." if i % 2 else t) for i, (s, t) in enumerate(rows))])
    return tmp_path


def _evaluate(*words):
    return main(["evaluate", "--resamples", "50", *map(str, words)])


def test_texts_are_scored_without_a_model(phantom, texts, capsys):
    out = texts / "out"
    code = _evaluate("--predictions", texts / "p.jsonl", "--references", phantom / "datalist.json", "--split", "training",
                     "--against", texts / "q.csv", "--out", out)  # fmt: skip
    assert code == 0 and "References without a draft: 1, left out" in capsys.readouterr().out
    scores = json.loads((out / "metrics.json").read_text())
    for name, score in scores.items():
        assert set(score) in ({"value", "low", "high", "n", "signature"}, {"skipped"}), name
    assert scores["finding_side_micro_f1"]["value"] < 1
    rows = list(csv.DictReader((out / "per_study.csv").open()))
    assert len(rows) == scores["rouge_l_coco"]["n"] == json.loads((out / "coverage.json").read_text())["scored"]
    assert {"study_id", "patient_id", "prior", "projection", "rouge_l_coco"} <= set(rows[0])
    strata = json.loads((out / "strata.json").read_text())
    assert {"prior", "gap", "view", "projection", "finding", "length"} <= set(strata)
    compared = json.loads((out / "comparison.json").read_text())["metrics"]["rouge_l_coco"]
    assert compared["difference"] > 0 and compared["low"] <= compared["difference"] <= compared["high"]


def test_the_page_is_self_contained_marked_and_shows_the_worst_cases(phantom, texts):
    _evaluate("--predictions", texts / "p.jsonl", "--references", phantom / "datalist.json", "--out", texts / "out")
    page = (texts / "out" / "evaluation.html").read_text()
    assert "NOT REVIEWED" in page and page.count("<svg") > 20 and page.count("data:image/png;base64,") > 5
    assert "http" not in page and "<script" not in page and "<link" not in page
    assert "Worst cases by finding_side_micro_f1" in page


def test_identical_texts_score_one_and_markup_is_escaped(texts):
    (texts / "x.jsonl").write_text(json.dumps({"study_id": "<b>1</b>", "prediction": "<script>a</script> edema", "reference": "edema"}) + "\n")
    assert _evaluate("--predictions", texts / "x.jsonl", "--profile", "libra", "--out", texts / "out") == 0
    assert set(json.loads((texts / "out" / "metrics.json").read_text())) >= {"bleu_4_13a", "rouge_l_f1", "temporal_f1"}
    page = (texts / "out" / "evaluation.html").read_text()
    assert "<script" not in page and "<b>1" not in page
    assert _evaluate("--predictions", texts / "q.csv", "--references", texts / "q.csv", "--out", texts / "same") == 0
    scores = json.loads((texts / "same" / "metrics.json").read_text())
    assert scores["bleu_4_coco"]["value"] == pytest.approx(1, abs=1e-6) and scores["finding_side_micro_f1"]["value"] == 1


WRONG = [
    ([], "nothing to score"),
    (["--predictions", "none.jsonl", "--references", "r.csv"], "none.jsonl: no such file"),
    (["--references", "r.csv"], "--references without --predictions"),
    (["--predictions", "p", "--controls"], "--controls without --model"),
    (["--model", "m"], "--model without --datalist"),
    (["--model", "m", "--predictions", "p"], "both --predictions and --model"),
    (["--predictions", "p", "--resamples", "0"], "--resamples is 0"),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_wrong_requests_end_with_one_line(tmp_path, capsys, words, says):
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("libra-monai: error: ") and says in lines[0]


@pytest.mark.parametrize(("option", "value", "says"), [
    ("--profile", "libre", "Did you mean 'libra'"), ("--metrics", "blue", "Did you mean 'bleu'"), ("--key", "rouge", "was not computed"),
])  # fmt: skip
def test_names_that_do_not_exist_are_told(texts, capsys, option, value, says):
    words = ["--predictions", texts / "q.csv", "--references", texts / "q.csv", "--out", texts / "out"]
    assert _evaluate(*words, option, value) == 2 and says in capsys.readouterr().err


def test_a_model_is_drafted_scored_and_controlled(phantom, tmp_path, capsys):
    words = ["--model", paths.tiny_model(), "--datalist", phantom / "datalist.json", "--limit", "4", "--controls", "shuffled,png"]
    assert _evaluate(*words, "--metrics", "finding_f1", "--out", tmp_path, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "Looks at the picture?" in said and "Looks at the prior? CANNOT TELL" in said
    controls = json.loads((tmp_path / "controls.json").read_text())
    assert set(controls["controls"]) == {"shuffled", "png"} and set(controls["answers"]) == {"picture", "prior"}
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 4 and all("NOT REVIEWED" in line["marks"][0] for line in lines)
    assert "Does the model look?" in (tmp_path / "evaluation.html").read_text()


def test_a_study_that_cannot_be_read_is_listed_and_the_exit_status_says_so(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    content["test"][0]["current"] = "images/missing.dcm"
    (phantom / "broken.json").write_text(json.dumps(content))
    words = ["--model", paths.tiny_model(), "--datalist", phantom / "broken.json", "--limit", "3", "--metrics", "rouge_l"]
    assert _evaluate(*words, "--out", tmp_path, "--device", "cpu") == 1
    failed = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [f["study_id"] for f in failed] == [content["test"][0]["study_id"]]
    assert json.loads((tmp_path / "metrics.json").read_text())["rouge_l_coco"]["n"] == 2
