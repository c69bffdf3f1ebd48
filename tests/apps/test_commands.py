# SPDX-License-Identifier: Apache-2.0
"""The command line does what it says, and says in one line what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from libra_monai.apps.main import COMMANDS, main
from libra_monai.apps.workflow import parse_overrides


@pytest.fixture
def picture(tmp_path):
    """A picture that is no radiograph but can be read."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 70), dtype=np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=lambda c: c[0] if c else "overview")
def test_every_command_has_help(capsys, command):
    assert main([*command, "--help"]) == 0
    assert "usage: libra-monai" in capsys.readouterr().out


def test_report_writes_marked_drafts_of_a_pair(picture, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["report", "--current", str(picture), "--prior", str(picture), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "NOT REVIEWED" in said.splitlines()[0] and "on a real patient its words mean nothing" in said
    assert "NOT REVIEWED" in (out / "a.txt").read_text().splitlines()[0]
    content = json.loads((out / "a.json").read_text())
    assert next(iter(content)) == "marks" and content["prior_used"]
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 2 and "NOT REVIEWED" in page


def test_report_tells_how_sure_it_is_of_each_sentence_if_asked_and_writes_the_same_text(picture, tmp_path):
    contents = []
    for more in ([], ["--evidence"]):
        out = tmp_path / f"out{len(more)}"
        assert main(["report", "--current", str(picture), "--prior", str(picture), "--out", str(out), *more]) == 0
        contents.append(json.loads((out / "a.json").read_text()))
        assert ("how sure the model was" in (out / "report.html").read_text()) == bool(more)
    plain, asked = contents
    assert "evidence" not in plain and {name: asked[name] for name in plain} == plain
    assert " ".join(one["text"] for one in asked["evidence"]) == asked["prediction"]
    assert all(one["prior_contrast"] is not None and 0 < one["score"] < 1 for one in asked["evidence"])
    assert asked["evidence_note"].startswith("Scores were calibrated")


def _one_line(capsys, argv, status):
    assert main(argv) == status
    said = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "\n".join(said)
    return said[-1]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text("a text file with a name that promises more " * 9), "not a readable DICOM"),
        (lambda p: Image.fromarray(np.zeros((80, 80), np.uint8)).save(p, format="PNG"), "all black"),
    ],
    ids=["missing", "text", "black"],
)
def test_report_names_the_bad_file_and_lists_it(tmp_path, capsys, make, says):
    bad, out = tmp_path / "bad.dcm", tmp_path / "out"
    make(bad)
    line = _one_line(capsys, ["report", "--current", str(bad), "--out", str(out)], 1)
    assert line.startswith("libra-monai: error:") and "bad.dcm" in line and says in line
    failed = [json.loads(row) for row in (out / "failed.jsonl").read_text().splitlines()]
    assert failed[0]["file"] == str(bad) and says in failed[0]["reason"] and failed[0]["remedy"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["reprot"], "Did you mean 'report'"),
        (["run", "trian"], "Did you mean 'train'"),
        (["run", "train", "stage/aling"], "Did you mean 'stage/align'"),
        (["run", "train", "--max_epoch", "3"], "the command line: unknown id 'max_epoch'. Did you mean 'max_epochs'"),
        (["run", "train", "--train#trainr#max_epochs", "3"], "Did you mean 'train#trainer'"),
        (["run", "train", "--seed"], "--seed has no value"),
        (["run", "evaluate", "--connector#name", "tacc"], "connector 'tacc' is not registered"),
        (["run", "evaluate", "--datalist", "nowhere.json"], "datalist nowhere.json does not exist"),
        (["run", "evaluate", "--ckpt", "nowhere"], "model folder nowhere does not exist"),
        (["run", "evaluate", "--decoding#num_beam", "3"], "num_beam"),
        (["run", "evaluate", "--device", "cuda:77"], "device 'cuda:77'"),
        (["run", "evaluate", "--processor#image_sise", "3"], "takes no argument 'image_sise'. Did you mean 'image_size'"),
        (["run", "train", "--train#trainer#max_epoch", "3"], "SupervisedTrainer takes no argument 'max_epoch'"),
        (["run", "evaluate", "--processor#image_size", "224"], "processor.image_size is 224, but the encoder takes 112"),
        (["run", "evaluate", "--processor#mean", "0.1"], "Set --processor#mean 0.5307"),
        (["phantom", "--out", "p", "--seed", "-1"], "--seed -1 is negative"),
        (["phantom", "--out", "/dev/null/p"], "--out /dev/null/p cannot be written"),
        (["report", "--current", "a.png", "--out", "/dev/null/o"], "--out /dev/null/o cannot be written"),
        (["report", "--current", "a.png", "--out", "o", "--format", "docx"], "--format 'docx' does not exist"),
        (["report", "--current", "a.png", "--out", "o", "--model", "nowhere"], "model folder nowhere does not exist"),
        (["phantom", "--out", "p", "--patients", "0"], "--patients 0"),
        (["phantom", "--out", "p", "--splits", "train"], "--splits train"),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, list) else None,
)
def test_a_mistake_is_named_in_one_line_with_its_remedy(tmp_path, monkeypatch, capsys, phantom, argv, says):
    monkeypatch.chdir(tmp_path)
    if argv[0] == "run" and "--datalist" not in argv:
        argv = [*argv, "--datalist", str(phantom / "datalist.json")] if argv[-1] != "--seed" else argv
    line = _one_line(capsys, argv, 2)
    assert line.startswith("libra-monai: error:") and says in line


def test_a_key_misspelt_in_an_overlay_is_refused_with_its_file(tmp_path, capsys):
    overlay = tmp_path / "mine.json"
    overlay.write_text('{"learning_rat": 1}')
    line = _one_line(capsys, ["run", "train", str(overlay)], 2)
    assert "mine.json: unknown id 'learning_rat'. Did you mean 'learning_rate'?" in line


def test_an_empty_datalist_is_refused(tmp_path, capsys):
    (tmp_path / "empty.json").write_text('{"test": []}')
    line = _one_line(
        capsys, ["run", "evaluate", "--datalist", str(tmp_path / "empty.json"), "--output_dir", str(tmp_path / "o")], 2
    )
    assert "empty.json: no studies in split 'test'" in line


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert main(["report", "--current", "nowhere.png", "--out", str(tmp_path), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_show_config_tells_value_and_origin_of_every_id(capsys):
    assert main(["show-config", "train", "stage/align", "--seed", "7"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line and not line.startswith("python")}
    assert "stage/align" in rows["trainable"] and '{"connector": true}' in rows["trainable"]
    assert "command line" in rows["seed"] and rows["seed"].rstrip().endswith("7")
    assert " train " in rows["encoder"]
    assert main(["show-config", "train", "stage/align", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainable"] == {"connector": True}


def test_doctor_lists_what_is_here(capsys, tmp_path):
    assert main(["doctor", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for word in ("Python 3", "torch", "DICOM JPEG 2000", "is writable", "weights libra_tiny", "drafts as sr"):
        assert word in said


def test_phantom_prints_where_the_studies_are(tmp_path, capsys):
    assert main(["phantom", "--out", str(tmp_path / "p"), "--patients", "2", "--seed", "3", "--size", "96"]) == 0
    assert "datalist.json" in capsys.readouterr().out and (tmp_path / "p" / "truth.jsonl").is_file()


def test_overrides_are_read_as_json_python_or_text():
    names, given = parse_overrides(["--a", "3", "--b=0.5", "stage/x", "--c", "None", "--d", "word", "--e#f", "[1,2]", "--g::h", "true"])
    assert names == ["stage/x"]
    assert given == {"a": 3, "b": 0.5, "c": None, "d": "word", "e#f": [1, 2], "g#h": True}
