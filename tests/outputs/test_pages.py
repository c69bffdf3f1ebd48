# SPDX-License-Identifier: Apache-2.0
"""PDF and HTML of one draft, and bulk writing that one study cannot stop."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydicom import dcmread

from libra_monai.errors import StudyError
from libra_monai.handlers import DraftWriter, FailureLog
from libra_monai.outputs import write_draft, write_formats


def _pages(path):
    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(io.BytesIO(path.read_bytes())).pages]


def test_dicom_pictures_give_a_pdf_and_the_same_bytes_as_an_object_of_the_study(pair, tmp_path):
    path = write_draft(pair, tmp_path, ["pdf"])[0]
    wrapped, plain = dcmread(path), (tmp_path / f"{pair.study_id}.pdf").read_bytes()
    assert wrapped.EncapsulatedDocument[: wrapped.EncapsulatedDocumentLength] == plain and plain.startswith(b"%PDF")
    current, prior = (dcmread(pair.sources.files[view]) for view in ("current", "prior"))
    assert wrapped.StudyInstanceUID == current.StudyInstanceUID and wrapped.PatientID == current.PatientID
    sources = [one.ReferencedSOPInstanceUID for one in wrapped.SourceInstanceSequence]
    assert sources == [current.SOPInstanceUID, prior.SOPInstanceUID]
    assert wrapped.DocumentTitle == pair.marks[0] and wrapped.VerificationFlag == "UNVERIFIED"
    again = dcmread(write_draft(pair, tmp_path / "again", ["pdf"])[0])
    assert again.SOPInstanceUID == wrapped.SOPInstanceUID and again.EncapsulatedDocument == wrapped.EncapsulatedDocument


def test_other_pictures_give_a_plain_pdf_without_a_patient(from_png, tmp_path):
    path = write_draft(from_png, tmp_path, ["pdf"])[0]
    assert path.name == f"{from_png.study_id}.pdf" and not list(tmp_path.glob("*.dcm"))
    assert "Patient" not in _pages(path)[0]


def test_every_page_of_a_long_draft_carries_the_mark(pair, tmp_path):
    long = replace(pair, findings="There is a small pleural effusion on the left. " * 200)
    write_draft(long, tmp_path, ["pdf"])
    pages = _pages(tmp_path / f"{pair.study_id}.pdf")
    assert len(pages) > 2 and all(page.startswith("AUTOMATICALLY GENERATED DRAFT, NOT REVIEWED") for page in pages)


def test_letters_the_fonts_lack_are_refused_in_a_text_and_left_out_of_a_name(pair, changed, tmp_path):
    written, failed = write_formats(replace(pair, findings="左肺"), tmp_path, ["pdf", "html"])
    assert [path.suffix for path in written] == [".html"] and "U+5DE6" in failed[0].reason
    write_draft(changed(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎"), tmp_path, ["pdf"])
    assert "letters that are not shown" in _pages(tmp_path / f"{pair.study_id}.pdf")[0]


def test_the_page_of_one_draft_shows_both_pictures_and_marks_changes_only_in_the_draft(pair, tmp_path):
    page = write_draft(replace(pair, findings="New effusion."), tmp_path, ["html"])[0].read_text()
    assert page.count("data:image/png") == 2 and "<mark>New</mark> effusion." in page
    assert '<div class="label">comparison</div>Prior chest radiograph' in page


@pytest.mark.parametrize("accepted", [False, True])
def test_writing_in_the_pixels_keeps_pictures_off_the_page_unless_accepted(tiny, changed, tmp_path, accepted):
    file = changed(BurnedInAnnotation="YES").sources.files["current"]
    model = replace(tiny, reading={"policy": {"burned_in": "accept"}} if accepted else None)
    page = write_draft(model.report(file), tmp_path, ["html"])[0].read_text()
    assert page.count("data:image/png") == accepted


def test_a_study_that_a_format_cannot_hold_does_not_stop_the_bulk(pair, from_png, tmp_path):
    bad = replace(from_png, study_id="bad")
    engine = SimpleNamespace(state=SimpleNamespace(output={"drafts": [bad, pair]}))
    log = FailureLog(tmp_path)
    DraftWriter(tmp_path, ["sr", "text"], log)(engine)
    assert {path.name for path in (tmp_path / "drafts").iterdir()} == {
        "bad.txt", f"{pair.study_id}.txt", f"{pair.study_id}.sr.dcm"
    }  # fmt: skip
    (failure,) = log.failures.values()
    assert (failure.study_id, failure.stage) == ("bad", "output") and failure.remedy.startswith("Give the DICOM file")
    with pytest.raises(StudyError):
        DraftWriter(tmp_path, ["sr"])(engine)
