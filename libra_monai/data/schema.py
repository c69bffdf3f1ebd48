# SPDX-License-Identifier: Apache-2.0
"""The record: one item of a datalist, one study with its prior.

Paths are strings relative to the data root. Absent is None, never an empty string and never a
copied picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libra_monai.errors import ConfigError, did_you_mean

SPLITS = ("training", "validation", "test")
PRIVACY = ("synthetic", "de-identified", "identifiable")  # what a datalist says of its content; default the last

_TEXT, _NUMBER, _LIST, _TABLE = (str,), (int, float), (list,), (dict,)
FIELDS: dict[str, tuple[type, ...]] = {
    "study_id": _TEXT,
    "patient_id": _TEXT,
    "current": _TEXT,  # path of the frontal picture to report on
    "prior": _TEXT,  # path of the frontal picture of the study before
    "lateral": _TEXT,
    "view": _TEXT,  # PA or AP, of `current`
    "gap_hours": _NUMBER,  # from prior to current
    "findings": _TEXT,
    "impression": _TEXT,
    "indication": _TEXT,
    "history": _TEXT,
    "technique": _TEXT,
    "comparison": _TEXT,
    "prior_study_id": _TEXT,
    "prior_findings": _TEXT,
    "prior_impression": _TEXT,
    "earlier": _LIST,  # {study_id, image, gap_hours, findings, impression}, newest first
    "question": _TEXT,
    "answer": _TEXT,
    "finding_labels": _TABLE,  # name -> 1 | 0 | -1 | None
    "statements": _LIST,  # {finding, side, severity, change}: the findings of the report in words of truth.jsonl
    "age": _NUMBER,
    "sex": _TEXT,
    "race": _TEXT,
    "ethnicity": _TEXT,
    "insurance": _TEXT,
    "site": _TEXT,
    "study_uid": _TEXT,
    "image_uids": _LIST,
    "skipped_priors": _LIST,
}
_REQUIRED = ("study_id", "current")


def complete(item: Any, where: str) -> dict[str, Any]:
    """Check one item and give it all fields, absent ones as None.

    Args:
        item: the item as read from JSON.
        where: file and position, for the error message.

    Raises:
        ConfigError: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where}: a study must be an object, not {type(item).__name__}", "It looks like {\"study_id\": ..., \"current\": ...}.")
    unknown = sorted(set(item) - set(FIELDS))
    if unknown:
        raise ConfigError(f"{where}: unknown field '{unknown[0]}'", did_you_mean(unknown[0], FIELDS))
    for name in _REQUIRED:
        if not item.get(name):
            raise ConfigError(f"{where}: field '{name}' is missing", "Every study needs it.")
    for name, value in item.items():
        if value == "":
            raise ConfigError(f"{where}: field '{name}' is empty", "What is absent is null.")
        if value is not None and (not isinstance(value, FIELDS[name]) or isinstance(value, bool)):
            kinds = " or ".join(kind.__name__ for kind in FIELDS[name])
            raise ConfigError(f"{where}: field '{name}' is {type(value).__name__}, not {kinds}", f"Write it as {kinds}, or null.")
    return {name: item.get(name) for name in FIELDS}
