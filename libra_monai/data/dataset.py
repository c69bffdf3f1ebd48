# SPDX-License-Identifier: Apache-2.0
"""Studies one by one, with what failed noted instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from monai.data import Dataset
from monai.transforms import Randomizable

from libra_monai.errors import StudyError
from libra_monai.types import FAILURE, Failure


class StudyDataset(Dataset):
    """MONAI dataset whose items never raise for one bad study.

    A study that cannot be read becomes `{"study_id": ..., "failure": Failure}`; the collate function sorts
    it out of the batch and the failure handler writes it to `failed.jsonl`.

    Args:
        data: records, see libra_monai/data/schema.py.
        transform: from record to pictures, usually `StudyPicturesd` and what follows it.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Callable | None = None) -> None:
        super().__init__(list(data), transform)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        """One study.

        Args:
            index: its place, or its place and a seed: the random transforms then draw from that seed, so that a study
                looks alike on every process and worker that reads it.
        """
        if isinstance(index, tuple):
            index, seed = index
            if isinstance(self.transform, Randomizable):
                self.transform.set_random_state(seed)
        record = self.data[index]
        if FAILURE in record:
            return record
        try:
            # no truth test: the length of a MONAI Compose seeds its random transforms anew
            item = dict(record) if self.transform is None else self.transform(record)
            return {**item, "record": item.get("record", record)}
        except Exception as error:  # MONAI wraps errors of transforms in RuntimeError
            return {"study_id": record["study_id"], FAILURE: failure_of(error, record)}


def failure_of(error: BaseException, record: dict[str, Any]) -> Failure:
    """The failure to note for an error of one study; errors that are not of the study are raised again.

    Args:
        error: what was caught.
        record: the study.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StudyError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        raise error
    return Failure(record["study_id"], cause.file, cause.stage, cause.reason, cause.remedy)
