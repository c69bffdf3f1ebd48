# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: the blocks of a transformer keep their inputs only and are computed again in the backward pass.

Hugging Face's own switch works in training mode alone. Here frozen parts stay in eval mode while gradients flow
through them to the connector or to adapters, which is where the memory goes; so the blocks that the library marks as
checkpointable are wrapped, in whatever mode they are. Without gradients, as in generation, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


class _Recomputed:
    """A block's forward whose intermediates are not kept."""

    def __init__(self, forward: Callable) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)


def recompute_blocks(model: nn.Module) -> int:
    """Switch gradient checkpointing on; a second call changes nothing.

    Args:
        model: a Hugging Face model, with or without adapters.

    Returns:
        how many blocks recompute now.
    """
    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for block in blocks:
        if not isinstance(block.forward, _Recomputed):
            block.forward = _Recomputed(block.forward)
    return len(blocks)
