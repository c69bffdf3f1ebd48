# SPDX-License-Identifier: Apache-2.0
"""The SR belongs to the current study, is never more than preliminary, and has the UID its inputs give it."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import replace

import pytest
from pydicom import dcmread

from libra_monai.errors import ConfigError, StudyError
from libra_monai.outputs import check_formats, needs, write_draft, write_formats
from libra_monai.types import DocumentReference

KINDS = ("sr", "basic_sr")


def _written(draft, folder, kind="sr"):
    return dcmread(write_draft(draft, folder, [kind])[0])


def _children(item, concept):
    return [c for c in item.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == concept]


def _references(sequence):
    return [
        (study.StudyInstanceUID, series.SeriesInstanceUID, sop.ReferencedSOPInstanceUID, sop.ReferencedSOPClassUID)
        for study in sequence for series in study.ReferencedSeriesSequence for sop in series.ReferencedSOPSequence
    ]  # fmt: skip


def _uids(dataset):
    return (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.SOPClassUID)


@pytest.mark.parametrize("kind", KINDS)
def test_the_object_belongs_to_the_current_study(pair, tmp_path, kind):
    report, current = _written(pair, tmp_path, kind), dcmread(pair.sources.files["current"])
    shared = "StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID PatientID PatientName PatientBirthDate PatientSex"
    for keyword in shared.split():
        assert report[keyword].value == current[keyword].value, keyword
    assert report.SeriesInstanceUID != current.SeriesInstanceUID and report.Modality == "SR"


@pytest.mark.parametrize("kind", KINDS)
def test_the_current_picture_is_evidence_and_the_prior_pertinent_other_evidence(pair, alone, tmp_path, kind):
    report = _written(pair, tmp_path, kind)
    current, prior = (dcmread(pair.sources.files[view]) for view in ("current", "prior"))
    assert _references(report.CurrentRequestedProcedureEvidenceSequence) == [_uids(current)]
    assert _references(report.PertinentOtherEvidenceSequence) == [_uids(prior)]
    assert "PertinentOtherEvidenceSequence" not in _written(alone, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_within_the_same_study_is_evidence_of_it(changed, pair, tmp_path, kind):
    study = dcmread(pair.sources.files["current"]).StudyInstanceUID
    report = _written(changed("prior", StudyInstanceUID=study), tmp_path, kind)
    assert len(_references(report.CurrentRequestedProcedureEvidenceSequence)) == 2
    assert "PertinentOtherEvidenceSequence" not in report


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_partial_preliminary_and_unverified(pair, tmp_path, kind):
    report = _written(pair, tmp_path, kind)
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == ("PARTIAL", "PRELIMINARY", "UNVERIFIED")
    assert "VerifyingObserverSequence" not in report and "NOT REVIEWED" in report.SeriesDescription


@pytest.mark.parametrize("kind", KINDS)
def test_template_language_device_and_algorithm_are_told(pair, tmp_path, kind):
    report = _written(pair, tmp_path, kind)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "2000"
    assert _children(report, "121049")[0].ConceptCodeSequence[0].CodeValue == "en"
    assert _children(report, "121005")[0].ConceptCodeSequence[0].CodeValue == "121007"  # a device observes
    assert _children(report, "121012")[0].UID.startswith("2.25.")
    procedure = _children(report, "55111-9")[0]
    assert [_children(procedure, code)[0].TextValue for code in ("111001", "111003")] == pair.model.rsplit(" ", 1)


def test_findings_rest_on_both_pictures_and_the_comparison_on_the_prior(pair, tmp_path):
    report = _written(pair, tmp_path)
    current, prior = (dcmread(pair.sources.files[view]).SOPInstanceUID for view in ("current", "prior"))
    rests = {}
    for heading in ("55111-9", "55114-3", "59776-5"):
        text = _children(report, heading)[0].ContentSequence[0]
        rests[heading] = [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in text.ContentSequence]
    assert rests == {"55111-9": [current], "55114-3": [prior], "59776-5": [current, prior]}


def test_a_retry_has_the_same_uid_and_other_inputs_have_another(pair, alone, tmp_path):
    again = replace(pair, warnings=["said the second time"])
    assert _written(pair, tmp_path).SOPInstanceUID == _written(again, tmp_path / "again").SOPInstanceUID
    others = [
        replace(pair, model="other 1"),
        replace(pair, prior_used=False),
        replace(pair, sources=replace(pair.sources, request="0" * 16)),
        replace(pair, findings=None, impression="Clear."),
        alone,
    ]
    uids = [_written(draft, tmp_path / str(n), kind).SOPInstanceUID for n, draft in enumerate([pair, *others]) for kind in KINDS]
    assert len(set(uids)) == len(uids) and all(len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_names_those_whose_place_it_takes_and_has_a_uid_of_its_own(pair, tmp_path, kind):
    first = _written(replace(pair, supersedes=()), tmp_path / "first", kind)
    named = DocumentReference(first.SOPClassUID, first.SOPInstanceUID, first.SeriesInstanceUID, first.StudyInstanceUID)
    second = _written(replace(pair, supersedes=(named,)), tmp_path / "second", kind)
    assert "PredecessorDocumentsSequence" not in first
    assert _references(second.PredecessorDocumentsSequence) == [_uids(first)]
    reworded = _written(replace(pair, findings="Reworded.", supersedes=(named,)), tmp_path / "third", kind)
    again = _written(replace(pair, supersedes=(named,)), tmp_path / "again", kind)
    uids = [_written(pair, tmp_path, kind).SOPInstanceUID, *(one.SOPInstanceUID for one in (first, second, reworded))]
    assert len(set(uids)) == 4 and again.SOPInstanceUID == second.SOPInstanceUID
    assert (second.CompletionFlag, second.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_accession_number_stays_empty_in_silence(changed, tmp_path, kind, caplog):
    absent = "AccessionNumber PatientName PatientBirthDate PatientSex StudyDate StudyTime StudyID ReferringPhysicianName"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = _written(changed(**dict.fromkeys(absent.split())), tmp_path, kind)
    assert all(report[keyword].value in ("", None) for keyword in absent.split())
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore:The value length")  # as the test reads it
@pytest.mark.parametrize("kind", KINDS)
def test_odd_values_are_kept_and_never_logged(changed, tmp_path, kind, caplog):
    caplog.set_level(logging.DEBUG)
    odd = {"PatientName": "Müller Jörg=山田", "AccessionNumber": "AB-12345678901234567", "StudyTime": "9:30"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draft = changed(SpecificCharacterSet="ISO_IR 192", PatientSex="MALE", **odd)
        report = _written(draft, tmp_path, kind)
    assert (report.PatientName, report.AccessionNumber) == (odd["PatientName"], odd["AccessionNumber"])
    assert report.PatientSex == "" and report.StudyTime == ""
    assert "Müller" not in caplog.text and "山" not in caplog.text and "AB-1234" not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("highdicom")]


def test_pictures_without_headers_have_no_sr_but_every_other_format(from_png, tmp_path):
    written, failed = write_formats(from_png, tmp_path, ["sr", "text", "json", "html", "pdf", "fhir", "basic_sr"])
    assert sorted(path.suffix for path in written) == [".html", ".json", ".json", ".pdf", ".txt"]
    assert len(failed) == 2 and not list(tmp_path.glob("*.dcm"))
    with pytest.raises(StudyError, match=f"'{from_png.study_id}' cannot be written: its current picture has no DICOM header"):
        write_draft(from_png, tmp_path, ["sr", "text"])


@pytest.mark.parametrize(("tag", "says"), [("StudyInstanceUID", "no Study Instance UID"), ("SeriesInstanceUID", "no Series")])
def test_a_header_that_names_no_study_is_refused(changed, tmp_path, tag, says):
    with pytest.raises(StudyError, match=says):
        write_draft(changed(**{tag: None}), tmp_path, ["sr"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    for name, extra in {"sr": "dicom", "fhir": "fhir", "pdf": "pdf"}.items():
        with pytest.raises(ConfigError, match=rf"format '{name}' needs .*libra-monai\[{extra}\]"):
            check_formats(["text", name])
    check_formats(["text", "json", "html", "basic_sr"])


def test_basic_text_sr_needs_pydicom_alone(pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert _written(pair, tmp_path, "basic_sr").SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.11"
    with pytest.raises(ConfigError, match="highdicom"):
        _written(pair, tmp_path, "sr")
