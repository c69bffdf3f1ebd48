# SPDX-License-Identifier: Apache-2.0
"""The one small family of exceptions: each message names the file or key, and the remedy.

`StudyError` belongs to one study and never stops the others; everything else ends the command.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LibraError(Exception):
    """Base of all errors this package raises on purpose.

    Args:
        what: the file, key or part that is wrong, and what is wrong with it.
        remedy: what the user can do about it, as a sentence.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what.rstrip(".")
        self.remedy = remedy
        super().__init__(f"{self.what}. {remedy}".strip())


class ConfigError(LibraError):
    """A configuration names something that does not exist or does not fit."""


class ModelError(LibraError):
    """A model folder or weights file cannot be used as asked."""


class StudyError(LibraError):
    """One study cannot be used; the others go on.

    Args:
        file: path of the file at fault.
        stage: where it happened: `record`, `pixels`, `draft` or `output`.
        reason: what is wrong with the file.
        remedy: what the user can do about it.
    """

    def __init__(self, file: str, stage: str, reason: str, remedy: str) -> None:
        self.file, self.stage, self.reason = file, stage, reason
        super().__init__(f"{file}: {reason}", remedy)

    def __reduce__(self) -> tuple:
        """Keep all fields when a worker process sends the error to its parent."""
        return type(self), (self.file, self.stage, self.reason, self.remedy)


class TrainingError(LibraError):
    """A training cannot go on as it is."""


class StudiesFailed(LibraError):
    """Some studies failed and are listed in `failed.jsonl`; raised at the end for the exit status."""


class Interrupted(LibraError):
    """A run was asked to stop and did; what is done is kept."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say which known word is closest, or list what is known.

    Args:
        word: what the user wrote.
        known: the words that would have been accepted.
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(known) or 'none'}."


def innermost(error: BaseException) -> LibraError | None:
    """The error of ours that a framework wrapped, or None.

    Args:
        error: what was caught; MONAI wraps constructor errors in `RuntimeError` once per level.
    """
    found, seen = None, set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, LibraError):
            found = current
        current = current.__cause__ or current.__context__
    return found
