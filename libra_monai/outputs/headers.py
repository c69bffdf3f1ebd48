# SPDX-License-Identifier: Apache-2.0
"""DICOM headers of the pictures a draft was written from, read when a writer asks, so that no batch carries them.

What a header says wrongly counts as absent here too, see `libra_monai.data.sources.headers`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from libra_monai.data.sources.headers import acquired_at, moment, view_of
from libra_monai.errors import StudyError
from libra_monai.transforms import tags
from libra_monai.types import PictureHeader, ReportDraft

_TAGS = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID Modality PatientID IssuerOfPatientID "
    "PatientName PatientBirthDate PatientSex AccessionNumber StudyID ReferringPhysicianName TimezoneOffsetFromUTC "
    "ViewPosition ViewCodeSequence PatientOrientation SeriesDescription ProtocolName AcquisitionDeviceProcessingDescription "
    "AcquisitionDateTime AcquisitionDate AcquisitionTime ContentDate ContentTime SeriesDate SeriesTime StudyDate StudyTime"
).split()


def headers_of(draft: ReportDraft) -> dict[str, PictureHeader]:
    """View -> header, of the current picture and of the prior if it was used; pictures without a DICOM header are absent.

    Args:
        draft: a draft that knows its files.
    """
    views = ("current", "prior") if draft.prior_used else ("current",)
    found = {view: picture_header(draft.sources.files[view]) for view in views if view in draft.sources.files}
    return {view: header for view, header in found.items() if header is not None}


def picture_header(path: str) -> PictureHeader | None:
    """The header of a DICOM file, or None if it is none or cannot be read.

    Args:
        path: any file.
    """
    try:
        with tags.quiet():
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            return _header(str(path), dataset)
    except Exception:  # PNG and the like, files gone since, and headers wrong in more ways than anyone foresees
        return None


def require_headers(draft: ReportDraft, what: str) -> dict[str, PictureHeader]:
    """As `headers_of`, for objects that have to name the study they belong to.

    Args:
        draft: a draft.
        what: the object, for the message.

    Raises:
        StudyError: a picture has no DICOM header, or one without the UIDs; the message names study and remedy.
    """
    found = headers_of(draft)
    for view in ("current", "prior") if draft.prior_used else ("current",):
        header = found.get(view)
        path = draft.sources.files.get(view, draft.study_id)
        missing = "no DICOM header"
        if header is not None:
            named = {"SOP Class": header.sop_class_uid, "SOP Instance": header.sop_uid, "Series Instance": header.series_uid}
            lacking = [name for name, uid in {**named, "Study Instance": header.study_uid}.items() if not uid]
            missing = f"no {lacking[0]} UID" if lacking else ""
        if missing:
            reason = f"{what} of study '{draft.study_id}' cannot be written: its {view} picture has {missing}"
            remedy = "Give the DICOM file of the picture, or write text, JSON, HTML, PDF or FHIR."
            raise StudyError(path, "output", reason, remedy)
    return found


def _header(path: str, dataset: Dataset) -> PictureHeader:
    time, timed = acquired_at(dataset)
    sex = _text(dataset, "PatientSex").upper()
    return PictureHeader(
        path=str(Path(path)),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        modality=_text(dataset, "Modality").upper(),
        view=view_of(dataset),
        time=time,
        timed=timed,
        patient_id=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        patient_name=_text(dataset, "PatientName"),
        birth_date=_day(dataset, "PatientBirthDate"),
        sex=sex if sex in ("M", "F", "O") else "",
        accession=_text(dataset, "AccessionNumber"),
        study_id=_text(dataset, "StudyID"),
        study_date=_day(dataset, "StudyDate"),
        study_time=_clock(_text(dataset, "StudyTime")),
        referring=_text(dataset, "ReferringPhysicianName"),
        timezone=_zone(_text(dataset, "TimezoneOffsetFromUTC")),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # whatever a wrong value representation makes of a wrong value
        return ""
    if isinstance(value, MultiValue):
        value = next(iter(value), None)
    return "" if value is None else str(value).replace("\0", "").strip()


def _day(dataset: Dataset, keyword: str) -> str:
    day = moment(_text(dataset, keyword), None)
    return f"{day:%Y%m%d}" if day else ""


def _clock(text: str) -> str:
    return text if re.fullmatch(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?", text) else ""


def _zone(text: str) -> str:
    return text if re.fullmatch(r"[+-](?:0\d|1[0-4])[0-5]\d", text) else ""
