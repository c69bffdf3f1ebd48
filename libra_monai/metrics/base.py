# SPDX-License-Identifier: Apache-2.0
"""What every report metric is: statistics per study that add up, and a corpus value from their sum.

Because the corpus value comes from sums, one resampling of studies gives the interval of any metric
without running it again, and ranks can be joined by joining rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from libra_monai import registry
from libra_monai.types import Record


class ReportMetric(ABC):
    """A metric over pairs of drafted and reference text.

    An empty prediction scores what its definition gives (0 for all built-in ones). A study without a
    reference is left out and counted in `dropped`.

    Args:
        cleaner: registered cleaner applied to both texts first.
    """

    def __init__(self, cleaner: str = "none") -> None:
        self.cleaner_name = cleaner
        self.cleaner = registry.find("cleaner", cleaner)
        self.reset()

    def reset(self) -> None:
        """Forget all studies."""
        self.rows: list[list[float]] = []
        self.study_ids: list[str] = []
        self.clusters: list[str] = []
        self.dropped = 0

    def update(self, predictions: Sequence[str], references: Sequence[str | None], studies: Sequence[Record]) -> None:
        """Add studies.

        Args:
            predictions: drafted texts.
            references: radiologists' texts; None or empty ones are left out.
            studies: the records, for identifiers and labels.
        """
        for prediction, reference, study in zip(predictions, references, studies, strict=True):
            if not (reference or "").strip():
                self.dropped += 1
                continue
            row = self.statistics(self.cleaner(prediction or ""), self.cleaner(reference or ""), study)
            self.rows.append([float(value) for value in row])
            self.study_ids.append(str(study["study_id"]))
            self.clusters.append(str(study.get("patient_id") or study["study_id"]))

    def compute(self) -> dict[str, float]:
        """Corpus values by name; empty if no study had a reference, without those that are not defined (NaN)."""
        if not self.rows:
            return {}
        return _defined(self.corpus(np.asarray(self.rows).sum(axis=0), len(self.rows)))

    def per_study(self) -> list[dict[str, float | str]]:
        """The values of each study taken alone, with its `study_id`."""
        return [
            {"study_id": study, **_defined(self.corpus(np.asarray(row), 1))}
            for study, row in zip(self.study_ids, self.rows, strict=True)
        ]

    def intervals(self, resamples: int = 500, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals from resampling patients with replacement.

        Args:
            resamples: bootstrap samples.
            seed: of the resampling.
        """
        if not self.rows:
            return {}
        names = sorted(set(self.clusters))
        number = {name: i for i, name in enumerate(names)}
        totals = np.zeros((len(names), len(self.rows[0]) + 1))  # sums per patient; the last column counts studies
        for cluster, row in zip(self.clusters, self.rows, strict=True):
            totals[number[cluster]] += [*row, 1.0]
        rng = np.random.default_rng(seed)
        samples = []
        for _ in range(resamples):
            drawn = totals[rng.integers(len(names), size=len(names))].sum(axis=0)
            samples.append(self.corpus(drawn[:-1], int(drawn[-1])))
        return {
            name: tuple(np.nanpercentile([sample[name] for sample in samples], [2.5, 97.5]).tolist())
            for name in self.compute()
        }

    @property
    def signature(self) -> str:
        """How the values were made: metric, policy and cleaner."""
        return f"{type(self).__name__}, cleaner {self.cleaner_name}"

    @abstractmethod
    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """Numbers of one study that add up over studies.

        Args:
            prediction, reference: cleaned texts.
            study: the record.
        """

    @abstractmethod
    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """Corpus values from summed statistics.

        Args:
            totals: sum of the rows of `statistics`.
            n: number of studies summed.
        """


def _defined(values: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if not np.isnan(value)}


def f1(tp: float, fp: float, fn: float) -> float:
    """F1 from counts; 1 if there was nothing to find and nothing was claimed."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
