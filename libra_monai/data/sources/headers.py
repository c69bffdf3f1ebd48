# SPDX-License-Identifier: Apache-2.0
"""What the header of a radiograph says of patient, study, time and view; pixels are not read.

Headers of hospitals are incomplete and wrong in many ways: a malformed value counts as absent and the next source of
the same fact is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from libra_monai.data.studies import NOT_FRONTAL, UNKNOWN_RANK, frontal_rank, is_lateral
from libra_monai.transforms.tags import quiet

_FIRST_YEAR = 1901  # 19000101 is what some devices write for an unknown date
_MOMENTS = ("Acquisition", "Content", "Series", "Study")  # in this order
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
TAGS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID AccessionNumber Modality BodyPartExamined "
    "PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge EthnicGroup InstitutionName ViewPosition "
    "ViewCodeSequence PatientOrientation PresentationIntentType Rows Columns AcquisitionDateTime "
    "ReasonForTheRequestedProcedure AdditionalPatientHistory SpecificCharacterSet AnatomicRegionSequence"
).split() + [*_DESCRIPTIONS, *(f"{name}{what}" for name in _MOMENTS for what in ("Date", "Time"))]


class NotUsed(Exception):
    """The file is none to make a study of; the message says why, without a word of the patient."""


@dataclass(frozen=True)
class Header:
    """One radiograph.

    Args:
        patient_id, issuer, birth_date: of the patient, empty or None if absent.
        study_uid, sop_uid: instance UIDs, or None.
        keys: identifiers by which a report may name the study: UID, accession number.
        view: see `libra_monai.data.studies.StudyImage`.
        time: of acquisition, or None.
        texts: sections that the request gives.
        about: age, sex, ethnicity, site.
        reason: why the picture must not be used, or None.
    """

    patient_id: str
    issuer: str | None
    birth_date: str | None
    study_uid: str | None
    sop_uid: str | None
    keys: tuple[str, ...]
    view: str | None
    time: datetime | None
    texts: dict[str, str | None] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


def read_header(path: str, any_object: bool = False) -> Header:
    """The header of a chest radiograph.

    Args:
        path: any file.
        any_object: whatever modality and body part it has.

    Raises:
        NotUsed: not DICOM, another modality or body part, or no picture in it.
    """
    try:
        with quiet():
            return header_of(dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS)), any_object)
    except NotUsed:
        raise
    except InvalidDicomError:
        raise NotUsed("not a DICOM file") from None
    except Exception as error:  # headers can be wrong in more ways than anyone foresees
        raise NotUsed(f"the header cannot be read ({type(error).__name__})") from error


def header_of(dataset: Dataset, any_object: bool = False) -> Header:
    """As `read_header`, of what was read already: from a file, or from an archive that tells its metadata.

    Args:
        dataset: with those of `TAGS` that are known.
        any_object: whatever modality and body part it has.

    Raises:
        NotUsed: another modality or body part, or no picture in it.
    """
    if not any_object:
        _check(dataset)
    return _header(dataset)


def moment(day: Any, time: Any) -> datetime | None:
    """A DICOM date and time; midnight if the time is absent or malformed, None if the date is.

    Args:
        day: DA, `YYYYMMDD`; the form `YYYY.MM.DD` of old devices is read too.
        time: TM, `HHMMSS.ffffff` or the beginning of it.
    """
    digits = re.sub(r"[.\-/]", "", str(day or "").strip())
    if not re.fullmatch(r"\d{8}", digits) or int(digits[:4]) < _FIRST_YEAR:
        return None
    clock = _clock(time)
    try:
        return datetime.strptime(digits + (clock or "000000"), "%Y%m%d%H%M%S")
    except ValueError:
        return None


def acquired(dataset: Dataset) -> datetime | None:
    """When a picture was taken: the first date with a time of acquisition, content, series, study; else the first date."""
    return acquired_at(dataset)[0]


def acquired_at(dataset: Dataset) -> tuple[datetime | None, bool]:
    """As `acquired`, and whether the time of day is known; without it the moment is midnight."""
    whole = re.match(r"(\d{8})(\d{2,6})?", str(dataset.get("AcquisitionDateTime") or "").strip())
    found = [(whole.group(1), whole.group(2)) if whole else (None, None)]
    found += [(dataset.get(f"{name}Date"), dataset.get(f"{name}Time")) for name in _MOMENTS]
    dated = [(moment(day, time), _clock(time) is not None) for day, time in found]
    dated = [(when, timed) for when, timed in dated if when is not None]
    return next((found for found in dated if found[1]), dated[0] if dated else (None, False))


def view_of(dataset: Dataset) -> str | None:
    """The view: of ViewPosition, the view code, the series' description, or the patient's orientation."""
    position = _text(dataset, "ViewPosition")
    if position and frontal_rank(position) != UNKNOWN_RANK:
        return position.upper()
    for item in dataset.get("ViewCodeSequence") or []:
        named = _canonical(str(item.get("CodeMeaning") or ""))
        if named:
            return named
    for keyword in _DESCRIPTIONS:
        named = _canonical(_text(dataset, keyword) or "")
        if named:
            return named
    rows = str((list(dataset.get("PatientOrientation") or []) or [""])[0])
    return {"L": "FRONTAL", "R": "FRONTAL", "A": "LATERAL", "P": "LATERAL"}.get(rows[:1])


def _canonical(words: str) -> str | None:
    """The one view that a description names; None if it names none, or a frontal and a lateral one."""
    upper = words.upper()
    lateral = is_lateral(upper) or bool(re.search(r"\b(?:LAT|LATERAL)\b", upper) and "DECUB" not in upper)
    rank = frontal_rank(re.sub(r"\b(?:LAT|LATERAL|LL|RL)\b", " ", upper)) if lateral else frontal_rank(upper)
    if lateral:
        return "LATERAL" if rank in (UNKNOWN_RANK, NOT_FRONTAL) else None
    frontal = re.search(r"\b(PA|AP)\b|\b(POSTERO|ANTERO)-", upper)
    if rank in (UNKNOWN_RANK, NOT_FRONTAL) or frontal is None:
        return "FRONTAL" if rank == 2 else None
    if re.search(r"\bPA\b|\bPOSTERO-", upper) and re.search(r"\bAP\b|\bANTERO-", upper):
        return "FRONTAL"
    code = "PA" if frontal.group(0) in ("PA", "POSTERO-") else "AP"
    return f"{code} AXIAL" if re.search("AXIAL|LORDOTIC", upper) else f"{code} DECUBITUS" if "DECUB" in upper else code


def _header(dataset: Dataset) -> Header:
    time = acquired(dataset)
    study_uid = _text(dataset, "StudyInstanceUID")
    keys = [study_uid, _text(dataset, "AccessionNumber")]  # StudyID is 1 in many hospitals
    raw = (_text(dataset, "PresentationIntentType") or "").upper() == "FOR PROCESSING"
    birth = moment(dataset.get("PatientBirthDate"), None)
    return Header(
        patient_id=_text(dataset, "PatientID") or "",
        issuer=_text(dataset, "IssuerOfPatientID"),
        birth_date=f"{birth:%Y%m%d}" if birth else None,
        study_uid=study_uid,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        keys=tuple(key for key in keys if key),
        view=view_of(dataset),
        time=time,
        texts={
            "indication": _text(dataset, "ReasonForTheRequestedProcedure"),
            "history": _text(dataset, "AdditionalPatientHistory"),
        },
        about={
            "age": _age(dataset, birth, time),
            "sex": (_text(dataset, "PatientSex") or "").upper()[:1] or None,
            "ethnicity": _text(dataset, "EthnicGroup"),
            "site": _text(dataset, "InstitutionName"),
        },
        reason="a raw picture (FOR PROCESSING)" if raw else None,
    )


def _check(dataset: Dataset) -> None:
    from libra_monai.transforms import gate, tags  # with torch, which worker processes of other modules do without

    modality, other = tags.text(dataset, "Modality"), gate.other_part(dataset)
    if str(dataset.get("SOPClassUID") or "") == "1.2.840.10008.1.3.10":
        raise NotUsed("a DICOM directory")
    if modality not in gate.MODALITIES and not (modality == "" and gate.shows_chest(dataset)):
        raise NotUsed(f"modality {tags.shown(modality) if modality else 'unknown'}, not CR or DX")
    if other:
        raise NotUsed(f"body part {other}, not CHEST")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise NotUsed("no picture in it")


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    return str(value).replace("\0", "").strip() or None if value is not None else None


def _clock(time: Any) -> str | None:
    digits = re.sub(r"[:]", "", str(time or "").strip()).partition(".")[0]
    if len(digits) == 5:  # the hour lost its zero; of fewer digits nobody can tell which
        digits = f"0{digits}"
    if not re.fullmatch(r"(?:\d{2}){1,3}", digits):
        return None
    hour, minute, second = (digits + "0000")[:2], (digits + "0000")[2:4], (digits + "0000")[4:6]
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return f"{hour}{minute}{min(int(second), 59):02d}"  # 60 is a leap second


def _age(dataset: Dataset, birth: datetime | None, time: datetime | None) -> int | float | None:
    """Age in years, of its own tag, else of the date of birth."""
    given = re.fullmatch(r"(\d{1,3})([DWMY])", (_text(dataset, "PatientAge") or "").upper())
    if given:
        number, unit = int(given.group(1)), given.group(2)
        return number if unit == "Y" else round(number / {"D": 365.25, "W": 52.18, "M": 12}[unit], 2)
    if birth is None or time is None or time < birth:
        return None
    return time.year - birth.year - ((time.month, time.day) < (birth.month, birth.day))
