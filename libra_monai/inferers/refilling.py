# SPDX-License-Identifier: Apache-2.0
"""Bulk generation in which finished studies make room for waiting ones, study by study instead of batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from libra_monai.inferers.steering import TextSteering, told
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Generation, StudyBatch

if TYPE_CHECKING:
    from libra_monai.inferers.report import ReportInferer


class RefillingInferer:
    """What a `ReportInferer` does, without an end of a batch.

    Args:
        inferer: has the options.
        network: a report model in eval mode.
        places: studies written side by side.

    Raises:
        ConfigError: the options or the language part do not allow it.
    """

    def __init__(self, inferer: ReportInferer, network: ReportModel, places: int) -> None:
        self.inferer, self.network = inferer, network
        self._refilled = network.refilled(inferer.decoding, places)
        self._studies: dict[int, _Study] = {}  # those that are not done, by number

    def take(self, batch: StudyBatch) -> list[int]:
        """Let the studies of a batch wait; one number each.

        Raises:
            StudyError: a prompt is too long; none of the batch waits then.
        """
        if not len(batch):
            return []
        steering = self.inferer.steering(batch, self.network)
        numbers = self._refilled.wait(batch, steering)
        studies = [_Study(one, steering, row) for row, one in enumerate(batch.split(1))]
        self._studies |= dict(zip(numbers, studies, strict=True))
        return numbers

    def written(self, drain: bool) -> Iterator[tuple[StudyBatch, Generation]]:
        """Write until no study waits; each study that is done, as a batch of one, with what was written.

        Args:
            drain: go on until all are done.
        """
        for number, generation in self._refilled.written(drain):
            study, stop = self._studies.pop(number), self.inferer.decoding.stop
            yield study.batch, told(generation, self.inferer.processor, stop, study.steering, study.row)


@dataclass
class _Study:
    """A study that is not done, as a batch of one, with what watches it and its row there."""

    batch: StudyBatch
    steering: TextSteering | None
    row: int
