# SPDX-License-Identifier: Apache-2.0
"""HTTP routes of reader studies, and what both pages need to mark texts: `/libra/reader-study/...`, `/libra/change-words`.

Answers name sides, never systems. What names systems (results, tables) is given only when every reader who has begun has
finished; the command `libra-monai reader-study results` gives it at any time to whoever runs the study.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from libra_monai.apps.monailabel.readers.reader_results import agreement_csv, answers_csv, results
from libra_monai.apps.monailabel.readers.reader_study import CASES, ERRORS, ReaderStudy, check_name
from libra_monai.apps.monailabel.readers.reader_users import CodeTaken, claim
from libra_monai.errors import ConfigError
from libra_monai.outputs.change_words import change_pattern
from libra_monai.outputs.evidence_marks import LEVELS

T = TypeVar("T")
ErrorNames = list[Literal[ERRORS]]


class Answer(BaseModel):
    """What a reader sends of a case."""

    reader: str = Field(max_length=64)
    preference: Literal["left", "right", "equal"]
    errors: dict[Literal["left", "right"], ErrorNames] = Field(default_factory=dict)
    seconds: float = Field(ge=0, lt=86_400)
    comment: str | None = Field(default=None, max_length=2_000)


class Studies:
    """The reader studies below a folder; each is read once, and again when its cases change.

    Args:
        root: folder of the studies' folders; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[str, tuple[int, ReaderStudy]] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All studies, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{CASES}"))

    def find(self, name: str) -> ReaderStudy:
        """A study by its name.

        Args:
            name: of its folder.
        """
        if name not in self.names():  # also keeps every path within the root
            raise HTTPException(404, f"There is no reader study '{name[:40]}'. GET /libra/reader-study lists them.")
        changed = (self.root / name / CASES).stat().st_mtime_ns
        with self._lock:
            if self._open.get(name, (None,))[0] != changed:
                self._open[name] = (changed, _or_status(409, lambda: ReaderStudy(self.root / name)))
            return self._open[name][1]


def router(root: Path, reader: Callable[..., Any], writer: Callable[..., Any]) -> APIRouter:
    """The routes.

    Args:
        root: folder of the studies' folders.
        reader, writer: dependencies that raise if the user may not read, or not keep anything.
    """
    reads, writes = [Depends(reader)], [Depends(writer)]
    routes, studies = APIRouter(prefix="/libra", tags=["Libra"]), Studies(root)

    @routes.get("/change-words")
    def change_words() -> dict[str, Any]:
        return {"pattern": change_pattern(), "levels": [{"from": bound, "word": word} for bound, word in LEVELS]}

    @routes.get("/reader-study", dependencies=reads)
    def names() -> dict[str, list[str]]:
        return {"studies": studies.names()}

    @routes.get("/reader-study/{name}", dependencies=reads)
    def cases(name: str, reader: Annotated[str, Query(max_length=64)], asking: Request) -> dict[str, Any]:
        study = studies.find(name)
        _or_status(422, lambda: check_name(reader, "reader"))
        _claim(study, reader, asking)
        return _or_status(409, lambda: _cases(study, reader))

    @routes.put("/reader-study/{name}/answers/{case:path}", dependencies=writes)
    def answer(name: str, case: str, given: Answer, asking: Request) -> dict[str, Any]:
        study = studies.find(name)
        _or_status(422, lambda: check_name(given.reader, "reader"))
        _claim(study, given.reader, asking)
        kept = _or_status(
            422, lambda: study.answer(given.reader, case, given.preference, given.errors, given.seconds, given.comment)
        )
        return {"answer": kept, "answered": len(study.answers(given.reader)), "of": len(study.cases)}

    @routes.get("/reader-study/{name}/results", dependencies=reads)
    def told(name: str) -> dict[str, Any]:
        return results(_finished(studies.find(name)))

    @routes.get("/reader-study/{name}/answers.csv", dependencies=reads)
    def answers_table(name: str) -> PlainTextResponse:
        return _table(answers_csv(_finished(studies.find(name))), f"{name}-answers.csv")

    @routes.get("/reader-study/{name}/agreement.csv", dependencies=reads)
    def agreement_table(name: str) -> PlainTextResponse:
        return _table(agreement_csv(_finished(studies.find(name))), f"{name}-agreement.csv")

    return routes


def _claim(study: ReaderStudy, reader: str, asking: Request) -> None:
    """Refuse a code that is another user's; where authentication is off there are no users, and anybody may use any code."""
    user = getattr(asking.state, "user", None)
    if user is None:
        return
    try:
        claim(study.folder, reader, user)
    except CodeTaken as error:
        raise HTTPException(403, str(error)) from error
    except ConfigError as error:
        raise HTTPException(409, str(error)) from error


def _cases(study: ReaderStudy, reader: str) -> dict[str, Any]:
    given = study.answers(reader)
    rows = []
    for case in study.order(reader):
        answer = given.get(case.case)
        rows.append({**case.blinded(), "answer": study.seen_answer(case, answer) if answer else None})
    return {"name": study.name, "mark": " ".join(study.marks), "errors": list(ERRORS), "cases": rows}


def _finished(study: ReaderStudy) -> ReaderStudy:
    """The study, if nobody can be unblinded any more."""
    if waiting := _or_status(409, study.unfinished):
        reason = f"Results name the systems, and {', '.join(waiting)} has not finished."
        raise HTTPException(409, f"{reason} `libra-monai reader-study results` shows them.")
    if not study.readers():
        raise HTTPException(409, "Nobody has answered yet. Read the cases first.")
    return study


def _or_status(status: int, act: Callable[[], T]) -> T:
    try:
        return act()
    except ConfigError as error:
        raise HTTPException(status, str(error)) from error


def _table(text: str, name: str) -> PlainTextResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, media_type="text/csv", headers=headers)
