# SPDX-License-Identifier: Apache-2.0
"""Reports of the label app on disk: every draft and every correction stays, as a numbered version of its study.

One JSON file a version, `<root>/<tag>/<study>/000001.json`. A number is claimed by making the file, which only one
process can do, and filled by an atomic write; a process killed in between leaves an empty file, which readers skip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.files import write_json
from libra_monai.outputs.names import file_name

ORIGINAL, CORRECTED = "original", "reader_corrected"
TAGS = (ORIGINAL, CORRECTED)
SECTIONS = ("findings", "impression")
LONGEST = 20_000  # letters of a section; a chest X-ray report has some hundred


class ReportStore:
    """Versions of reports by study and tag.

    A draft (`original`) is kept as it was given. A correction (`reader_corrected`) is checked, and gets its edit
    distance to the draft it began from.

    Args:
        root: folder of the store; made with the first report.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def save(self, image_id: str, tag: str, report: Mapping[str, Any]) -> int:
        """Keep a report as a new version; its number.

        Args:
            image_id: of the study.
            tag: `original` or `reader_corrected`.
            report: JSON object. A correction has `findings` and `impression` (one of them may be None), `draft` (uid of
                the draft it began from, or None) and `seconds`.

        Raises:
            ConfigError: the tag does not exist, or the correction is empty, too long or names a draft that is not there.
        """
        folder = self._folder(image_id, tag)
        content = dict(report)
        if tag == CORRECTED:
            content = self._checked(image_id, content)
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        folder.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(folder), default=0) + 1
        while not _claim(folder / _name(number)):
            number += 1
        write_json(folder / _name(number), {**content, "image": image_id, "tag": tag, "version": number, "time": time})
        return number

    def versions(self, image_id: str, tag: str) -> list[dict[str, Any]]:
        """All versions, oldest first, as they were saved with `image`, `tag`, `version` and `time` (UTC).

        Args:
            image_id: of the study; an unknown one has no versions.
            tag: see `save`.
        """
        folder = self._folder(image_id, tag)
        found = (_read(folder / _name(number)) for number in sorted(_numbers(folder)))
        return [report for report in found if report is not None and report["image"] == image_id]

    def latest(self, image_id: str, tag: str) -> dict[str, Any] | None:
        """The newest version, or None; arguments as for `versions`."""
        folder = self._folder(image_id, tag)
        for number in sorted(_numbers(folder), reverse=True):
            report = _read(folder / _name(number))
            if report is not None and report["image"] == image_id:
                return report
        return None

    def ids(self, tag: str) -> list[str]:
        """Studies that have a report with this tag, sorted.

        Args:
            tag: see `save`.
        """
        _check_tag(tag)
        folders = sorted((self.root / tag).iterdir()) if (self.root / tag).is_dir() else []
        found = (next(filter(None, (_read(folder / _name(n)) for n in sorted(_numbers(folder)))), None) for folder in folders)
        return sorted(report["image"] for report in found if report is not None)

    def draft(self, image_id: str, uid: str) -> dict[str, Any] | None:
        """The newest draft of a study with this uid, or None.

        Args:
            image_id: of the study.
            uid: what the draft holds as `uid`.
        """
        return next((one for one in reversed(self.versions(image_id, ORIGINAL)) if one.get("uid") == uid), None)

    def _checked(self, image_id: str, report: dict[str, Any]) -> dict[str, Any]:
        for name in SECTIONS:
            text = report.get(name)
            if text is not None and not isinstance(text, str):
                raise ConfigError(f"{name} of the correction is no text", "Send a string or null.")
            if len(text or "") > LONGEST:
                raise ConfigError(f"{name} of the correction is longer than {LONGEST} letters", "Shorten it.")
        if not text_of(report).strip():
            raise ConfigError("the correction is empty", "Write findings or an impression.")
        seconds = report.get("seconds")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e9):
            raise ConfigError("seconds of the correction are no number", "Send the seconds spent, or null.")
        began = report.get("draft")
        draft = self.draft(image_id, began) if began is not None else {}
        if draft is None:
            raise ConfigError("the draft that the correction began from does not exist", "Load the study again.")
        kept = {name: report.get(name) for name in (*SECTIONS, "draft", "seconds")}
        return {**report, **kept, "edit_distance": edit_distance(text_of(draft), text_of(report))}

    def _folder(self, image_id: str, tag: str) -> Path:
        _check_tag(tag)
        return self.root / tag / file_name(str(image_id))


def text_of(report: Mapping[str, Any]) -> str:
    """Findings and impression of a report as metrics take them, as `ReportDraft.text` does.

    Args:
        report: with or without the sections.
    """
    return "\n".join(report[name] for name in SECTIONS if report.get(name))


def edit_distance(before: str, after: str) -> dict[str, int]:
    """Fewest insertions, deletions and replacements (Levenshtein) of `characters`, and of `words`.

    Args:
        before, after: the texts.
    """
    return {"characters": _levenshtein(list(before), list(after)), "words": _levenshtein(before.split(), after.split())}


def _levenshtein(before: list[str], after: list[str]) -> int:
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    before, after = before[start:], after[start:]
    while before and after and before[-1] == after[-1]:
        before, after = before[:-1], after[:-1]
    number = {item: i for i, item in enumerate(dict.fromkeys([*before, *after]))}
    wanted = np.array([number[item] for item in after], dtype=np.int64)
    steps = np.arange(len(after) + 1)
    row = steps.copy()
    for i, item in enumerate(before, 1):
        best = row + 1  # delete
        best[1:] = np.minimum(best[1:], row[:-1] + (wanted != number[item]))  # keep or replace
        best[0] = i
        row = np.minimum.accumulate(best - steps) + steps  # insert: from any place to the left, one a step
    return int(row[-1])


def _check_tag(tag: str) -> None:
    if tag not in TAGS:
        raise ConfigError(f"tag '{tag}' does not exist", did_you_mean(tag, TAGS))


def _name(number: int) -> str:
    return f"{number:06d}.json"


def _numbers(folder: Path) -> list[int]:
    files = folder.glob("*.json") if folder.is_dir() else ()
    return [int(path.stem) for path in files if path.stem.isdigit()]


def _claim(path: Path) -> bool:
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    """A version; None while it is claimed and not yet written."""
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON ({error})", "Restore it from a copy, or take it away.") from error
