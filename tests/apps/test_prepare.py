# SPDX-License-Identifier: Apache-2.0
"""An archive becomes a datalist with an account of what was left out; the true priors are found."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from libra_monai.apps.main import main
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_cxr"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Phantom DICOM files under names that say nothing, and the datalist they came with."""
    folder = tmp_path_factory.mktemp("archive")
    generate(folder / "phantom", 8, 11, {"test": 1.0}, long_side=96, workers=1)
    (folder / "files").mkdir()
    for number, path in enumerate(sorted((folder / "phantom/images").rglob("*.dcm"), reverse=True)):
        shutil.copyfile(path, folder / "files" / f"x{number:03d}")
    (folder / "files/notes.txt").write_text("no picture")
    return folder


def _priors(datalist):
    """Study UID -> study UID of the prior."""
    found = {}
    for split in ("training", "validation", "test"):
        for item in json.loads(Path(datalist).read_text()).get(split) or []:
            found[item["study_uid"]] = item["prior_study_id"]
    return found


def test_an_archive_gives_the_priors_it_was_drawn_with(archive, tmp_path, capsys):
    assert main(["prepare", "study-folder", str(archive / "files"), "--out", str(tmp_path)]) == 0
    assert "datalist.json" in capsys.readouterr().out
    own = json.loads((archive / "phantom/datalist.json").read_text())["test"]
    uid = {item["study_id"]: item["study_uid"] for item in own}
    wanted = {item["study_uid"]: uid.get(item["prior_study_id"]) for item in own}
    assert _priors(tmp_path / "datalist.json") == wanted and any(wanted.values())


def test_a_second_run_writes_the_same_bytes_and_a_dry_run_none(archive, tmp_path):
    for name in ("a", "b"):
        assert main(["prepare", "study_folder", str(archive / "files"), "--out", str(tmp_path / name)]) == 0
    for name in ("datalist.json", "manifest.json", "dropped.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert main(["prepare", "study-folder", str(archive / "files"), "--out", str(tmp_path / "c"), "--dry-run"]) == 0
    assert not (tmp_path / "c" / "datalist.json").exists()


def test_what_fell_out_is_listed_with_its_reason_and_patients_stay_in_one_split(archive, tmp_path):
    assert main(["prepare", "study-folder", str(archive / "files"), "--out", str(tmp_path)]) == 0
    assert "notes.txt" in (tmp_path / "dropped.csv").read_text()
    content = json.loads((tmp_path / "datalist.json").read_text())
    places = {}
    for split in ("training", "validation", "test"):
        for item in content.get(split) or []:
            places.setdefault(item["patient_id"], set()).add(split)
    assert len(places) == 8 and all(len(splits) == 1 for splits in places.values())


def test_explain_says_why_and_writes_nothing(archive, tmp_path, capsys):
    own = json.loads((archive / "phantom/datalist.json").read_text())["test"]
    later = next(item for item in own if item["prior"])
    words = ["prepare", "study-folder", str(archive / "files"), "--out", str(tmp_path / "n"), "--explain", later["study_uid"]]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "rule default" in said and "hours before" in said and not (tmp_path / "n").exists()


def test_one_folder_of_two_patients_and_one_study_uid_is_not_mixed(archive, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    paths = sorted((archive / "files").glob("x*"))
    first = pydicom.dcmread(paths[0])
    other = next(d for d in map(pydicom.dcmread, paths) if d.PatientID != first.PatientID)
    other.StudyInstanceUID = first.StudyInstanceUID
    for number, dataset in enumerate((first, other)):
        dataset.save_as(folder / f"{number}.dcm")
    assert main(["prepare", "study-folder", str(folder), "--out", str(tmp_path / "out")]) == 2  # nothing is left
    said = capsys.readouterr()
    assert "stands for two patients" in said.out + said.err


def test_mistakes_end_in_one_line(tmp_path, capsys):
    assert main(["prepare", "study-folder", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert "is no folder" in capsys.readouterr().err


def _wrap(row, folder, number, start):
    """One Hannover picture as a DICOM file; a more negative offset is a later day."""
    pixels = np.asarray(Image.open(REAL / row["image"]).convert("L"))
    when = start - timedelta(days=float(row["admission_offset_days"]))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[row["image"]])
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", row["image"]])
    dataset.PatientID, dataset.PatientSex = row["patient_id"], row["sex"].upper()
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", row["projection"].upper()
    dataset.AcquisitionDate, dataset.AcquisitionTime = f"{when:%Y%m%d}", "101500"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelData = 7, pixels.tobytes()
    dataset.save_as(folder / f"{(number * 7) % 16:02d}", enforce_file_format=True)
    return dataset.StudyInstanceUID


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures (../shared) are not at hand")
def test_all_sixteen_real_pictures_find_their_true_priors(tmp_path):
    rows = list(csv.DictReader((REAL / "hannover.csv").open(encoding="utf-8", newline="")))
    (tmp_path / "files").mkdir()
    uids = {row["image"]: _wrap(row, tmp_path / "files", n, datetime(2020, 6, 1)) for n, row in enumerate(rows)}
    wanted = {}
    for row in rows:
        offset = float(row["admission_offset_days"])
        older = [r for r in rows if r["patient_id"] == row["patient_id"] and float(r["admission_offset_days"]) > offset]
        before = min(older, key=lambda r: float(r["admission_offset_days"]), default=None)
        wanted[uids[row["image"]]] = uids[before["image"]] if before else None
    assert main(["prepare", "study-folder", str(tmp_path / "files"), "--out", str(tmp_path / "out")]) == 0
    assert _priors(tmp_path / "out/datalist.json") == wanted
    assert len(wanted) == 16 and sum(p is not None for p in wanted.values()) == 10


@pytest.mark.parametrize("workflow", ["train", "evaluate"])
def test_a_prepared_archive_trains_and_evaluates(archive, tmp_path, workflow, monkeypatch):
    out = tmp_path / "list"
    words = ["prepare", "study-folder", str(archive / "files"), "--out", str(out), "--splits", "training=0.5,validation=0.25,test=0.25"]
    assert main([*words, "--reports", str(_reports(archive))]) == 0
    assert load_records(out / "datalist.json", "test")
    limits = ["--max_epochs", "1", "--train_limit", "2", "--val_limit", "1"] if workflow == "train" else ["--limit", "2"]
    more = ["--datalist", str(out / "datalist.json"), "--data_root", str(archive / "files"), "--output_dir", str(tmp_path / "run")]
    assert main(["run", workflow, "data/study_folder", *more, "--batch_size", "2", "--decoding#max_new_tokens", "8", *limits]) == 0


def _reports(archive):
    """The phantoms' reports under the names an archive would have."""
    folder = archive / "reports"
    if not folder.is_dir():
        folder.mkdir()
        for item in json.loads((archive / "phantom/datalist.json").read_text())["test"]:
            text = (archive / "phantom/reports" / f"{item['study_id']}.txt").read_text()
            (folder / f"{item['study_uid']}.txt").write_text(text)
    return folder
