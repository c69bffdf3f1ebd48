# SPDX-License-Identifier: Apache-2.0
"""The record: one item of a datalist, one study with its prior.

Paths are strings relative to the data root. Absent is None, never an empty string and never a
copied picture. `datalist_schema.json` beside this module says the same as a JSON Schema for other programs
(`json_schema` makes it, a test keeps both equal); on load the checks below are used, which take microseconds an item.
"""

from __future__ import annotations

import math
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
    "polluted": (bool,),  # the report compares with a study that the record does not have (phantoms say so)
    "age": _NUMBER,
    "sex": _TEXT,
    "race": _TEXT,
    "ethnicity": _TEXT,
    "insurance": _TEXT,
    "site": _TEXT,
    "study_uid": _TEXT,
    "image_uids": _LIST,
    "unread_views": _LIST,  # views of the study's pictures besides `current` and `lateral`; "unknown" where nobody tells
    "skipped_priors": _LIST,
}
_REQUIRED = ("study_id", "current")
_LEAST = {"gap_hours": 0, "age": 0}  # a prior after its study, or a negative age, is a mistake
_TEXTS = ("image_uids", "unread_views")  # lists of texts
_LABELS = (1, 0, -1, None)  # present, absent, uncertain, not mentioned
# entries of the lists: field -> type, and which must be there
_ENTRIES: dict[str, tuple[dict[str, tuple[type, ...]], tuple[str, ...]]] = {
    "earlier": (
        {"study_id": _TEXT, "image": _TEXT, "gap_hours": _NUMBER, "findings": _TEXT, "impression": _TEXT},
        ("study_id", "image"),
    ),
    "skipped_priors": ({"study_id": _TEXT, "reason": _TEXT}, ("study_id", "reason")),
}
_JSON_TYPES = {str: "string", int: "integer", float: "number", list: "array", dict: "object", bool: "boolean"}


def complete(item: Any, where: str) -> dict[str, Any]:
    """Check one item and give it all fields, absent ones as None.

    Args:
        item: the item as read from JSON.
        where: file and position, for the error message.

    Raises:
        ConfigError: a field is missing, unknown or of the wrong type; the message names item and field.
    """
    if not isinstance(item, Mapping):
        remedy = 'It looks like {"study_id": ..., "current": ...}.'
        raise ConfigError(f"{where}: a study must be an object, not {type(item).__name__}", remedy)
    _check_object(item, FIELDS, _REQUIRED, where, "")
    for name, (fields, required) in _ENTRIES.items():
        for number, entry in enumerate(item.get(name) or ()):
            if not isinstance(entry, Mapping):
                raise ConfigError(f"{where}: field '{name}[{number}]' is {type(entry).__name__}, not dict", "Write an object.")
            _check_object(entry, fields, required, where, f"{name}[{number}].")
    for name in _TEXTS:
        for number, text in enumerate(item.get(name) or ()):
            _check_value(f"{name}[{number}]", text, _TEXT, where)
    for label, value in (item.get("finding_labels") or {}).items():
        if isinstance(value, (bool, float)) or value not in _LABELS:
            raise ConfigError(f"{where}: field 'finding_labels.{label}' is {value!r}", "Labels are 1, 0, -1 or null.")
    return {name: item.get(name) for name in FIELDS}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a datalist, the content of `datalist_schema.json`."""
    study = _object_schema(FIELDS, _REQUIRED)
    for name, (fields, required) in _ENTRIES.items():
        study["properties"][name]["items"] = _object_schema(fields, required)
    for name in _TEXTS:
        study["properties"][name]["items"] = {"type": "string", "minLength": 1}
    study["properties"]["statements"]["items"] = {"type": "object"}
    study["properties"]["finding_labels"]["additionalProperties"] = {"enum": list(_LABELS)}
    lists = {split: {"type": "array", "items": {"$ref": "#/$defs/study"}} for split in SPLITS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Datalist of chest X-ray studies, one item per study with its prior",
        "type": "object",
        "properties": {"description": {"type": ["string", "null"]}, "privacy": {"enum": list(PRIVACY)}, **lists},
        "$defs": {"study": study},
    }


def _check_object(
    item: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]], required: tuple[str, ...], where: str, prefix: str
) -> None:
    for name in item:
        if name not in fields:
            raise ConfigError(f"{where}: unknown field '{prefix}{name}'", did_you_mean(str(name), fields))
    for name in required:
        if not item.get(name):
            remedy = "Every entry needs it." if prefix else "Every study needs it."
            raise ConfigError(f"{where}: field '{prefix}{name}' is missing", remedy)
    for name, value in item.items():
        if value is not None:
            _check_value(f"{prefix}{name}", value, fields[name], where)


def _check_value(name: str, value: Any, types: tuple[type, ...], where: str) -> None:
    if value == "":
        raise ConfigError(f"{where}: field '{name}' is empty", "What is absent is null.")
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        kinds = " or ".join(kind.__name__ for kind in types)
        raise ConfigError(f"{where}: field '{name}' is {type(value).__name__}, not {kinds}", f"Write it as {kinds}, or null.")
    least = _LEAST.get(name.rpartition(".")[2])
    if types is _NUMBER and (not math.isfinite(value) or (least is not None and value < least)):
        raise ConfigError(f"{where}: field '{name}' is {value}", "Write a number that can be, or null.")


def _object_schema(fields: Mapping[str, tuple[type, ...]], required: tuple[str, ...]) -> dict[str, Any]:
    properties = {name: _value_schema(name, types, name in required) for name, types in fields.items()}
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def _value_schema(name: str, types: tuple[type, ...], required: bool) -> dict[str, Any]:
    kinds = ["number"] if types == _NUMBER else [_JSON_TYPES[kind] for kind in types]
    schema: dict[str, Any] = {"type": kinds[0] if required else [*kinds, "null"]}
    if types == _TEXT:
        schema["minLength"] = 1
    if name in _LEAST:
        schema["minimum"] = _LEAST[name]
    return schema
