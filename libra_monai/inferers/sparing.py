# SPDX-License-Identifier: Apache-2.0
"""A study for which nothing can be written ends alone, not its batch.

What fails is found by halves: a batch of 16 with one bad study is tried again in at most four smaller and smaller parts. Only what is said
of one study counts, and memory that a batch does not find; any other error would come again with every study and ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from libra_monai.errors import StudyError
from libra_monai.types import Failure, StudyBatch

Written = TypeVar("Written")


def sparing(
    batch: StudyBatch, write: Callable[[StudyBatch], Sequence[Written]]
) -> tuple[StudyBatch, list[Written], list[Failure]]:
    """Write for a batch, and again for parts of it where a study fails.

    Args:
        batch: the studies.
        write: gives one result a study, or raises `StudyError`; it is called again with parts of the batch.

    Returns:
        the batch of those that did not fail, their results, and the failures of the others.
    """
    kept, written, failures = _by_halves(batch, range(len(batch)), write)
    return (batch.pick(kept) if failures else batch), written, failures


def _by_halves(
    batch: StudyBatch, rows: Sequence[int], write: Callable[[StudyBatch], Sequence[Written]]
) -> tuple[list[int], list[Written], list[Failure]]:
    part = batch if len(rows) == len(batch) else batch.pick(rows)
    try:
        return list(rows), list(write(part)), []
    except (StudyError, torch.OutOfMemoryError) as error:
        if len(rows) < 2:
            return [], [], [_failure(part.study_ids[0], error)]
    # behind the clause, so that the error holds none of the batch's memory any more
    half = len(rows) // 2
    first, second = (_by_halves(batch, some, write) for some in (rows[:half], rows[half:]))
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _failure(study_id: str, error: StudyError | torch.OutOfMemoryError) -> Failure:
    if isinstance(error, StudyError):
        return Failure(study_id, error.file, error.stage, error.reason, error.remedy)
    remedy = "Use fewer beams or a shorter `max_new_tokens`, fewer bits (`quantize`), or a device with more memory."
    return Failure(study_id, study_id, "draft", "the device's memory does not suffice for this study alone", remedy)
