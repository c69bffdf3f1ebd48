# SPDX-License-Identifier: Apache-2.0
"""Several sets of studies as one, each with its own folder and reading, and a weight that a sampler may honour."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from monai.data import Dataset

from libra_monai.data.dataset import StudyDataset
from libra_monai.errors import ConfigError


class MixedStudies(Dataset):
    """Study datasets one after the other; an index leads to an item of the dataset it falls into.

    The dataset itself repeats and leaves out nothing: `groups` and `weights` are for a sampler.

    Args:
        datasets: each with its own records and transform.
        weights: shares in which studies of the datasets are to be drawn, one a dataset, of any sum; None gives every
            study the same chance.

    Attributes:
        data: the records of all datasets.
        groups: how many studies each dataset has.
        weights: shares that sum to one.

    Raises:
        ConfigError: there is no dataset, one is empty, or the weights do not fit.
    """

    def __init__(self, datasets: Sequence[StudyDataset], weights: Sequence[float] | None = None) -> None:
        self.datasets = list(datasets)
        self.groups = [len(dataset) for dataset in self.datasets]
        if not self.groups or not all(self.groups):
            raise ConfigError(f"MixedStudies: datasets of {self.groups} studies", "Give at least one, none of them empty.")
        given = list(weights) if weights is not None else [float(size) for size in self.groups]
        if len(given) != len(self.groups) or not all(math.isfinite(w) and w > 0 for w in given):
            raise ConfigError(f"MixedStudies: weights {given} for {len(self.groups)} datasets", "Give a positive one for each.")
        self.weights = [weight / sum(given) for weight in given]
        self._ends = list(accumulate(self.groups))
        super().__init__([record for dataset in self.datasets for record in dataset.data])

    def __getitem__(self, index: int | tuple[int, Any]) -> dict[str, Any]:
        """An item by its place, or by place and whatever else its dataset takes, such as a seed.

        Raises:
            IndexError: there is no such place.
        """
        place, *more = index if isinstance(index, tuple) else (index,)
        if not -len(self) <= place < len(self):
            raise IndexError(f"study {place} of {len(self)}")
        place %= len(self)
        group = bisect_right(self._ends, place)
        inside = place - (self._ends[group] - self.groups[group])
        # the group tells pictures of one relative path under two roots apart
        return {**self.datasets[group][(inside, *more) if more else inside], "group": group}
