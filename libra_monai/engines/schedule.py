# SPDX-License-Identifier: Apache-2.0
"""What an optimiser changes, and at what rate: parameter groups, and schedules counted in optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import SchedulerType, get_scheduler

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.networks.report_model import PARTS


def parameter_groups(
    network: nn.Module, learning_rates: Mapping[str, float] | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """The parameters an optimizer is to change, by part and by whether weight decay belongs on them.

    Weight decay goes on matrices only, not on biases and norms, as in Hugging Face's trainer.

    Args:
        network: the report model.
        learning_rates: part -> its own rate, such as `{"connector": 2e-5}` (the original's `mm_projector_lr`); the
            others take the optimizer's.
        weight_decay: of matrices.

    Raises:
        ConfigError: nothing is trainable, or a name is no part.
    """
    rates = dict(learning_rates or {})
    for name in rates:
        if name not in PARTS:
            raise ConfigError(f"learning_rates names '{name}', which is no part", did_you_mean(name, PARTS))
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        part, matrix = name.split(".")[0], parameter.ndim > 1
        own = {"lr": rates[part]} if part in rates else {}
        empty = {"name": f"{part} {'matrices' if matrix else 'vectors'}", "params": [], **own}
        group = groups.setdefault((part, matrix), {**empty, "weight_decay": weight_decay if matrix else 0.0})
        group["params"].append(parameter)
    if not groups:
        raise ConfigError("nothing to train: `trainable` freezes every part", "Set it, for example by stage/align.")
    return list(groups.values())


def learning_rate_schedule(
    optimizer: Optimizer,
    loader: Sized,
    max_epochs: int,
    name: str = "cosine",
    warmup: float = 0.03,
    options: Mapping[str, Any] | None = None,
) -> LRScheduler:
    """A linear warm-up and what follows it; by default a cosine to zero as in Libra's training (warm-up ratio 0.03).

    Args:
        optimizer: whose rates are scheduled.
        loader: its length is the number of steps an epoch.
        max_epochs: epochs of the run.
        name: of Hugging Face's schedules, such as `cosine`, `linear`, `constant_with_warmup`, `cosine_with_min_lr`.
        warmup: share of all steps.
        options: of that schedule, such as `{"min_lr_rate": 0.1}`.

    Raises:
        ConfigError: there is no schedule of that name, or it does not take the options.
    """
    total = max(len(loader) * max_epochs, 1)
    known = sorted(kind.value for kind in SchedulerType)
    if name not in known:
        raise ConfigError(f"schedule '{name}' does not exist", did_you_mean(name, known))
    try:
        return get_scheduler(name, optimizer, round(total * warmup), total, scheduler_specific_kwargs=dict(options or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"schedule '{name}': {error}", "See the schedules of transformers.optimization.") from error
