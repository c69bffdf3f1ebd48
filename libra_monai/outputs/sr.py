# SPDX-License-Identifier: Apache-2.0
"""Drafts as DICOM structured reports: Enhanced SR through highdicom, Basic Text SR by pydicom alone.

The object belongs to the current study; the prior is pertinent other evidence. It is PARTIAL, PRELIMINARY and UNVERIFIED,
and nothing changes that: whoever verifies it writes an object of their own. Drafts whose place it takes are its predecessor
documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.sequence import Sequence

from libra_monai import __version__
from libra_monai.outputs.dicom_files import as_they_are, begin, save
from libra_monai.outputs.headers import require_headers
from libra_monai.outputs.identity import MANUFACTURER, PRODUCT, draft_key, uid_of
from libra_monai.outputs.needs import needs
from libra_monai.outputs.sr_content import content_tree, reference
from libra_monai.registry import register
from libra_monai.types import DocumentReference, PictureHeader, ReportDraft

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
SERIES = "AUTOMATIC DRAFT, NOT REVIEWED"
ENHANCED_NUMBER, BASIC_NUMBER = 9101, 9102  # series numbers out of the way of modalities


@register("writer", "sr")
@needs("highdicom", "dicom")
def write_sr(draft: ReportDraft, folder: Path) -> Path:
    """DICOM Enhanced SR after template 2000, `<study_id>.sr.dcm`."""
    return save(enhanced_sr(draft), draft, folder, "sr.dcm")


@register("writer", "basic_sr")
def write_basic_sr(draft: ReportDraft, folder: Path) -> Path:
    """DICOM Basic Text SR after template 2000, `<study_id>.basic_sr.dcm`."""
    return save(basic_text_sr(draft), draft, folder, "basic_sr.dcm")


def enhanced_sr(draft: ReportDraft) -> Dataset:
    """The draft as Enhanced SR.

    Args:
        draft: of a study whose pictures are DICOM files.

    Raises:
        StudyError: a picture has no DICOM header.
        ConfigError: highdicom is missing.
    """
    from highdicom.sr import EnhancedSR

    headers = require_headers(draft, "DICOM SR")
    with as_they_are():
        document = EnhancedSR(
            evidence=[_evidence(headers[view]) for view in ("current", "prior") if view in headers],
            content=content_tree(draft, headers),
            series_instance_uid=uid_of("series", "sr", headers["current"].study_uid, draft.model),
            series_number=ENHANCED_NUMBER,
            sop_instance_uid=enhanced_sr_uid(draft, headers),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PRODUCT,
            software_versions=__version__,
            series_description=SERIES,
            specific_character_set="ISO_IR 192",
        )
        _add_predecessors(document, draft)
        document.PatientName = headers["current"].patient_name
    return document


def enhanced_sr_uid(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> str:
    """SOP instance UID of the Enhanced SR of a draft, see `draft_key`.

    Args:
        draft: the draft.
        headers: view -> header of the pictures it was written from.
    """
    return uid_of("sr", *draft_key(draft, headers))


def basic_sr_uid(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> str:
    """SOP instance UID of the Basic Text SR of a draft, see `draft_key`.

    Args:
        draft: the draft.
        headers: view -> header of the pictures it was written from.
    """
    return uid_of("basic_sr", *draft_key(draft, headers))


def basic_text_sr(draft: ReportDraft) -> Dataset:
    """The draft as Basic Text SR.

    Args:
        draft: of a study whose pictures are DICOM files.

    Raises:
        StudyError: a picture has no DICOM header.
    """
    headers = require_headers(draft, "DICOM SR")
    with as_they_are():
        dataset = _document(headers["current"], basic_sr_uid(draft, headers), draft.model, datetime.now())
        for element in content_tree(draft, headers):
            dataset.add(element)
        _add_evidence(dataset, headers)
        _add_predecessors(dataset, draft)
    return dataset


def _document(current: PictureHeader, uid: str, model: str, now: datetime) -> Dataset:
    """A Basic Text SR without content."""
    series = uid_of("series", "basic_sr", current.study_uid, model)
    dataset = begin(current, BASIC_TEXT_SR, uid, series, BASIC_NUMBER, now)
    dataset.Modality, dataset.SeriesDescription = "SR", SERIES
    dataset.ReferencedPerformedProcedureStepSequence = Sequence()
    dataset.ContentDate, dataset.ContentTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag = "PARTIAL", "UNVERIFIED", "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = Sequence()
    return dataset


def _add_evidence(dataset: Dataset, headers: Mapping[str, PictureHeader]) -> None:
    """Pictures of the current study as evidence of the procedure, those of other studies as pertinent other evidence."""
    studies: dict[str, list[PictureHeader]] = defaultdict(list)
    for view in ("current", "prior"):
        if view in headers:
            studies[headers[view].study_uid].append(headers[view])
    own = studies.pop(headers["current"].study_uid)
    dataset.CurrentRequestedProcedureEvidenceSequence = Sequence([_study(own)])
    if studies:
        dataset.PertinentOtherEvidenceSequence = Sequence([_study(pictures) for pictures in studies.values()])


def _add_predecessors(dataset: Dataset, draft: ReportDraft) -> None:
    """The drafts whose place this one takes."""
    studies: dict[str, list[DocumentReference]] = defaultdict(list)
    for earlier in draft.supersedes or ():
        studies[earlier.study_uid].append(earlier)
    if studies:
        dataset.PredecessorDocumentsSequence = Sequence([_study(documents) for documents in studies.values()])


def _study(objects: Iterable[PictureHeader | DocumentReference]) -> Dataset:
    """A reference to objects of one study."""
    objects = list(objects)
    series: dict[str, list[Dataset]] = defaultdict(list)
    for one in objects:
        series[one.series_uid].append(reference(one))
    item = Dataset()
    item.StudyInstanceUID = objects[0].study_uid
    item.ReferencedSeriesSequence = Sequence()
    for uid, references in series.items():
        of_series = Dataset()
        of_series.SeriesInstanceUID, of_series.ReferencedSOPSequence = uid, Sequence(references)
        item.ReferencedSeriesSequence.append(of_series)
    return item


def _evidence(header: PictureHeader) -> Dataset:
    """What highdicom asks of a picture: patient, study and UIDs. Not the name: highdicom logs names it finds odd."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = header.sop_class_uid, header.sop_uid
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = header.series_uid, header.study_uid
    dataset.PatientID, dataset.PatientName, dataset.PatientSex = header.patient_id, None, header.sex
    dataset.PatientBirthDate = header.birth_date
    if header.issuer:
        dataset.IssuerOfPatientID = header.issuer
    dataset.AccessionNumber, dataset.StudyID = header.accession, header.study_id
    dataset.StudyDate, dataset.StudyTime = header.study_date, header.study_time
    dataset.ReferringPhysicianName = header.referring
    return dataset
