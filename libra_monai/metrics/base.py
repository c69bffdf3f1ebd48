# SPDX-License-Identifier: Apache-2.0
"""What every report metric is: statistics per study that add up, and a corpus value from their sum.

Because the corpus value comes from sums, one resampling of studies gives the interval of any metric
without running it again, and ranks can be joined by joining rows.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch.distributed as dist

from libra_monai import registry
from libra_monai.metrics.statistics import RESAMPLES, bootstrap
from libra_monai.types import Record

_HALF = re.compile("[\ud800-\udfff]")
UNITS = ("patient", "study")  # what the bootstrap draws


class ReportMetric(ABC):
    """A metric over pairs of drafted and reference text.

    An empty prediction scores what its definition gives (0 for all built-in ones). A study without a
    reference is left out and counted in `dropped`. A metric that lacks weights or a package says so by
    `unavailable`, takes no studies and gives no values.

    Args:
        cleaner: registered cleaner applied to both texts first.
    """

    by_default = True  # whether it is computed where no metrics are named
    lower_is_better: tuple[str, ...] = ()  # names of values that are better when smaller

    def __init__(self, cleaner: str = "none") -> None:
        self.cleaner_name = cleaner
        self.cleaner = registry.find("cleaner", cleaner)
        self.reset()

    @property
    def name(self) -> str:
        """The registered name; for others the class name in snake case."""
        spec = getattr(self, "build_spec", None)
        return spec["name"] if spec else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def unavailable(self) -> str | None:
        """Why the metric cannot be computed here (weights, a package or files are missing); None if it can."""
        return None

    def reset(self) -> None:
        """Forget all studies."""
        self.rows: list[Any] = []
        self.study_ids: list[str] = []
        self.clusters: list[str] = []
        self.dropped_ids: list[str] = []

    @property
    def dropped(self) -> int:
        """Number of studies left out since they have no reference."""
        return len(self.dropped_ids)

    def update(self, predictions: Sequence[str | None], references: Sequence[str | None], studies: Sequence[Record]) -> None:
        """Add studies.

        Args:
            predictions: drafted texts; None counts as empty.
            references: radiologists' texts; None or empty ones are left out.
            studies: the records, for identifiers and labels.
        """
        if self.unavailable():
            return
        for prediction, reference, study in zip(predictions, references, studies, strict=True):
            wanted = plain_text(reference)
            if not wanted.strip():
                self.dropped_ids.append(str(study["study_id"]))
                continue
            self.rows.append(self.statistics(self.cleaner(plain_text(prediction)), self.cleaner(wanted), study))
            self.study_ids.append(str(study["study_id"]))
            self.clusters.append(str(study.get("patient_id") or study["study_id"]))

    def table(self) -> np.ndarray:
        """Float [n,k]: the statistics of all studies, which add up.

        A metric whose statistics depend on the whole corpus (such as word frequencies) keeps anything in `rows` and
        makes the table here.
        """
        return np.asarray([list(row) for row in self.rows], dtype=float)

    def compute(self) -> dict[str, float]:
        """Corpus values by name; empty if no study had a reference, without those that are not defined (NaN)."""
        if not self.rows:
            return {}
        return defined(self.corpus(self.table().sum(axis=0), len(self.rows)))

    def per_study(self) -> list[dict[str, float | str]]:
        """The values of each study taken alone, with its `study_id`."""
        if not self.rows:
            return []
        return [
            {"study_id": study, **defined(self.corpus(row, 1))}
            for study, row in zip(self.study_ids, self.table(), strict=True)
        ]

    def intervals(self, resamples: int = RESAMPLES, seed: int = 0, unit: str = "patient") -> dict[str, tuple[float, float]]:
        """95 % percentile intervals from drawing patients (or studies) with replacement.

        Args:
            resamples: bootstrap samples.
            seed: of the resampling.
            unit: `patient` or `study`; without patient identifiers each study is its own patient.
        """
        if not self.rows:
            return {}
        drawn = bootstrap(self.table(), self.units(unit), self.corpus, resamples, seed)
        return {name: drawn[name] for name in self.compute()}

    def units(self, unit: str = "patient") -> list[str]:
        """Name of the unit that each study belongs to.

        Args:
            unit: `patient` or `study`.
        """
        return self.clusters if unit == "patient" else self.study_ids

    def state(self) -> tuple[list[Any], list[str], list[str], list[str]]:
        """What `join` puts together: rows, study identifiers, patients, studies without reference."""
        return self.rows, self.study_ids, self.clusters, self.dropped_ids

    def join(self, states: Iterable[tuple[list[Any], list[str], list[str], list[str]]]) -> None:
        """Take over the studies of several processes; one that a padding sampler repeated counts once.

        Args:
            states: of all processes, this one among them.
        """
        states = list(states)
        rows = {i: (row, c) for part in states for row, i, c in zip(*part[:3], strict=True)}
        self.study_ids = list(rows)
        self.rows = [row for row, _ in rows.values()]
        self.clusters = [cluster for _, cluster in rows.values()]
        self.dropped_ids = list(dict.fromkeys(i for part in states for i in part[3]))

    def gather(self) -> None:
        """Join the studies of all ranks on every rank; nothing happens in a single process. Repeating it is harmless."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            joined: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(joined, self.state())
            self.join(joined)

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


def defined(values: Mapping[str, float]) -> dict[str, float]:
    """Values as plain floats, without those that are NaN."""
    return {name: float(value) for name, value in values.items() if not np.isnan(value)}


def plain_text(value: Any) -> str:
    """A text as metrics take it: None and NaN are empty, halves of surrogate pairs become the replacement sign.

    Args:
        value: a text, None, or the NaN of a table's empty cell.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = str(value)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _HALF.search(text) else text


def f1(tp: float, fp: float, fn: float) -> float:
    """F1 from counts; 1 if there was nothing to find and nothing was claimed."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
