# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way out of the program: of which study they may be shown, and how.

Writing in the pixels may name the patient, and no writer can tell. So pictures of a study leave only if no file of it
says that writing is burned in, or the reading policy `burned_in` is `accept`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from libra_monai.data.cache import PictureCache
from libra_monai.errors import StudyError
from libra_monai.transforms import ACCEPT_ALL, FitSquare, StudyPicturesd
from libra_monai.transforms.gate import policy_from
from libra_monai.transforms.reading import reader
from libra_monai.types import ReportDraft

SHOWN = 320  # pixels of a picture in a page


class PagePictures:
    """Pictures for pages, read as the model's were but smaller, whatever the gate would say of them.

    Args:
        root: folder that paths are relative to.
        reading: arguments of `LoadRadiograph`; of its policy only `burned_in` counts here.
        cache: folder that keeps finished pictures between runs; None keeps none.

    Raises:
        ConfigError: an argument of `LoadRadiograph` does not exist or makes no sense.
    """

    def __init__(self, root: str, reading: Mapping[str, Any] | None = None, cache: str | Path | None = None) -> None:
        given = dict(reading or {})
        accepted = policy_from(given.get("policy")).burned_in == "accept"
        policy = replace(ACCEPT_ALL, burned_in="accept" if accepted else "warn")
        steps = [reader({**given, "policy": policy}), FitSquare(SHOWN)]
        kept = None if cache is None else PictureCache(cache, steps)
        self._pictures = StudyPicturesd(steps, root, policy=ACCEPT_ALL, cache=kept)

    def __call__(self, path: str) -> Tensor:
        """uint8 [1,320,320] of a path of a record.

        Raises:
            StudyError: the file cannot be used.
        """
        return self._pictures.picture(path)


def exportable(draft: ReportDraft, pictures: Sequence[Tensor] = ()) -> bool:
    """Whether pictures of a study may be put into a file that leaves; every writer of pictures asks.

    Args:
        draft: of the study.
        pictures: those that would be written; what their files say counts even if the model never saw them.
    """
    return draft.export_allowed and may_leave(pictures)


def may_leave(pictures: Iterable[Tensor]) -> bool:
    """Whether none of these pictures, as `LoadRadiograph` gives them, has writing in it that nobody accepted."""
    return all(getattr(p, "meta", {}).get("export_allowed", True) for p in pictures)


def pictures_of(draft: ReportDraft, record: Mapping[str, Any], read: Any) -> tuple[dict[str, Tensor], str | None]:
    """View -> picture of what a page shows of a study, and the reason why nothing is shown.

    Args:
        draft: of the study.
        record: view -> path; the prior is shown only if the draft used it.
        read: from a path to uint8 [1,h,w], such as `PagePictures`; None shows nothing.
    """
    views = ("current", "prior") if draft.prior_used else ("current",)
    paths = {view: record.get(view) for view in views if record.get(view)}
    if read is None or not paths:
        return {}, "not shown"
    withheld = "not shown: writing is burned into the pixels"
    if not exportable(draft):
        return {}, withheld
    try:
        pictures = {view: read(path) for view, path in paths.items()}
    except StudyError as error:  # such as a file that only a prompt without pictures can do without
        return {}, f"not shown: {error.reason}"
    return (pictures, None) if exportable(draft, list(pictures.values())) else ({}, withheld)
