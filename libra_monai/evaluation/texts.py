# SPDX-License-Identifier: Apache-2.0
"""Drafts and references from files: JSON lines, CSV, datalists.

What is wrong with a file is said in one line with file, place and remedy; what can be read one way only is read.
Study identifiers are compared as text, so that 50414267, 50414267.0 and "50414267" are one study.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_monai.data.datalist import load_records
from libra_monai.data.schema import FIELDS, SPLITS
from libra_monai.errors import ConfigError
from libra_monai.metrics.base import plain_text
from libra_monai.outputs.draft import UNREVIEWED
from libra_monai.types import FAILURE

SECTION = "findings"
_DRAFT_KEYS = ("prediction", "text", "report", "hypothesis")
_REFERENCE_KEYS = ("reference", "text", "report")
_NUMBERS = ("gap_hours", "age")
_PLAIN = tuple(name for name, types in FIELDS.items() if types == (str,))
_NOTHING = ("", "nan", "NaN", "None", "null")  # how tables write an absent cell


@dataclass
class Texts:
    """The texts of a file by study.

    Args:
        path: the file.
        texts: study -> text; empty where the file has none.
        records: study -> fields of the datalist that the file knows, `study_id` among them.
        repeated: rows that repeat a study with the same text.
        unusable: items of a datalist that are no records, with the reason.
        marks: sentences that head the drafts.
    """

    path: str
    texts: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: int = 0
    unusable: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=lambda: [f"{UNREVIEWED}."])

    def add(self, where: str, study: str, text: str, record: Mapping[str, Any]) -> None:
        """Take in one row.

        Raises:
            ConfigError: the study stands there already with another text.
        """
        if study not in self.texts:
            self.texts[study], self.records[study] = text, {**record, "study_id": study}
        elif self.texts[study] == text:
            self.repeated += 1
        else:
            raise ConfigError(f"{where}: study_id '{study}' stands twice with different texts", "Keep one row a study.")


def read_drafts(path: str | Path, section: str | None = None) -> Texts:
    """Drafted reports: `predictions.jsonl`, or JSON lines or CSV with `study_id` and a text.

    Args:
        path: the file.
        section: the column of the text; default `prediction`, `text`, `report`, `hypothesis` or `findings`.

    Raises:
        ConfigError: the file cannot be read as asked.
    """
    return _from_rows(path, (section,) if section else (*_DRAFT_KEYS, SECTION))


def read_references(path: str | Path, section: str | None = None, split: str | None = None) -> Texts:
    """Radiologists' reports: a datalist, or JSON lines or CSV with `study_id` and a text.

    Args:
        path: the file.
        section: of a datalist `findings` (default) or `impression`; of other files the column of the text, default
            `reference`, `text`, `report` or `findings`.
        split: only this split of a datalist; default all.

    Raises:
        ConfigError: the file cannot be read as asked.
    """
    if not _is_datalist(path):
        return _from_rows(path, (section,) if section else (*_REFERENCE_KEYS, SECTION))
    content = json.loads(_text_of(path))
    found = Texts(str(path))
    for name in [split] if split else [name for name in SPLITS if content.get(name)]:
        for record in load_records(path, name):
            if FAILURE in record:
                found.unusable.append(f"{record[FAILURE].file}: {record[FAILURE].reason}")
                continue
            found.add(f"{path}, {name}", record["study_id"], plain_text(record.get(section or SECTION)), record)
    if not found.texts:
        remedy = found.unusable[0] if found.unusable else f"Its splits are {', '.join(SPLITS)}."
        raise ConfigError(f"{path}: no studies", remedy)
    return found


def references_within(drafts: str | Path) -> Texts:
    """The `reference` that stands beside each draft in `predictions.jsonl`.

    Raises:
        ConfigError: there is none.
    """
    try:
        return _from_rows(drafts, ("reference",))
    except ConfigError as error:
        raise ConfigError(error.what, "Give the references as --references.") from error


def _from_rows(path: str | Path, keys: Sequence[str]) -> Texts:
    """Rows of any kind; the first of the keys that any row has holds the text."""
    rows = list(_rows(path))
    if not rows:
        raise ConfigError(f"{path}: no rows", "Write one study a row, with study_id and a text.")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    key = next((name for name in keys if name in columns), None)
    if key is None:
        wanted = " or ".join(f"'{name}'" for name in keys)
        raise ConfigError(f"{path}: no key {wanted}; it has {', '.join(columns[:12])}", "Rename it, or name it by --section.")
    found = Texts(str(path))
    if isinstance(rows[0][1].get("marks"), list):
        found.marks = [plain_text(mark) for mark in rows[0][1]["marks"]] or found.marks
    for where, row in rows:
        found.add(where, _study(row, where), _text(row.get(key), key, where), _record(row, where))
    return found


def _rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a CSV file, of JSON lines, or of a JSON list."""
    text = _text_of(path)
    if Path(path).suffix.lower() in (".csv", ".tsv"):
        yield from _csv_rows(path, text)
        return
    if text.lstrip()[:1] == "[":
        items = list(enumerate(_json(text, str(path))))
    else:  # only \n parts lines: reports may hold other separators of Unicode
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        items = [(number, _json(line, f"{path}, line {number}")) for number, line in lines]
    for number, row in items:
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, row {number}: no object", "Write one JSON object a study.")
        yield f"{path}, row {number}", row


def _csv_rows(path: str | Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    limit = csv.field_size_limit(max(len(text) + 1, 131_072))  # a report may be longer than the reader's default
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="_more")
        for row in reader:
            if "_more" in row:
                raise ConfigError(f"{path}, line {reader.line_num}: more cells than columns", "Quote texts with commas.")
            yield f"{path}, line {reader.line_num}", {k: None if v in _NOTHING else v for k, v in row.items() if k}
    except csv.Error as error:
        raise ConfigError(f"{path}: not CSV ({error})", "Write it with a CSV library.") from error
    finally:
        csv.field_size_limit(limit)


def _text_of(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}", "Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or 'cannot be read').lower()}", "Check the path.") from error


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        remedy = "Write one JSON object a line (.jsonl), a datalist, or CSV (.csv)."
        raise ConfigError(f"{where}: not JSON ({str(error)[:80]})", remedy) from error


def _is_datalist(path: str | Path) -> bool:
    if Path(path).suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson"):
        return False
    try:
        content = json.loads(_text_of(path))
    except ValueError:
        return False
    return isinstance(content, dict) and any(isinstance(content.get(split), list) for split in SPLITS)


def _study(row: Mapping[str, Any], where: str) -> str:
    value = row.get("study_id")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if isinstance(value, (bool, list, dict)) else plain_text(value).strip()
    if not text:
        raise ConfigError(f"{where}: no study_id", "Every row needs one, as text or number.")
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _text(value: Any, key: str, where: str) -> str:
    if value is None or isinstance(value, str) or (isinstance(value, float) and math.isnan(value)):
        return plain_text(value)
    raise ConfigError(f"{where}: '{key}' is {type(value).__name__}, not text", "Write the report as text, or null.")


def _record(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a datalist that a row holds; what cannot be one is left out, but labels are checked."""
    record: dict[str, Any] = {}
    for name, value in row.items():
        if name in _PLAIN and value is not None and value == value and not isinstance(value, (list, dict)):
            record[name] = plain_text(value).removesuffix(".0") if name.endswith("_id") else plain_text(value)
        elif name in _NUMBERS:
            record[name] = _number(value, name, where)
        elif name == "finding_labels" and isinstance(value, dict):
            record[name] = {label: _label(mark, label, where) for label, mark in value.items()}
        elif name in ("statements", "prior_used") and value is not None:
            record[name] = value
    return record


def _number(value: Any, name: str, where: str) -> float | None:
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: '{name}' is {value!r}, not a number", "Write a number, or nothing.") from error
    return number if number is not None and math.isfinite(number) and number >= 0 else None


def _label(value: Any, label: str, where: str) -> int | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (int, float)) and value in (0, 1, -1):
        return int(value)
    raise ConfigError(f"{where}: 'finding_labels.{label}' is {value!r}", "Labels are 1, 0, -1 or null.")
