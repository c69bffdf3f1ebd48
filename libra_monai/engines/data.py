# SPDX-License-Identifier: Apache-2.0
"""Batches of studies for an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import DataLoader
from monai.transforms import Compose
from transformers.trainer_pt_utils import LengthGroupedSampler

from libra_monai.data.dataset import StudyDataset
from libra_monai.types import StudyBatch


def batches(
    dataset: StudyDataset,
    collate: Callable[[Sequence[Any]], StudyBatch],
    batch_size: int,
    shuffle: bool = False,
    num_workers: int = 0,
    seed: int = 0,
    group_by: str | None = None,
) -> DataLoader:
    """A MONAI data loader of `StudyBatch`es in an order that depends on the seed only.

    Args:
        dataset: the studies.
        collate: `processor.collate` or `processor.collate_for_training`.
        batch_size: studies a batch.
        shuffle: a new order every epoch.
        num_workers: processes that read; 0 reads in this one, where remembered pictures stay.
        seed: of the order.
        group_by: section of the records, such as `findings`; studies of similar length there share a batch, so that
            less padding is computed. The order stays random otherwise; only with `shuffle`.
    """
    generator = torch.Generator().manual_seed(seed)
    sampler = None
    if shuffle and group_by:
        lengths = [len(record.get(group_by) or "") for record in dataset.data]
        sampler = LengthGroupedSampler(batch_size, lengths=lengths, generator=generator)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        generator=generator,
        persistent_workers=num_workers > 0,
    )


def chain(first: Callable, then: Sequence[Callable] | None) -> Compose:
    """A transform followed by optional further ones.

    Args:
        first: usually `processor.pictures(...)`.
        then: from the configuration, such as augmentations.
    """
    return Compose([first, *(then or [])])
