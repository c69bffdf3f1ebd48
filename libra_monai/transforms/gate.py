# SPDX-License-Identifier: Apache-2.0
"""What may be drafted from: a chest radiograph of an adult, made for display. Everything else is refused with a reason.

The header is asked before pixels are decoded (`check_header`), the picture itself afterwards (`check_picture` in
`looks`), and the view when it is known what the picture is to be used for (`check_view`). Each finding has a named
policy: `refuse` raises, `warn` says it beside the draft, `accept` is silent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from pydicom import Dataset

from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.transforms import tags

WORDS = ("refuse", "warn", "accept")
_CHEST = re.compile(r"CHEST|THORA|TORA[XC]|LUNG|PULM|HEART|CARDIA|MEDIAST|\bCXR\b|\bRIBS?\b|BABYGRAM")
_ELSEWHERE = (
    "ABDOMEN ANKLE ARM BREAST CALCANEUS CERVICAL CLAVICLE COLON ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM "
    "HAND HEAD HIP HUMERUS JAW KNEE LEG LUMBAR MAXILLA NECK PATELLA PELVIS RADIUS SACRUM SCAPULA SHOULDER "
    "SINUS SKULL SPINE STERNUM TEETH TIBIA TOE ULNA WRIST"
).split()
_OTHER_PART = re.compile(rf"\b({'|'.join(_ELSEWHERE)})S?\b")
_ABOUT_PART = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_LATERAL = re.compile(r"\b(LAT|LATERAL|LL|RL|LLAT|RLAT|XTABLE|X-TABLE|CROSS.?TABLE|SWIMMERS)\b")
_OBLIQUE = re.compile(r"\b(LAO|RAO|LPO|RPO|LLO|RLO|OBLIQUE)\b")
_FRONTAL = re.compile(
    r"\b(PA|AP|FRONTAL|LORDOTIC|DECUBITUS|DECUB|LLD|RLD|(POSTERO|ANTERO).?(ANTERIOR|POSTERIOR))\b"
)
MODALITIES = ("CR", "DX", "RG")
_KNOWN_ELSEWHERE = "CT MR PT NM US MG XA RF IO PX BMD ES XC GM SM OP ECG".split()


@dataclass(frozen=True)
class GatePolicy:
    """What to do about each finding at the input; the defaults are the safe ones.

    Args:
        modality: the Modality names another device (CT, mammography, ...); one it does not know gives a warning.
        body_part: Body Part Examined, or the description of the series, names another part of the body.
        for_processing: raw detector values that no display would show.
        wrong_view: a lateral or oblique picture where a frontal is needed, or the reverse.
        missing_view: a DICOM file does not say its view; `warn` and `accept` take it for the wanted one.
        under_age: the patient is younger than `min_age`.
        missing_age: a DICOM file does not say the age.
        min_age: years.
        colour: a photograph or screenshot in colour.
        unlikely_display: a picture without tags looks inverted or turned.
        burned_in: the file says that text is burned into its pixels; meta `export_allowed` is then False, and True only
            with `accept`.
        min_side: pixels of the shorter side.
        max_aspect: longer side over shorter side.

    Raises:
        ConfigError: a policy is no word it knows, or a limit makes no sense.
    """

    modality: str = "refuse"
    body_part: str = "refuse"
    for_processing: str = "refuse"
    wrong_view: str = "refuse"
    missing_view: str = "warn"
    under_age: str = "refuse"
    missing_age: str = "warn"
    min_age: float = 18.0
    colour: str = "refuse"
    unlikely_display: str = "warn"
    burned_in: str = "warn"
    min_side: int = 32
    max_aspect: float = 4.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type == "str" and value not in WORDS:
                raise ConfigError(f"policy {item.name} '{value}' does not exist", f"Use one of {', '.join(WORDS)}.")
        limits = {name: getattr(self, name) for name in ("min_age", "min_side", "max_aspect")}
        wrong = [name for name, value in limits.items() if not isinstance(value, (int, float))]
        if wrong:
            raise ConfigError(f"policy {wrong[0]} '{limits[wrong[0]]}' is no number", "Give a number.")
        if self.min_age < 0 or self.min_side < 1 or self.max_aspect < 1:
            remedy = "Give min_age >= 0, min_side >= 1, max_aspect >= 1."
            raise ConfigError("a limit of the input policy makes no sense", remedy)

    def judge(self, finding: str, path: str, reason: str, remedy: str, warnings: list[str]) -> None:
        """Do what the policy says about a finding.

        Args:
            finding: name of the policy.
            path, reason, remedy: of the error.
            warnings: gets the reason if the policy is `warn`.

        Raises:
            StudyError: the policy is `refuse`.
        """
        word = getattr(self, finding)
        if word == "refuse":
            raise StudyError(path, "pixels", reason, f"{remedy} The input policy `{finding}` can allow it.")
        if word == "warn":
            warnings.append(reason)


def policy_from(options: GatePolicy | Mapping[str, Any] | None) -> GatePolicy:
    """A policy from a dictionary of JSON, refusing unknown names.

    Args:
        options: a policy, a dictionary of its fields, or None for the defaults.

    Raises:
        ConfigError: a field does not exist or its value makes no sense.
    """
    if isinstance(options, GatePolicy):
        return options
    known = {item.name for item in fields(GatePolicy)}
    unknown = sorted(set(options or {}) - known)
    if unknown:
        raise ConfigError(f"input policy '{unknown[0]}' does not exist", did_you_mean(unknown[0], known))
    return GatePolicy(**dict(options or {}))


ACCEPT_ALL = GatePolicy(
    **{item.name: "accept" for item in fields(GatePolicy) if item.type == "str"}, min_side=1, max_aspect=1e9
)  # for tools that look at files without drafting from them


def check_header(path: str, dataset: Dataset, policy: GatePolicy, warnings: list[str]) -> None:
    """Refuse by the header what is no adult chest radiograph made for display.

    Args:
        path: for the message.
        dataset: header of the file.
        policy: see `GatePolicy`.
        warnings: gets what is not refused but should be said.

    Raises:
        StudyError: a finding that the policy refuses.
    """
    _check_modality(path, dataset, policy, warnings)
    _check_body_part(path, dataset, policy, warnings)
    if "FOR PROCESSING" in (tags.text(dataset, "PresentationIntentType"), _class_name(dataset)):
        reason = "the pixels are raw detector values (FOR PROCESSING)"
        policy.judge("for_processing", path, reason, "Give the image made FOR PRESENTATION.", warnings)
    _check_age(path, dataset, policy, warnings)
    if projection(dataset) is None:
        policy.judge("missing_view", path, "the file does not say its view", "Set View Position.", warnings)
    if burned_in(dataset):
        reason = "text is burned into the pixels, as the file says; it must not be exported as it is"
        policy.judge("burned_in", path, reason, "Give the picture without it.", warnings)


def check_view(path: str, found: str | None, wanted: str, policy: GatePolicy, warnings: list[str]) -> None:
    """Refuse a picture that shows another side than its place in the study asks for.

    Args:
        path: for the message.
        found: `frontal`, `lateral`, `oblique`, or None if the file does not say.
        wanted: `frontal` or `lateral`.
        policy: see `GatePolicy`.
        warnings: gets what is not refused but should be said.

    Raises:
        StudyError: the views differ and the policy refuses.
    """
    if found is not None and found != wanted:
        reason = f"the picture is {found} by its header, where a {wanted} one is needed"
        policy.judge("wrong_view", path, reason, f"Give a {wanted} picture.", warnings)


def projection(dataset: Dataset) -> str | None:
    """`frontal`, `lateral`, `oblique`, or None if neither view, view code nor series description tells.

    A decubitus picture is frontal. A description that names two views tells nothing.
    """
    coded = " ".join(tags.text(item, "CodeMeaning") for item in tags.items(dataset, "ViewCodeSequence"))
    for words in (tags.text(dataset, "ViewPosition"), coded, tags.text(dataset, "SeriesDescription")):
        frontal = bool(_FRONTAL.search(words))
        lateral = bool(_LATERAL.search(words)) and not re.search(r"DECUB", words)
        if _OBLIQUE.search(words):
            return "oblique"
        if frontal != lateral:
            return "frontal" if frontal else "lateral"
    return None


def shows_chest(dataset: Dataset) -> bool:
    """Whether the header names the chest: as body part, region, or, where both are absent, in a description."""
    part, described = _parts(dataset)
    return bool(_CHEST.search(part or described))


def other_part(dataset: Dataset) -> str | None:
    """What the header names instead of the chest, as it may stand in a message; None if it names the chest or nothing."""
    part, described = _parts(dataset)
    if _CHEST.search(part or described):
        return None
    other = _OTHER_PART.search(re.sub(r"[^A-Z]+", " ", described))
    return tags.shown(part) if part else f"'{other[1]}'" if other else None


def burned_in(dataset: Dataset) -> bool | None:
    """Whether the file says that text is burned into its pixels; None if it does not say."""
    return {"YES": True, "NO": False}.get(tags.text(dataset, "BurnedInAnnotation"))


def age_in_years(dataset: Dataset) -> float | None:
    """Patient's Age, else the time from birth to study; None if neither can be read."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", tags.text(dataset, "PatientAge"))
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
    try:
        born, made = (
            datetime.strptime(tags.text(dataset, name)[:8], "%Y%m%d") for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    years = (made - born).days / 365.25
    return years if 0 <= years < 130 else None


def _check_modality(path: str, dataset: Dataset, policy: GatePolicy, warnings: list[str]) -> None:
    modality = tags.text(dataset, "Modality")
    if modality in MODALITIES:
        return
    if modality in _KNOWN_ELSEWHERE or re.search(r"\b(CT|MR|ULTRASOUND|MAMMO|NUCLEAR|PET)\b", _class_name(dataset)):
        reason = f"the picture is no radiograph: its modality is {tags.shown(modality)}"
        policy.judge("modality", path, reason, "Give a chest radiograph (CR or DX).", warnings)
    elif policy.modality != "accept":
        warnings.append("the file does not say that it is a radiograph (Modality is neither CR nor DX)")


def _check_body_part(path: str, dataset: Dataset, policy: GatePolicy, warnings: list[str]) -> None:
    other = other_part(dataset)
    if other:
        reason = f"the picture shows another part of the body: {other}"
        policy.judge("body_part", path, reason, "Give a chest radiograph.", warnings)


def _parts(dataset: Dataset) -> tuple[str, str]:
    """Body part or region, and the descriptions that may name one."""
    regions = " ".join(tags.text(item, "CodeMeaning") for item in tags.items(dataset, "AnatomicRegionSequence"))
    described = " ".join(tags.text(dataset, keyword) for keyword in _ABOUT_PART)
    return tags.text(dataset, "BodyPartExamined") or regions, described


def _check_age(path: str, dataset: Dataset, policy: GatePolicy, warnings: list[str]) -> None:
    years = age_in_years(dataset)
    if years is None:
        policy.judge("missing_age", path, "the file does not say the patient's age", "Set Patient's Age.", warnings)
    elif years < policy.min_age:
        reason = f"the patient is younger than {policy.min_age:g} years"
        policy.judge("under_age", path, reason, "The models were made for adults.", warnings)


def _class_name(dataset: Dataset) -> str:
    """What the storage class says: FOR PROCESSING, or the name in capitals."""
    name = str(getattr(next(iter(tags.values(dataset, "SOPClassUID")), None), "name", "")).upper()
    return "FOR PROCESSING" if name.endswith("FOR PROCESSING") else name
