# SPDX-License-Identifier: Apache-2.0
"""`libra-monai report --format`: every format from the command line, and what happens where one cannot be written."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import generate_uid

from libra_monai import checkpoints
from libra_monai.apps.main import main
from libra_monai.outputs import needs
from libra_monai.transforms import LoadRadiograph


@pytest.fixture
def pair(phantom, records):
    """Paths of a current and a prior picture."""
    record = next(r for r in records if r["prior"])
    return phantom / record["current"], phantom / record["prior"]


def test_a_pair_is_written_in_every_format_asked_for(pair, tmp_path, capsys):
    words = ["report", "--current", str(pair[0]), "--prior", str(pair[1]), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--format", "text,json,sr,basic_sr,fhir,html,pdf"]) == 0
    stem = pair[0].stem
    wanted = {f"{stem}.{end}" for end in ("txt", "json", "sr.dcm", "basic_sr.dcm", "fhir.json", "pdf", "pdf.dcm")}
    assert {path.name for path in tmp_path.iterdir()} == wanted | {"report.html"}
    content = json.loads((tmp_path / f"{stem}.json").read_text())
    assert content["comparison"].startswith("Prior chest radiograph, ") and content["technique"].startswith("Chest radiograph, ")
    assert "report.html" in capsys.readouterr().out


def test_sr_of_a_png_file_costs_the_exit_status_but_not_the_text(pair, tmp_path, capsys):
    picture, out = tmp_path / "c.png", tmp_path / "out"
    Image.fromarray(LoadRadiograph()(str(pair[0]))[0].numpy()).save(picture)
    assert main(["report", "--current", str(picture), "--out", str(out), "--format", "sr,text", "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "DICOM SR of study 'c' cannot be written: its current picture has no DICOM header" in said.err
    assert {path.name for path in out.iterdir()} == {"c.txt", "failed.jsonl"} and "c.txt" in said.out


def test_pictures_of_a_folder_that_were_not_looked_at_are_named(pair, tmp_path):
    (tmp_path / "in").mkdir()
    dataset = dcmread(pair[0])
    dataset.save_as(tmp_path / "in" / "0")
    for number, view in enumerate(("LL", "AP"), start=1):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ViewPosition = view
        dataset.PatientOrientation = ["A", "F"] if view == "LL" else ["L", "F"]
        dataset.save_as(tmp_path / "in" / str(number))
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--format", "text", "--device", "cpu"]) == 0
    (text,) = (tmp_path / "out").glob("*.txt")
    assert "Not read by this software: lateral view, AP view." in text.read_text()
    assert "No prior available to this software\n" in text.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "sr"], "format 'sr' needs the package highdicom, which is not installed"),
        (["--format", "text", "--out", "/dev/null/o"], "--out /dev/null/o cannot be written"),
    ],
)
def test_what_cannot_be_written_is_told_before_a_model_is_loaded(pair, tmp_path, capsys, monkeypatch, words, says):
    loaded = []
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    monkeypatch.setattr(checkpoints, "load_pretrained", lambda *args: loaded.append(args))
    assert main(["report", "--current", str(pair[0]), "--out", str(tmp_path), *words]) == 2
    assert says in capsys.readouterr().err and loaded == []
