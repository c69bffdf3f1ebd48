# SPDX-License-Identifier: Apache-2.0
"""Batches of studies for an engine."""

from __future__ import annotations

import atexit
import signal
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.data import DataLoader
from monai.data.utils import worker_init_fn
from monai.transforms import Compose

from libra_monai.data.dataset import StudyDataset
from libra_monai.engines.change_weights import WeighChangesd
from libra_monai.engines.sampling import EvaluationBatches, TrainingBatches
from libra_monai.types import StudyBatch


def batches(
    dataset: StudyDataset,
    collate: Callable[[Sequence[Any]], StudyBatch],
    batch_size: int,
    shuffle: bool = False,
    num_workers: int = 0,
    seed: int = 0,
    group_by: str | None = None,
    idle: bool = False,
) -> DataLoader:
    """A MONAI data loader of `StudyBatch`es in an order that depends on the seed only.

    Args:
        dataset: the studies; a mixture brings `groups` and `weights`.
        collate: `processor.collate` or `processor.collate_for_training`.
        batch_size: with `shuffle` the studies of an optimiser step over all processes, else those of a batch on this one.
        shuffle: a new order every epoch, see `TrainingBatches`; without it, see `EvaluationBatches`.
        num_workers: processes that read; 0 reads in this one, where remembered pictures stay.
        seed: of the order and of all random transforms.
        group_by: section of the records, such as `findings`; studies of similar length there share a batch, so that
            less padding is computed. The order stays random otherwise; only with `shuffle`.
        idle: processes may be left without a study; without `shuffle`.
    """
    if shuffle:
        lengths = [len(record.get(group_by) or "") for record in dataset.data] if group_by else None
        mixture = {name: getattr(dataset, name, None) for name in ("groups", "weights")}
        sampler: Any = TrainingBatches(len(dataset), batch_size, seed, lengths, **mixture)
    else:
        sampler = EvaluationBatches(len(dataset), batch_size, idle)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
        worker_init_fn=_begin_worker,
    )
    if num_workers:
        atexit.register(_end_reading, weakref.ref(loader))
    return loader


def _begin_worker(number: int) -> None:
    """Ctrl-C and a cluster's SIGTERM go to all processes, and the one that computes says when reading ends: so SIGINT is ignored, and of
    SIGTERM the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    worker_init_fn(number)


def _end_reading(loader: weakref.ref[DataLoader]) -> None:
    """Let the reading processes go before Python's own end, which would send them the one signal they ignore, and wait."""
    found = loader()
    if found is not None:
        found._iterator = None


def chain(
    first: Callable, then: Sequence[Callable] | None = None, change_weights: Mapping[str, float] | None = None
) -> Compose:
    """A transform followed by optional further ones, and by the weights of what the report claims.

    Args:
        first: usually `processor.pictures(...)`.
        then: from the configuration, such as augmentations.
        change_weights: change -> weight of its sentences in the loss, see `WeighChangesd`.
    """
    return Compose([first, *(then or []), *([WeighChangesd(change_weights)] if change_weights else [])])
