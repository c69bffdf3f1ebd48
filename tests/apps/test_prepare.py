# SPDX-License-Identifier: Apache-2.0
"""An archive becomes a datalist with an account of what was left out; the true priors are found."""

from __future__ import annotations

import csv
import json
import shutil
import stat
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
from libra_monai.data.phantom.dicom import uid_for
from libra_monai.data.phantom.generate import generate
from tests.data.studies_made import at, write_dicom

SPLITS = "training=0.5,validation=0.25,test=0.25"
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


@pytest.fixture(scope="module")
def hospital(phantom, tmp_path_factory):
    """The DICOM files of the session's phantom studies without their datalist, under names that say nothing."""
    root = tmp_path_factory.mktemp("hospital") / "archive"
    root.mkdir()
    for number, path in enumerate(sorted(phantom.glob("images/*/*/*.dcm"), key=lambda p: uid_for(p.parent.name))):
        shutil.copy(path, root / f"IM{number:05d}")
    return root


@pytest.fixture(scope="module")
def prepared(hospital, phantom, tmp_path_factory):
    """The archive prepared."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    argv = ["prepare", "study-folder", str(hospital), "--reports", str(phantom / "reports"), "--out", str(out)]
    assert main([*argv, "--splits", SPLITS, "--privacy", "synthetic"]) == 0
    return out


def test_an_archive_without_its_datalist_gets_the_same_studies_and_priors_back(prepared, records):
    found = [r for split in ("training", "validation", "test") for r in load_records(prepared / "datalist.json", split)]
    by_uid = {record["study_uid"]: record for record in found}
    assert len(found) == len(records) == len(by_uid)
    for truth in records:
        record = by_uid[truth["study_uid"]]
        for name in ("patient_id", "view", "gap_hours", "findings", "impression", "indication", "comparison", "age", "sex"):
            assert record[name] == truth[name], name
        assert record["prior_study_id"] == (uid_for(truth["prior_study_id"]) if truth["prior_study_id"] else None)
        assert record["prior_findings"] == truth["prior_findings"] and len(record["earlier"]) == len(truth["earlier"])


def test_a_second_run_writes_the_same_bytes_even_into_the_archive(hospital, phantom, prepared, tmp_path, capsys):
    own = tmp_path / "archive"
    shutil.copytree(hospital, own)
    for out in (own, own, own / "sub"):
        argv = ["prepare", "study_folder", str(own), "--reports", str(phantom / "reports"), "--out", str(out)]
        assert main([*argv, "--splits", SPLITS, "--privacy", "synthetic"]) == 0
        for name in ("datalist.json", "dropped.csv"):
            if out == own:
                assert (out / name).read_bytes() == (prepared / name).read_bytes()
        if out == own:
            assert (out / "manifest.json").read_bytes() == (prepared / "manifest.json").read_bytes()
    assert "--data_root" in capsys.readouterr().out


def test_files_that_are_left_aside_are_listed(tmp_path, capsys):
    write_dicom(tmp_path / "in" / "a")
    write_dicom(tmp_path / "in" / "ct", name="ct", Modality="CT")
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert main(["prepare", "study-folder", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    rows = (tmp_path / "out" / "dropped.csv").read_text().splitlines()[1:]
    assert rows == ["file,,,,ct,read from the source,\"modality 'CT', not CR or DX\"", "file,,,,notes.txt,read from the source,not a DICOM file"]
    said = capsys.readouterr().out
    assert "note: 1 x files skipped: not a DICOM file" in said


def test_max_gap_and_rule_reach_the_datalist(tmp_path):
    for name, hours in (("a", 0), ("b", 100)):
        write_dicom(tmp_path / "in" / name, name=name, time=at(hours))
    argv = ["prepare", "study-folder", str(tmp_path / "in"), "--splits", "test=1", "--out"]
    for options, priors in (([], 1), (["--max-gap", "99"], 0), (["--prior-rule", "libra-v1"], 1), (["--prior-rule", "previous-study"], 1)):
        out = tmp_path / "-".join(["out", *options])
        assert main([*argv, str(out), *options]) == 0
        assert sum(r["prior"] is not None for r in load_records(out / "datalist.json", "test")) == priors


def test_deidentified_copies_carry_no_identifier_and_keep_their_priors(hospital, phantom, records, tmp_path):
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(stat.S_IRUSR | stat.S_IWUSR)
    out = tmp_path / "out"
    argv = ["prepare", "study-folder", str(hospital), "--reports", str(phantom / "reports"), "--out", str(out), "--splits", "test=1"]
    assert main([*argv, "--deidentify", "--key", str(key)]) == 0
    found = load_records(out / "datalist.json", "test")
    assert len(found) == len(records)
    assert sorted(r["gap_hours"] for r in found if r["prior"]) == sorted(r["gap_hours"] for r in records if r["prior"])
    written = "".join((out / name).read_text() for name in ("datalist.json", "manifest.json", "dropped.csv", "scrub_report.jsonl"))
    for record in records:
        assert record["patient_id"] not in written and record["study_uid"] not in written
    assert "IM00000" not in written and all(r["sex"] is None and r["age"] is None for r in found)
    assert json.loads((out / "datalist.json").read_text())["privacy"] == "de-identified"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["SRC", "--prior-rule", "libra"], "Did you mean 'libra_v1'"),
        (["SRC", "--max-gap", "-1"], "max_gap -1.0 leaves no prior"),
        (["SRC", "--cleaner", "no_underscore"], "Did you mean 'no_underscores'"),
        (["SRC", "--require", "finding"], "Did you mean 'findings'"),
        (["SRC", "--deidentify"], "--deidentify needs a key"),
        (["SRC"], "no study is left of 0"),
        (["SRC/nowhere"], "is no folder"),
    ],
)
def test_wrong_options_end_in_one_line(tmp_path, capsys, words, says):
    (tmp_path / "in").mkdir()
    words = [word.replace("SRC", str(tmp_path / "in")) for word in words]
    assert main(["prepare", "study-folder", *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in said and "Traceback" not in said


def test_every_source_has_help(capsys):
    for name in ("study-folder", "mimic-cxr", "chexpert-plus"):
        assert main(["prepare", name, "--help"]) == 0
        assert "--prior-rule" in capsys.readouterr().out
