# SPDX-License-Identifier: Apache-2.0
"""De-identification of the files and texts that `prepare --deidentify` copies.

DICOM: the Basic Application Level Confidentiality Profile of PS3.15 Annex E, done as an allow-list. What is not known
to be harmless and needed for the picture goes, at any depth, private and unknown attributes included; so nothing of
table E.1-1 keeps its value, whatever year's table one holds against it. Options of the profile used: Retain
Longitudinal Temporal Information with Modified Dates, Clean Descriptors, Clean Pixel Data where a picture is known or
made to be free of writing, and on request Retain Patient Characteristics.

Text: patterns and the identifiers known of the study. No pattern finds every name: what stays suspicious is counted,
and someone who may see the reports has to look at them.

Not done here: faces, and writing in the picture that nobody declared. The key never enters an output.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian

from libra_monai.data.corpora.pictures import bare_picture
from libra_monai.data.corpora.profile import (
    DATES,
    EMPTY,
    OLDEST,
    TIMES,
    UIDS,
    blank,
    clean_descriptors,
    declare,
    identifiers,
    joined_age,
    kept_attributes,
    time_of_day,
)
from libra_monai.data.corpora.scrubbing import Scrubbed, scrub
from libra_monai.data.schema import FIELDS
from libra_monai.data.studies import Study, StudyImage
from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.files import replacing, write_text

__all__ = ["BURNED_IN", "Deidentifier", "Policy", "ScrubReport", "Scrubbed", "identifiers", "new_key", "read_key"]

_log = logging.getLogger(__name__)

BURNED_IN = ("refuse", "refuse_declared", "blank")
METHOD = "Libra-MONAI: PS3.15 basic profile, allow-list"
MIN_KEY = 32  # bytes, the output length of SHA-256
_MAX_SHIFT = 3650  # days, always into the past
_DIGITS = 15  # of a pseudonym: with its letter 16 characters, what DICOM's SH holds

@dataclass(frozen=True)
class Policy:
    """What the profile leaves open.

    Args:
        burned_in: `refuse` pictures unless they declare to be free of burned-in annotation; `refuse_declared`
            refuses only those that declare it, for archives that never set the tag; `blank` blanks `regions` of all.
        regions: (top, bottom, left, right) in shares of the picture, for `blank`.
        keep_characteristics: sex and age, ages over 89 years joined; else both go.
    """

    burned_in: str = "refuse"
    regions: Sequence[tuple[float, float, float, float]] = ()
    keep_characteristics: bool = False

    def __post_init__(self) -> None:
        if self.burned_in not in BURNED_IN:
            raise ConfigError(f"burned-in policy '{self.burned_in}' does not exist", did_you_mean(self.burned_in, BURNED_IN))
        if self.burned_in == "blank" and not self.regions:
            raise ConfigError("burned-in policy 'blank' names no region", "Give regions, as shares of the picture.")
        for top, bottom, left, right in self.regions:
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                raise ConfigError(f"region {top},{bottom},{left},{right} is none", "Say top,bottom,left,right within 0..1.")


@dataclass(frozen=True)
class ScrubReport:
    """What de-identification did to one study; it may stand beside the data.

    Args:
        study_id: pseudonym of the study.
        replaced: how much was replaced in its texts, by kind.
        suspicious: what still looks like an identifier, by kind; someone has to look.
        refused: why pictures were not copied.
    """

    study_id: str
    replaced: dict[str, int]
    suspicious: dict[str, int]
    refused: tuple[str, ...] = ()


def new_key(path: str | os.PathLike) -> None:
    """Write a new random key, readable by its owner only.

    Raises:
        ConfigError: there is a file already; a lost key is a lost link between runs.
    """
    if Path(path).exists():
        raise ConfigError(f"key file {path} exists", "Use it, or choose another name.")
    write_text(path, secrets.token_hex(MIN_KEY) + "\n")
    os.chmod(path, 0o600)


def read_key(path: str | os.PathLike, out: str | os.PathLike) -> bytes:
    """The key of a file.

    Args:
        path: the key file; any content of at least 32 bytes.
        out: the folder that data are written to; the key may not lie in it.

    Raises:
        ConfigError: the file is missing, too short, or lies beside the data.
    """
    place = Path(path).resolve()
    if place.is_relative_to(Path(out).resolve()):
        raise ConfigError(f"key file {path} lies in the output folder {out}", "Keep the key away from the data.")
    try:
        key = place.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"key file {path} cannot be read ({error.strerror})", "Make one: `openssl rand -hex 32 > FILE`.") from error
    if len(key) < MIN_KEY:
        raise ConfigError(f"key file {path} holds {len(key)} bytes", f"A key has {MIN_KEY} or more: `openssl rand -hex 32`.")
    if place.stat().st_mode & 0o077:
        _log.warning("key file %s may be read by others; chmod 600 it", path)
    return key


class Deidentifier:
    """Pseudonyms, shifted dates and cleaned files under one key; the same key gives the same again.

    Args:
        key: see `read_key`.
        policy: what the profile leaves open.
    """

    def __init__(self, key: bytes, policy: Policy | None = None) -> None:
        if len(key) < MIN_KEY:
            raise ConfigError(f"the key holds {len(key)} bytes", f"A key has {MIN_KEY} or more.")
        self._key = key
        self.policy = policy or Policy()

    def __repr__(self) -> str:
        """Without the key."""
        return f"Deidentifier({self.policy})"

    def pseudonym(self, kind: str, value: str) -> str:
        """16 characters that stand for an identifier: the kind's first letter and 60 bits of HMAC-SHA256.

        Args:
            kind: `patient`, `study`, `image`, `accession`: equal values of two kinds get two pseudonyms.
            value: the identifier.
        """
        return kind[0].upper() + self._digest(kind, value).hex()[:_DIGITS]

    def uid(self, value: str) -> str:
        """The UID that replaces a UID: a UUID under 2.25 (PS3.5 B.2) made of the HMAC."""
        raw = bytearray(self._digest("uid", value)[:16])
        raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80  # version 8, variant 1 of RFC 9562
        return f"2.25.{int.from_bytes(raw, 'big')}"

    def days(self, patient_id: str) -> int:
        """Days, negative, by which all dates of a patient are shifted; 1 to 3650 into the past."""
        return -1 - int.from_bytes(self._digest("days", patient_id)[:8], "big") % _MAX_SHIFT

    def shift(self, patient_id: str, when: datetime | date | None) -> datetime | date | None:
        """A date or moment shifted as all of the patient's; None where it leaves the calendar."""
        try:
            return None if when is None else when + timedelta(days=self.days(patient_id))
        except OverflowError:
            return None

    def text(self, text: str, patient_id: str, known: Iterable[str] = ()) -> Scrubbed:
        """A report text without identifiers, and what was found.

        Args:
            text: the report or a section of it.
            patient_id: whose dates are shifted.
            known: names and identifiers of the study, such as `identifiers` finds in its headers.
        """
        return scrub(text, self.days(patient_id), known)

    def dataset(self, dataset: Dataset, patient_id: str | None = None, file: str = "the DICOM object") -> Dataset:
        """A de-identified copy of a DICOM image.

        Args:
            dataset: the original; it stays as it is.
            patient_id: the patient's identifier; default that of the object. The pseudonym depends on it.
            file: its path, for errors.

        Raises:
            StudyError: the policy refuses it for burned-in annotation.
        """
        declared = str(dataset.get("BurnedInAnnotation") or "").upper()
        self._check_burned_in(declared, file)
        clean = kept_attributes(dataset)
        patient = str(patient_id or dataset.get("PatientID") or f"study {dataset.get('StudyInstanceUID', '')}")
        self._identify(clean, dataset, patient)
        self._copy_meta(clean, dataset)
        if self.policy.burned_in == "blank":
            blank(clean, self.policy.regions, file)
        self._declare(clean, blanked=self.policy.burned_in == "blank", declared=declared)
        return clean

    def copy(self, source: str | os.PathLike, target: str | os.PathLike, patient_id: str) -> None:
        """Write a de-identified copy of a picture file: DICOM cleaned, JPEG and PNG without what surrounds the pixels.

        Raises:
            StudyError: not a picture, or refused by the policy.
        """
        source = str(source)
        try:
            original = dcmread(source)
        except InvalidDicomError:
            original = None
        except Exception as error:  # headers can be wrong in more ways than anyone foresees
            raise _bad(source, f"the file cannot be read ({type(error).__name__})", "Copy or export it again.") from error
        if original is None:
            self._copy_picture(source, target)
            return
        clean = self.dataset(original, patient_id, source)
        with replacing(target) as temporary:
            clean.save_as(temporary, enforce_file_format=True)

    def export(self, study: Study, root: str | os.PathLike, out: str | os.PathLike) -> tuple[Study, ScrubReport]:
        """Copy the pictures of a study de-identified, and give the study as the copies and its texts now are.

        Args:
            study: as a source gave it, paths relative to `root`.
            root: folder of the originals.
            out: folder of the copies; they get new names.

        A picture that cannot be copied or is refused is no longer usable, with the reason. Only sections that a record
        knows are kept: a header of someone's own may itself be a name.
        """
        who = study.patient_id or f"study {study.study_id}"  # strangers must not become one patient
        name = self.pseudonym("study", f"{study.patient_id}\0{study.study_id}")
        folder = f"images/{self.pseudonym('patient', who)}/{name}"
        known = {study.patient_id, study.study_id}
        for image in study.images:
            known.update(_header_identifiers(Path(root) / image.path) if image.usable else ())
        images = tuple(self._export_image(who, image, folder, Path(root), Path(out)) for image in study.images)
        texts = {section: text for section, text in study.sections.items() if text and section in FIELDS}
        scrubbed = {section: self.text(text, who, known) for section, text in texts.items()}
        exported = replace(
            study,
            study_id=name,
            patient_id=self.pseudonym("patient", who) if study.patient_id else "",
            images=images,
            sections={section: found.text for section, found in scrubbed.items()},
            about=self._about(study.about),
            study_uid=self.uid(study.study_uid) if study.study_uid else None,
            issuer=None,
            birth_date=None,
        )
        replaced: Counter[str] = Counter()
        suspicious: Counter[str] = Counter()
        for found in scrubbed.values():
            replaced.update(found.replaced)
            suspicious.update(found.suspicious)
        refused = tuple(image.reason for image in images if image.reason)
        return exported, ScrubReport(name, dict(sorted(replaced.items())), dict(sorted(suspicious.items())), refused)

    def _export_image(self, patient: str, image: StudyImage, folder: str, root: Path, out: Path) -> StudyImage:
        name = self.pseudonym("image", f"{patient}\0{image.path}")
        path = f"{folder}/{name}{Path(image.path).suffix.lower()}"
        usable, reason = image.usable, image.reason
        if usable:
            try:
                self.copy(root / image.path, out / path, patient)
            except StudyError as error:
                usable, reason = False, error.reason
        uid = self.uid(image.uid) if image.uid else None
        when = self.shift(patient, image.time)
        return replace(image, image_id=name, path=path, time=when, uid=uid, usable=usable, reason=reason)

    def _about(self, about: Mapping[str, object]) -> dict[str, object]:
        """What may be said of the patient: nothing, or on request all but the site, ages above 89 years joined."""
        if not self.policy.keep_characteristics:
            return {}
        kept = {name: value for name, value in about.items() if name != "site" and value is not None}
        if isinstance(kept.get("age"), (int, float)):
            kept["age"] = min(kept["age"], OLDEST + 1)
        return kept

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    def _check_burned_in(self, declared: str, file: str) -> None:
        if self.policy.burned_in == "blank":
            return
        remedy = "Blank the regions of writing (`blank`), or leave the picture out."
        if declared == "YES":
            raise _bad(file, "the picture declares burned-in annotation", remedy)
        if declared != "NO" and self.policy.burned_in == "refuse":
            reason = "the picture does not say whether annotation is burned in"
            raise _bad(file, reason, remedy + " `refuse_declared` trusts pictures that say nothing.")

    def _identify(self, clean: Dataset, original: Dataset, patient: str) -> None:
        """Put in what stands for the patient, study and object."""
        name = self.pseudonym("patient", patient)
        clean.PatientName, clean.PatientID = name, name
        accession = str(original.get("AccessionNumber") or "")
        clean.AccessionNumber = self.pseudonym("accession", accession) if accession else ""
        for keyword in UIDS:
            value = str(original.get(keyword) or "")
            if value:
                setattr(clean, keyword, self.uid(value))
        for keyword in EMPTY:
            setattr(clean, keyword, "")
        for day, time in zip(DATES, TIMES, strict=True):
            shifted = self._shifted(original.get(day), patient)
            if shifted or day == "StudyDate":
                setattr(clean, day, shifted)
                setattr(clean, time, time_of_day(original.get(time)))
        clean_descriptors(clean, original)
        if self.policy.keep_characteristics:
            clean.PatientSex = str(original.get("PatientSex") or "")[:1]
            clean.PatientAge = joined_age(str(original.get("PatientAge") or ""))

    def _shifted(self, value: object, patient: str) -> str:
        try:
            day = datetime.strptime(str(value or "")[:8], "%Y%m%d")
        except ValueError:
            return ""
        shifted = self.shift(patient, day)
        return shifted.strftime("%Y%m%d") if shifted else ""

    def _copy_meta(self, clean: Dataset, original: Dataset) -> None:
        meta, before = FileMetaDataset(), getattr(original, "file_meta", None)
        meta.MediaStorageSOPClassUID = UID(str(original.get("SOPClassUID") or ""))
        meta.MediaStorageSOPInstanceUID = UID(str(clean.get("SOPInstanceUID") or ""))
        meta.TransferSyntaxUID = getattr(before, "TransferSyntaxUID", None) or ExplicitVRLittleEndian
        clean.file_meta = meta

    def _declare(self, clean: Dataset, blanked: bool, declared: str) -> None:
        """Say in the object what was done (PS3.15 E.1.1)."""
        codes = ["113100", "113105", "113107"]
        codes += ["113101"] if blanked or declared == "NO" else []
        codes += ["113108"] if self.policy.keep_characteristics else []
        declare(clean, codes, METHOD)

    def _copy_picture(self, source: str, target: str | os.PathLike) -> None:
        if self.policy.burned_in == "refuse":
            reason = "a picture without tags does not say whether annotation is burned in"
            raise _bad(source, reason, "`refuse_declared` trusts pictures that say nothing; give DICOM otherwise.")
        if self.policy.burned_in == "blank":
            raise _bad(source, "regions are blanked in DICOM only", "Give the DICOM file.")
        with replacing(target) as temporary:
            temporary.write_bytes(bare_picture(source))


def _header_identifiers(path: Path) -> list[str]:
    try:
        return identifiers(dcmread(path, stop_before_pixels=True))
    except Exception:  # noqa: BLE001 - no DICOM, or none that can be read: `copy` judges it
        return []


def _bad(file: str, reason: str, remedy: str) -> StudyError:
    return StudyError(file, "record", reason, remedy)
