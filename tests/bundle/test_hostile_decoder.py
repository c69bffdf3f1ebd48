# SPDX-License-Identifier: Apache-2.0
"""A decoder that aborts its process costs the study it was decoding, in training, evaluation, inference and reports."""

from __future__ import annotations

import json
import logging
import shutil

import pydicom
import pytest
from pydicom.uid import RLELossless

from libra_monai.apps.main import main
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.errors import StudiesFailed
from libra_monai.transforms import decoding
from libra_monai.transforms.decoder_process import decoder_process

SHORT = {"batch_size": 2, "decoding": {"max_new_tokens": 8}}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Makes the decoder of RLE one that calls `os.abort()`, also in workers of a loader."""
    (tmp_path / "aborting_decoder.py").write_text("import os\n\ndef abort(data, options):\n    os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(decoding.DECODERS, ".5", ("aborting_decoder:abort",))
    decoder_process().close()  # the next one finds the module
    yield
    decoder_process().close()


@pytest.fixture
def studies(phantom, tmp_path):
    """A datalist whose first study of each split is compressed by RLE; the identifiers of those."""
    content = json.loads((phantom / "datalist.json").read_text())
    for split in ("training", "validation", "test"):
        for number, item in enumerate(content[split]):
            dataset = pydicom.dcmread(phantom / item["current"])
            if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                dataset.decompress(generate_instance_uid=False)
            if number == 0:
                dataset.compress(RLELossless, generate_instance_uid=False)
            (tmp_path / item["current"]).parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(tmp_path / item["current"])
            for view in ("prior", "lateral", "earlier"):
                item[view] = [] if view == "earlier" else None
        content[split] = content[split][:4]
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    return tmp_path, {split: [item["study_id"] for item in content[split]] for split in ("training", "validation", "test")}


def _failed(out):
    return [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_and_lists_the_study(studies, hostile, workers):
    folder, ids = studies
    out = folder / "out"
    options = {**SHORT, "max_epochs": 2, "num_workers": workers, "data_root": str(folder), "output_dir": str(out)}
    with pytest.raises(StudiesFailed, match="2 of the studies"):
        LibraWorkflow("train", ["stage/align"], options).run_all()
    failed = {line["study_id"]: line for line in _failed(out)}
    assert set(failed) == {ids["training"][0], ids["validation"][0]}
    for line in failed.values():
        assert line["stage"] == "pixels" and line["file"].endswith(".dcm") and line["remedy"]
        assert "the decoder ended its process by signal 6" in line["reason"] and "RLE" in line["reason"]
    assert (out / "last" / "report_model.json").is_file() and (out / "best" / "report_model.json").is_file()


@pytest.mark.parametrize("workflow", ["evaluate", "inference"])
@pytest.mark.parametrize("workers", [0, 1])
def test_all_other_studies_are_drafted(studies, hostile, workflow, workers):
    folder, ids = studies
    out = folder / "out"
    options = {**SHORT, "num_workers": workers, "data_root": str(folder), "output_dir": str(out)}
    with pytest.raises(StudiesFailed):
        LibraWorkflow(workflow, [], options).run_all()
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["study_id"] for line in lines] == ids["test"][1:]
    assert [line["study_id"] for line in _failed(out)] == ids["test"][:1]
    assert "1 could not be read" in (out / "report.html").read_text()


def test_a_report_of_many_patients_names_the_one(phantom, studies, hostile, tmp_path, capsys, caplog):
    folder, _ = studies
    caplog.set_level(logging.ERROR)
    items = json.loads((folder / "datalist.json").read_text())["test"]
    bad, good = items[0], next(item for item in items if item["patient_id"] != items[0]["patient_id"])
    (tmp_path / "in").mkdir()
    for name, item in (("a", bad), ("b", good)):
        shutil.copy(folder / item["current"], tmp_path / "in" / name)
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--format", "json", "--device", "cpu"]) == 1
    assert "1 of 2 studies failed" in capsys.readouterr().err
    assert [line["study_id"] for line in _failed(tmp_path / "out")] == [bad["study_uid"]]
    assert [path.stem for path in (tmp_path / "out").glob("*.json")] == [good["study_uid"]]
    decoding.DECODERS.pop(".5")
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "again"), "--format", "json", "--device", "cpu"]) == 0
