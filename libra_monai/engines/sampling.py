# SPDX-License-Identifier: Apache-2.0
"""Which studies make up which optimiser step: a function of seed and position, and of nothing else.

So a run that goes on from step 1,234 sees what the unbroken run saw, whatever the number of processes and workers:
order, mixing and the seed of each study's augmentation all follow from (seed, epoch, place). Nothing random needs saving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np

from libra_monai import ranks
from libra_monai.errors import ConfigError

Draw = tuple[int, int]  # index of a study, and the seed of its random transforms
_MEGA = 50  # batches whose studies are sorted by length together, as in Hugging Face's grouping


class TrainingBatches:
    """Batch sampler of a training: every epoch a new order, positions that can be jumped to, a stripe for each process.

    `batch_size` counts the studies of one optimiser step over all processes, so that a run does the same on one
    device and on many. A last batch may be smaller, and may leave a process without a study.

    Args:
        size: number of studies.
        batch_size: studies of a step, on all processes together.
        seed: of everything random.
        lengths: of the studies' texts; similar ones then share a batch, so that less padding is computed.
        groups: numbers of studies of the mixed datasets, which follow each other; None for one.
        weights: share of each group in an epoch; None takes each study once. The epoch keeps its size.

    Raises:
        ConfigError: no studies, a batch size below 1, or weights that do not fit.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        if size < 1:
            raise ConfigError("there is no study to train on", "Check `split` and the datalist's training part.")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "Give 1 or more.")
        self.size, self.batch_size, self.seed = size, int(batch_size), int(seed)
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.counts = _counts(size, groups, weights)
        self.epoch, self.skip = 0, 0

    def __len__(self) -> int:
        """Steps of an epoch."""
        return -(-self.size // self.batch_size)

    def start_at(self, step: int) -> None:
        """Go on behind a number of finished steps.

        Args:
            step: of the whole run.
        """
        self.epoch, self.skip = divmod(step, len(self))

    def __iter__(self) -> Iterator[list[Draw]]:
        # the epoch counts once a batch is asked for: a loader with workers makes two iterators and throws one away
        epoch, skip = self.epoch, self.skip
        self.epoch, self.skip = epoch + 1, 0
        yield from self.of_epoch(epoch)[skip:]

    def of_epoch(self, epoch: int) -> list[list[Draw]]:
        """The batches of an epoch as this process sees them.

        Args:
            epoch: from 0.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = self._chosen(rng, epoch)
        batches = self._grouped(order, rng) if self.lengths is not None else _cut(order, self.batch_size)
        mine, of = ranks.rank(), ranks.world_size()
        place = 0
        drawn = []
        for batch in batches:
            draws = [(int(index), seed_of(self.seed, epoch, place + at)) for at, index in enumerate(batch)]
            place += len(batch)
            drawn.append(draws[mine::of])
        return drawn

    def _chosen(self, rng: np.random.Generator, epoch: int) -> np.ndarray:
        """Studies of an epoch in random order: all of them, or each group's share."""
        if self.counts is None:
            return rng.permutation(self.size)
        parts = [start + _cycled(count, wanted, self.seed, epoch, start) for start, count, wanted in self.counts]
        return rng.permutation(np.concatenate(parts))

    def _grouped(self, order: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of similar length in random order; the smaller batch stays the last."""
        batches = []
        for mega in _cut(order, self.batch_size * _MEGA):
            mega = mega[np.argsort(-self.lengths[mega], kind="stable")]
            batches += _cut(mega, self.batch_size)
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        return [whole[number] for number in rng.permutation(len(whole))] + rest


class EvaluationBatches:
    """Batch sampler of an evaluation: the studies in their order, every one on exactly one process.

    Args:
        size: number of studies.
        batch_size: studies of a batch on this process.
        idle: processes may be left without a study, as at the end of a bulk run.

    Raises:
        ConfigError: there are more processes than studies.
    """

    def __init__(self, size: int, batch_size: int, idle: bool = False) -> None:
        if not idle and 0 < size < ranks.world_size():
            raise ConfigError(f"{size} studies do not reach for {ranks.world_size()} processes", "Use fewer processes.")
        self.size, self.batch_size = size, max(int(batch_size), 1)

    def _mine(self) -> np.ndarray:
        return np.arange(self.size)[ranks.rank() :: ranks.world_size()]

    def __len__(self) -> int:
        return -(-len(self._mine()) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in _cut(self._mine(), self.batch_size)])


def seed_of(*parts: int) -> int:
    """A seed of 32 bits from numbers, the same on every machine."""
    return crc32("/".join(map(str, parts)).encode())


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _cycled(count: int, wanted: int, seed: int, epoch: int, group: int) -> np.ndarray:
    """The next `wanted` studies of a group: none comes again before all others have come.

    Epoch e takes the places e * wanted to (e + 1) * wanted of an endless row of permutations.
    """
    first, last = epoch * wanted, (epoch + 1) * wanted
    rounds = range(first // count, -(-last // count))
    row = [np.random.default_rng([seed, group, number]).permutation(count) for number in rounds]
    start = first - rounds.start * count
    return np.concatenate(row)[start : start + wanted] if row else np.empty(0, dtype=int)


def _counts(
    size: int, groups: Sequence[int] | None, weights: Sequence[float] | None
) -> list[tuple[int, int, int]] | None:
    """First study, number of studies and studies an epoch of each group; None where each study comes once."""
    if weights is None:
        return None
    groups = list(groups or [size])
    fits = len(groups) == len(weights) and sum(groups) == size and min(weights) >= 0 and sum(weights) > 0
    if not fits or any(weight and not count for weight, count in zip(weights, groups, strict=True)):
        raise ConfigError(f"weights {list(weights)} do not fit datasets of {groups} studies", "Give one of 0 or more for each.")
    shares = np.asarray(weights, dtype=float) / sum(weights)
    wanted = np.floor(shares * size).astype(int)
    for number in np.argsort(-(shares * size - wanted), kind="stable")[: size - wanted.sum()]:
        wanted[number] += 1
    starts = np.cumsum([0, *groups[:-1]])
    return [(int(start), count, int(want)) for start, count, want in zip(starts, groups, wanted, strict=True) if want]
