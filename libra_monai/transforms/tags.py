# SPDX-License-Identifier: Apache-2.0
"""Single attributes of a DICOM header, as plain values that are absent rather than wrong.

pydicom converts an element when it is asked for it and raises what it likes on a senseless one. What only describes
a picture must not cost the picture, so here a value that cannot be read counts as absent.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, simplefilter

from pydicom import Dataset, config

_lock, _readers = threading.Lock(), []
_PLAIN = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _")


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """All values of an attribute; an empty list if it is absent, empty or unreadable."""
    try:
        value = dataset.get(keyword)
    except Exception:  # whatever a wrong value representation makes of a wrong value
        return []
    if value is None or isinstance(value, (bytes, Dataset)):
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """All values as upper-case text without surrounding space."""
    return [str(value).strip().upper() for value in values(dataset, keyword)]


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as upper-case text, or an empty one."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values as finite numbers; an empty list if one is none."""
    try:
        found = [float(value) for value in values(dataset, keyword)]
    except (TypeError, ValueError, OverflowError):
        return []
    return found if all(map(math.isfinite, found)) else []


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str, default: int) -> int:
    """The first value as a whole number, or a default."""
    found = number(dataset, keyword)
    return default if found is None else int(found)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence."""
    return [item for item in values(dataset, keyword) if isinstance(item, Dataset)]


def shown(word: str) -> str:
    """A code word as it may stand in a message: only plain ones, so that misplaced names are never repeated."""
    return f"'{word}'" if 0 < len(word) <= 16 and set(word) <= _PLAIN else "not repeated here"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning and logging about values read or written, since it repeats them, names and dates of birth included.

    What it must not say is a setting of the process; the last of several threads puts it back. pydicom's own way of doing so
    would leave the setting as another thread had it.
    """
    settings = config.settings
    with _lock:
        _readers.append((settings.reading_validation_mode, settings.writing_validation_mode))
        settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
    try:
        with catch_warnings():
            simplefilter("ignore")
            yield
    finally:
        with _lock:
            earlier = _readers.pop()  # the first reader's stands at the bottom, so the last one out puts it back
            if not _readers:
                settings.reading_validation_mode, settings.writing_validation_mode = earlier
