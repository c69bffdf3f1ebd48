# SPDX-License-Identifier: Apache-2.0
"""Reading a datalist: one JSON file with the studies of each split (MONAI datalist form)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_monai.data.schema import PRIVACY, SPLITS, complete
from libra_monai.data.tasks import expand_records
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.types import FAILURE, Failure


def load_records(
    datalist: str | os.PathLike, split: str, limit: int | None = None, prompts: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The studies of one split, all fields present.

    Args:
        datalist: path of the JSON file.
        split: `training`, `validation` or `test`.
        limit: only the first studies, for a quick run.
        prompts: tasks of which each study gives one item if it has a text for it, see `expand_records`; None gives
            one item a study, for the workflow's prompt.

    Returns:
        records; an item that is none keeps its place as `{"study_id", "failure"}`, so that it is listed and the
        others go on.

    Raises:
        ConfigError: the file is missing, is no datalist, or has no studies in this split or for these tasks.
    """
    content = _read(datalist)
    if split not in SPLITS:
        raise ConfigError(f"split '{split}' does not exist", did_you_mean(split, SPLITS))
    items = content.get(split)
    if not isinstance(items, list) or not items:
        filled = [name for name in SPLITS if content.get(name)]
        remedy = f"It has studies in: {', '.join(filled)}." if filled else "Put studies into it."
        raise ConfigError(f"{datalist}: no studies in split '{split}'", remedy)
    seen: set[str] = set()
    records = [_record(item, f"{datalist}, {split}[{number}]", seen) for number, item in enumerate(items[:limit])]
    return records if prompts is None else expand_records(records, prompts)


def _record(item: Any, where: str, seen: set[str]) -> dict[str, Any]:
    try:
        record = complete(item, where)
        if record["study_id"] in seen:
            raise ConfigError(f"{where}: study_id '{record['study_id']}' stands twice", "Keep one of them.")
    except ConfigError as error:
        named = str(item.get("study_id") or where) if isinstance(item, dict) else where
        return {"study_id": named, FAILURE: Failure(named, where, "record", error.what.removeprefix(f"{where}: "), error.remedy)}
    seen.add(record["study_id"])
    return record


def load_header(datalist: str | os.PathLike) -> dict[str, Any]:
    """What a datalist says of itself: `description` and `privacy`.

    `privacy` is `synthetic`, `de-identified` or `identifiable`; a silent datalist counts as identifiable.

    Raises:
        ConfigError: the file is missing, is no datalist, or names an unknown privacy.
    """
    content = _read(datalist)
    privacy = content.get("privacy", PRIVACY[-1])
    if privacy not in PRIVACY:
        raise ConfigError(f"{datalist}: privacy '{privacy}' does not exist", did_you_mean(str(privacy), PRIVACY))
    return {"description": content.get("description"), "privacy": privacy}


def default_root(datalist: str | os.PathLike) -> str:
    """The folder of the datalist, which paths are relative to unless a data root is given."""
    return str(Path(datalist).resolve().parent)


def _read(datalist: str | os.PathLike) -> dict[str, Any]:
    path = Path(datalist)
    if not path.is_file():
        raise ConfigError(f"datalist {path} does not exist", "Make one with `libra-monai prepare` or `libra-monai phantom --out DIR`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"datalist {path} is not JSON ({error})", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"datalist {path} is not an object with splits", f"Its keys are {', '.join(SPLITS)}.")
    return content
