# SPDX-License-Identifier: Apache-2.0
"""A blinded reader study: which of two drafts of a study does a reader prefer, and what is wrong with each.

A study is a folder: `cases.jsonl` (one case a line, two drafts with the names of their systems), `study.json` (the seed)
and `answers/READER.json`, one file a reader, written anew and whole at every answer. A reader sees the cases in an own
random order; each system stands on the left in half of them. Both follow from seed and reader alone, so that a reader who
comes back goes on where the last answer was. Names of systems never leave before every reader has finished.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.files import write_json
from libra_monai.outputs.draft import UNREVIEWED

CASES, HEADER, ANSWERS, STUDIES = "cases.jsonl", "study.json", "answers", "reader_studies"
SIDES = ("left", "right")
EQUAL = "equal"
PREFERENCES = (*SIDES, EQUAL)
ERRORS = ("omission", "false_finding", "wrong_side", "wrong_change", "wrong_severity", "other")
SHOWN = ("technique", "comparison", "findings", "impression")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_LONGEST = 2_000  # letters of a comment
_DAY = 86_400.0


@dataclass(frozen=True)
class Case:
    """A case as one reader sees it.

    Args:
        case: its identifier.
        image, prior: studies whose pictures are shown; None shows none.
        drafts: side -> draft; the reader gets its texts only.
    """

    case: str
    image: str | None
    prior: str | None
    drafts: Mapping[str, Mapping[str, Any]]

    def blinded(self) -> dict[str, Any]:
        """What may leave: texts without systems, models or evidence."""
        texts = {side: {name: draft[name] for name in SHOWN if draft.get(name)} for side, draft in self.drafts.items()}
        return {"case": self.case, "image": self.image, "prior": self.prior, "drafts": texts}

    def system(self, side: str) -> str:
        """The system whose draft stands there."""
        return self.drafts[side]["system"]


class ReaderStudy:
    """A study's cases and answers.

    Args:
        folder: of the study.

    Raises:
        ConfigError: the folder is no reader study; the message names file, line and remedy.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / CASES
        if not path.is_file():
            raise ConfigError(f"{path} does not exist", "Make a study with `libra-monai reader-study make`.")
        raw = path.read_bytes()
        self.cases = _cases(path, raw.decode("utf-8"))
        self.seed = _seed(self.folder / HEADER)
        self.digest = hashlib.sha256(raw).hexdigest()[:16]
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def systems(self) -> list[str]:
        """All systems, sorted."""
        return sorted({draft["system"] for case in self.cases for draft in case["drafts"]})

    @property
    def marks(self) -> list[str]:
        """What heads every draft of the study: the same for both of a pair, or it would tell them apart."""
        drafts = [draft for case in self.cases for draft in case["drafts"]]
        found = dict.fromkeys(mark for draft in drafts for mark in draft.get("marks") or ())
        longer = [mark for mark in found if not any(mark.rstrip(".") in other and mark != other for other in found)]
        return longer or [f"{UNREVIEWED}."]

    def order(self, reader: str) -> list[Case]:
        """The cases as a reader sees them.

        Args:
            reader: name of the reader.

        Raises:
            ConfigError: the name is none.
        """
        rng = random.Random(f"{self.seed} {check_name(reader, 'reader')}")
        swapped = [bool(place % 2) for place in range(len(self.cases))]
        cases = list(self.cases)
        rng.shuffle(swapped)
        rng.shuffle(cases)
        return [_seen(case, swap) for case, swap in zip(cases, swapped, strict=True)]

    def answers(self, reader: str) -> dict[str, dict[str, Any]]:
        """Answers of a reader by case, in the order in which they were first given.

        Args:
            reader: name of the reader.

        Raises:
            ConfigError: the name is none, the file is damaged, or the cases are others than those it was begun with.
        """
        path = self._file(reader)
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} is not JSON ({error})", "Restore it from a copy, or take it away.") from error
        if content["cases"] != self.digest:
            remedy = "Put the old file back, or begin another study in a new folder."
            raise ConfigError(f"{self.folder / CASES} has changed since {reader} began", remedy)
        return content["answers"]

    def answer(
        self,
        reader: str,
        case: str,
        preference: str,
        errors: Mapping[str, Sequence[str]],
        seconds: float,
        comment: str | None = None,
    ) -> dict[str, Any]:
        """Keep an answer; a later one to the same case takes its place, and its seconds are added.

        Args:
            reader: name of the reader.
            case: identifier.
            preference: `left`, `right` or `equal`.
            errors: side -> error types of the draft there.
            seconds: spent on the case this time.
            comment: in the reader's words.

        Raises:
            ConfigError: one of them makes no sense.
        """
        seen = next((one for one in self.order(reader) if one.case == case), None)
        if seen is None:
            raise ConfigError(f"case '{case}' is not in {self.name}", "Load the study again.")
        _check_answer(preference, errors, seconds, comment)
        with self._lock:
            answers = self.answers(reader)
            before = answers.get(case, {"seconds": 0.0, "revisions": -1})
            answers[case] = {
                "left": seen.system("left"),
                "right": seen.system("right"),
                "preferred": EQUAL if preference == EQUAL else seen.system(preference),
                "errors": {seen.system(side): [name for name in ERRORS if name in errors.get(side, ())] for side in SIDES},
                "comment": comment or None,
                "seconds": round(before["seconds"] + float(seconds), 1),
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "revisions": before["revisions"] + 1,
            }
            write_json(self._file(reader), {"reader": reader, "cases": self.digest, "answers": answers})
        return self.seen_answer(seen, answers[case])

    def seen_answer(self, case: Case, answer: Mapping[str, Any]) -> dict[str, Any]:
        """An answer in the reader's own terms: sides, not systems.

        Args:
            case: as the reader sees it.
            answer: as it is kept.
        """
        sides = {case.system(side): side for side in SIDES}
        errors = {sides[system]: names for system, names in answer["errors"].items()}
        preference = sides.get(answer["preferred"], EQUAL)
        kept = {name: answer[name] for name in ("seconds", "comment", "revisions")}
        return {"preference": preference, "errors": errors, **kept}

    def readers(self) -> list[str]:
        """Everyone who has answered, sorted."""
        return sorted(path.stem for path in (self.folder / ANSWERS).glob("*.json"))

    def unfinished(self) -> list[str]:
        """Readers who have begun and not answered every case."""
        return [reader for reader in self.readers() if len(self.answers(reader)) < len(self.cases)]

    def _file(self, reader: str) -> Path:
        return self.folder / ANSWERS / f"{check_name(reader, 'reader')}.json"


def check_name(name: str, what: str) -> str:
    """The name of a reader or a study, if it is one: it becomes a file name.

    Args:
        name: what was given.
        what: for the message.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        remedy = "Use up to 32 of a-z, 0-9, - and _, such as reader-1; no names of persons."
        raise ConfigError(f"'{str(name)[:40]}' is no name of a {what}", remedy)
    return name


def _check_answer(preference: str, errors: Mapping[str, Sequence[str]], seconds: float, comment: str | None) -> None:
    if preference not in PREFERENCES:
        raise ConfigError(f"preference '{preference}' does not exist", did_you_mean(str(preference), PREFERENCES))
    for side, names in errors.items():
        if side not in SIDES:
            raise ConfigError(f"side '{side}' does not exist", did_you_mean(side, SIDES))
        for name in names:
            if name not in ERRORS:
                raise ConfigError(f"error type '{name}' does not exist", did_you_mean(str(name), ERRORS))
    if not 0 <= seconds < _DAY:
        raise ConfigError(f"{seconds} are no seconds spent on a case", "Send the seconds since the case was shown.")
    if len(comment or "") > _LONGEST:
        raise ConfigError(f"the comment is longer than {_LONGEST} letters", "Shorten it.")


def _seen(case: Mapping[str, Any], swap: bool) -> Case:
    first, second = case["drafts"]
    drafts = {"left": second, "right": first} if swap else {"left": first, "right": second}
    return Case(case["case"], case.get("image"), case.get("prior"), drafts)


def _cases(path: Path, text: str) -> list[dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            case = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} line {number} is not JSON ({error})", "Make the study again.") from error
        if (reason := _unusable(case)) is not None:
            remedy = "A case has `case`, `image` and two `drafts` with `system` and texts."
            raise ConfigError(f"{path} line {number}: {reason}", remedy)
        if case["case"] in cases:
            raise ConfigError(f"{path} line {number}: case '{case['case']}' stands twice", "Keep one of them.")
        cases[case["case"]] = case
    if not cases:
        raise ConfigError(f"{path} has no cases", "Make the study again.")
    return list(cases.values())


def _unusable(case: Any) -> str | None:
    """Why a line is no case, or None."""
    if not isinstance(case, dict) or not isinstance(case.get("case"), str) or not case["case"]:
        return "no `case`"
    drafts = case.get("drafts")
    if not isinstance(drafts, list) or len(drafts) != 2 or not all(isinstance(draft, dict) for draft in drafts):
        return "not two `drafts`"
    systems = [draft.get("system") for draft in drafts]
    named = all(isinstance(system, str) and system and system != EQUAL for system in systems)
    if not named or systems[0] == systems[1]:
        return "drafts without two different names of `system`"
    if not all(isinstance(draft.get(name) or "", str) for draft in drafts for name in SHOWN):
        return "a section that is no text"
    return None


def _seed(path: Path) -> int:
    if not path.is_file():
        return 0
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["seed"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} has no seed", 'Write {"seed": 1}, or take the file away.') from error


def attach(app: Any, context: Any) -> None:
    """Put the routes of reader studies into a server.

    Args:
        app: FastAPI application.
        context: of the label app; the studies lie in `reader_studies` of its own folder.
    """
    from libra_monai.apps.monailabel.readers.reader_routes import router  # a server has FastAPI, the command need not

    root = Path(context.home or context.reports.root) / STUDIES
    app.include_router(router(root, context.reader, context.writer))
