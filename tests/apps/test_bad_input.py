# SPDX-License-Identifier: Apache-2.0
"""What hospitals and downloads get wrong, each once through the command line: a reason, never a crash."""

from __future__ import annotations

import json

import pydicom
import pytest

from libra_monai.apps.main import main
from tests.data.corpora.chexpert import write_chexpert
from tests.data.corpora.mimic import write_mimic
from tests.data.studies_made import at, write_dicom

MOMENTS = [f"{what}{kind}" for what in ("Study", "Series", "Acquisition", "Content") for kind in ("Date", "Time")]
ABOUT = (
    "PatientID PatientBirthDate PatientSex PatientAge StudyInstanceUID SOPInstanceUID ViewPosition ViewCodeSequence "
    "PatientOrientation SeriesDescription BodyPartExamined IssuerOfPatientID AccessionNumber AnatomicRegionSequence"
).split()
QUICK = ["--format", "json", "--device", "cpu"]


def _last(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_file_that_says_nothing_is_drafted_with_warnings_or_refused_by_policy(tmp_path, capsys):
    bare = str(write_dicom(tmp_path / "in" / "x", **dict.fromkeys([*ABOUT, *MOMENTS])))
    assert main(["report", "--current", bare, "--out", str(tmp_path / "a"), *QUICK]) == 0
    warnings = json.loads((tmp_path / "a" / "x.json").read_text())["warnings"]
    assert {"current: the file does not say its view", "current: the file does not say the patient's age"} <= set(warnings)
    refusing = ["--policy", "missing_view=refuse", "--out", str(tmp_path / "b"), *QUICK]
    assert main(["report", "--current", bare, *refusing]) == 1
    assert "does not say its view" in _last(capsys) and (tmp_path / "b" / "failed.jsonl").is_file()
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "c"), *QUICK]) == 1
    assert "no usable frontal picture (views: unknown)" in _last(capsys)
    assert main(["report", str(tmp_path / "in"), "--unknown-views", "--out", str(tmp_path / "d"), *QUICK]) == 0


@pytest.mark.parametrize("day", ["00000000", "20209999", "yesterday", ""])
def test_a_study_without_a_date_that_can_be_read_has_no_prior_and_is_none(tmp_path, capsys, day):
    write_dicom(tmp_path / "in" / "good", name="good", time=at(-24 * 365 * 140))
    write_dicom(tmp_path / "in" / "bad", name="bad", **{name: day for name in MOMENTS if name.endswith("Date")})
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *QUICK]) == 0
    (draft,) = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert not draft["prior_used"] and "no date" in " ".join(draft["warnings"])


def test_a_header_of_2_to_the_31_pixels_is_refused_and_the_other_patient_goes_on(tmp_path, capsys):
    write_dicom(tmp_path / "in" / "good", patient="good")
    path = write_dicom(tmp_path / "in" / "huge", patient="huge")
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 46341
    dataset.save_as(path)
    assert main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *QUICK]) == 1
    (line,) = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert "claims 46341 x 46341" in json.loads(line)["reason"] and len(list((tmp_path / "out").glob("*.json"))) == 1
    assert main(["prepare", "study-folder", str(tmp_path / "in"), "--out", str(tmp_path / "list")]) == 0
    assert "claims 46341 x 46341" in (tmp_path / "list" / "dropped.csv").read_text()


def test_a_datalist_whose_path_leaves_the_root_costs_that_study(tmp_path, capsys):
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}", name=f"s{number}", time=at(24 * number))
    words = ["prepare", "study-folder", str(tmp_path / "in"), "--out", str(tmp_path / "list"), "--splits", "test=1"]
    assert main(words) == 0
    content = json.loads((tmp_path / "list" / "datalist.json").read_text())
    content["test"][0]["current"] = "../list/datalist.json"
    (tmp_path / "evil.json").write_text(json.dumps(content))
    run = ["run", "inference", "--datalist", str(tmp_path / "evil.json"), "--data_root", str(tmp_path / "in")]
    assert main([*run, "--output_dir", str(tmp_path / "out"), "--decoding#max_new_tokens", "4"]) == 1
    assert "path leaves the data root" in _last(capsys)
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 2


def test_a_misplaced_name_is_never_printed_or_listed(tmp_path, capsys):
    write_dicom(tmp_path / "in" / "a")
    write_dicom(tmp_path / "in" / "b", name="b", Modality="DOE^JANE", BodyPartExamined="Doe, Jane (1950)")
    capsys.readouterr()  # writing such a file warns
    assert main(["prepare", "study-folder", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    listed = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "DOE" not in (said.out + said.err + listed).upper() and "not repeated here" in listed


@pytest.mark.parametrize(
    ("words", "privacy"),
    [
        ([], "identifiable"),
        (["--privacy", "de-identified"], "de-identified"),
        (["--deidentify", "--key", "KEY"], "de-identified"),
    ],
    ids=["as it comes", "by name", "deidentified"],
)
@pytest.mark.parametrize("source", ["mimic-cxr", "chexpert-plus"])
def test_a_corpus_counts_as_identifiable_until_someone_says_or_does_otherwise(tmp_path, source, words, privacy):
    root = (write_mimic if source == "mimic-cxr" else write_chexpert)(tmp_path / "corpus")
    (tmp_path / "key").write_text("ab" * 32)
    words = [str(tmp_path / "key") if word == "KEY" else word for word in words]
    more = ["--burned-in", "refuse_declared"] if "--deidentify" in words else []
    assert main(["prepare", source, "--root", str(tmp_path / "corpus"), "--out", str(tmp_path / "out"), *words, *more]) == 0, root
    assert json.loads((tmp_path / "out" / "datalist.json").read_text())["privacy"] == privacy
