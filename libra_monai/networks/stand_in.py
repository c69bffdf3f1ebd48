# SPDX-License-Identifier: Apache-2.0
"""A blank study, so that a process without pictures computes what the others compute.

Sharded layers are gathered when they run, by all processes together (FSDP). A process that passed over the encoder, or the whole step, because
it has nothing to show would leave the others waiting for ever.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from libra_monai.networks.language.splice import has_slots
from libra_monai.types import IGNORE, IMAGE_SLOT, SLOT_IDS, StudyBatch


def runs_all_parts(batch: StudyBatch, pictured: bool = True) -> bool:
    """Whether a batch brings all parts of a model to work by itself.

    Args:
        batch: B studies, also none.
        pictured: the model has an encoder and a connector.
    """
    return len(batch) > 0 and (not pictured or has_slots(batch))


def with_stand_in(batch: StudyBatch) -> StudyBatch:
    """The batch with one more study: a black picture, a prompt that only shows it, and no token to learn.

    Connectors want a current picture of every study, so those that lack one get the black one too; their prompts do not show it.

    Args:
        batch: B studies whose prompts show no picture, also none.

    Returns:
        B + 1 studies.
    """
    ids, mask, targets, weights = batch.input_ids, batch.attention_mask, batch.target_ids, batch.weights
    if targets is None and len(batch) == 0:
        targets = ids.new_zeros(0, 1)
    index = {view: torch.cat([places, places.new_tensor([-1])]) for view, places in batch.index.items()}
    index["current"] = index["current"].where(index["current"] >= 0, len(batch.images))
    slot = _row(ids, 0)
    slot[:, -1] = SLOT_IDS[IMAGE_SLOT]
    shown = _row(mask, False)
    shown[:, -1] = True
    return replace(
        batch,
        images=torch.cat([batch.images, batch.images.new_zeros(1, *batch.images.shape[1:])]),
        index=index,
        input_ids=torch.cat([_at_least_one_wide(ids, 0), slot]),
        attention_mask=torch.cat([_at_least_one_wide(mask, False), shown]),
        target_ids=None if targets is None else torch.cat([_at_least_one_wide(targets, IGNORE), _row(targets, IGNORE)]),
        weights=None if weights is None else torch.cat([weights, _row(weights, 0.0)]),
        study_ids=[*batch.study_ids, "stand-in"],
        records=[*batch.records, {"study_id": "stand-in", "statements": []}],
    )


def _row(like: Tensor, value: int | bool) -> Tensor:
    return like.new_full((1, max(like.shape[1], 1)), value)


def _at_least_one_wide(rows: Tensor, value: int | bool) -> Tensor:
    return rows if rows.shape[1] else rows.new_full((len(rows), 1), value)
