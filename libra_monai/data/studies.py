# SPDX-License-Identifier: Apache-2.0
"""A study as every source tells it, before it is known which study is whose prior.

Sources (folders of DICOM, published corpora) yield these; `libra_monai.data.chronology` pairs them and
`libra_monai.data.preparing` writes the datalist. Nothing here opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

SECTIONS = ("findings", "impression", "indication", "history", "technique", "comparison")
ABOUT = ("age", "sex", "race", "ethnicity", "insurance", "site")
NOT_FRONTAL = 9  # rank of a picture that cannot stand for the study
UNKNOWN_RANK = 3  # rank of a picture whose view nobody tells, where such are admitted

_POSTERO, _ANTERO = {"PA", "POSTEROANTERIOR"}, {"AP", "ANTEROPOSTERIOR"}
_DECUBITUS = {"DECUBITUS", "LLD", "RLD", "DECUB"}
_LATERAL = {"LATERAL", "LAT", "LL", "RL", "LLAT", "RLAT", "XTABLE", "SWIMMERS", "LATEROLATERAL"}
_OBLIQUE = {"LAO", "RAO", "LPO", "RPO", "LLO", "RLO", "OBLIQUE"}
_PLAIN = {"PORTABLE", "MOBILE", "ERECT", "UPRIGHT", "SUPINE", "SEMI", "SEMIUPRIGHT", "SEMIERECT", "SITTING", "STANDING", "CHEST", "VIEW"}


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One picture of a study.

    Args:
        image_id: identifier within the corpus, the last key of every order.
        path: POSIX path relative to the data root.
        view: `PA`, `AP`, `LATERAL`, another code in capitals, or None if nobody tells.
        time: when it was acquired, or None if unknown.
        uid: SOP instance UID.
        usable: False if it can be opened by no one, or must not be used.
        reason: why it is not usable.
    """

    image_id: str
    path: str
    view: str | None = None
    time: datetime | None = None
    uid: str | None = None
    usable: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """One study of one patient.

    Args:
        study_id, patient_id: identifiers within the corpus.
        images: its pictures, in any order.
        split: `training`, `validation`, `test`, or None if the corpus has no splits.
        order: rank within the patient, for corpora without dates.
        sections: texts of the report, see `SECTIONS`; absent or None where it has none.
        labels: finding -> 1 | 0 | -1 | None.
        about: see `ABOUT`; age in years.
        study_uid: study instance UID.
        issuer: who issued the patient identifier; two issuers mean two patients.
        birth_date: as in the source, YYYYMMDD.
        time_override: when the study was, where the pictures do not tell it rightly.
    """

    study_id: str
    patient_id: str
    images: tuple[StudyImage, ...] = ()
    split: str | None = None
    order: float | None = None
    sections: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, int | None] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    study_uid: str | None = None
    issuer: str | None = None
    birth_date: str | None = None
    time_override: datetime | None = None

    @property
    def time(self) -> datetime | None:
        """Earliest acquisition of its pictures, unless the source says otherwise; None if unknown."""
        if self.time_override is not None:
            return self.time_override
        return min((image.time for image in self.images if image.time is not None), default=None)


def frontal_rank(view: str | None) -> int:
    """How well a view stands for its study: 0 PA, 1 AP, 2 another frontal, `UNKNOWN_RANK`, or `NOT_FRONTAL`.

    A lateral decubitus picture is taken from front to back while the patient lies on a side: frontal.
    Obliques are neither frontal nor lateral.

    Args:
        view: as the source names it; case, hyphens and spaces do not matter.
    """
    return _ranked((view or "").strip().upper())


def is_frontal(view: str | None) -> bool:
    """Whether a view is known to be frontal."""
    return frontal_rank(view) < UNKNOWN_RANK


def is_lateral(view: str | None) -> bool:
    """Whether a view is known to be lateral, cross-table included."""
    name = (view or "").strip().upper()
    if frontal_rank(name) != NOT_FRONTAL:
        return False
    words = _words(name)
    return bool(words & _LATERAL) or {"CROSS", "TABLE"} <= words or bool(words & {"DORSAL", "VENTRAL"} and words & _DECUBITUS)


@cache
def _ranked(name: str) -> int:
    words = _words(name)
    if not words or words <= {"UNKNOWN", "NONE", "NAN", "UNK", "VIEW", "CHEST"}:
        return UNKNOWN_RANK
    across = words & {"DORSAL", "VENTRAL"} or "XTABLE" in words or {"CROSS", "TABLE"} <= words
    if words & _OBLIQUE or across:
        return NOT_FRONTAL
    if words & _DECUBITUS:
        return 2
    if words & _LATERAL:
        return NOT_FRONTAL
    if words & (_POSTERO | _ANTERO):
        plain = words <= _POSTERO | _ANTERO | _PLAIN
        return (0 if words & _POSTERO else 1) if plain and not (words & _POSTERO and words & _ANTERO) else 2
    return 2 if words & {"FRONTAL", "AXIAL", "LORDOTIC"} else NOT_FRONTAL


def _words(name: str) -> set[str]:
    joined = name.replace("ANTERO-POSTERIOR", "AP").replace("POSTERO-ANTERIOR", "PA")
    joined = joined.replace("ANTERO POSTERIOR", "AP").replace("POSTERO ANTERIOR", "PA").replace("X-TABLE", "XTABLE")
    return set(re.findall(r"[A-Z]+", joined))
