# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules counted in optimiser steps."""

from __future__ import annotations

from collections.abc import Sized

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_cosine_schedule_with_warmup


def warmup_cosine(optimizer: Optimizer, loader: Sized, max_epochs: int, warmup: float = 0.03) -> LRScheduler:
    """Linear warm-up, then a cosine to zero, as in Libra's training (warm-up ratio 0.03).

    Args:
        optimizer: whose rate is scheduled.
        loader: its length is the number of steps an epoch.
        max_epochs: epochs of the run.
        warmup: share of all steps.
    """
    total = max(len(loader) * max_epochs, 1)
    return get_cosine_schedule_with_warmup(optimizer, round(total * warmup), total)
