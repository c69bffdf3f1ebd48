# SPDX-License-Identifier: Apache-2.0
"""The vocabulary head and its cross entropy, a few places at a time.

Logits are the largest tensors of a training step: V is 32,017 for Libra's 7B and 151,936 for Qwen. Here the head
runs over the learned places only, `chunk` of them at once, and each chunk is computed again in the backward pass, so that
no tensor with V columns is kept but the head's own weight. Numbers equal those of the plain path up to the order of sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from libra_monai.types import IGNORE

# families whose logits are the head's output, capped by `final_logit_softcapping` where the config has one; others
# scale them in ways of their own (`logit_scale`, `logits_scaling`, ...) and keep their own head
KNOWN_HEADS = frozenset({"llama", "mistral", "phi3", "gemma", "gemma2", "qwen2", "qwen3"})


def knows_head(model: nn.Module) -> bool:
    """Whether `lean_loss` computes what the model's own head would."""
    return model.config.model_type in KNOWN_HEADS


def lean_loss(model: Any, states: Tensor, targets: Tensor, chunk: int, weights: Tensor | None = None) -> Tensor:
    """Summed cross entropy of the learned places.

    Args:
        model: a Hugging Face causal language model for which `knows_head` holds.
        states: [B,R,H] last hidden states, each at the place that predicts the target.
        targets: [B,R], `IGNORE` where nothing is learned.
        chunk: places at a time.
        weights: [B,R], a factor on the loss of each place; None is 1.
    """
    head, cap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    learned = targets != IGNORE
    states, wanted = states[learned], targets[learned]  # [n,H] and [n]
    if len(wanted) == 0:
        return states.float().sum()  # zero, and part of the graph
    heavy = [None] * len(wanted.split(chunk)) if weights is None else weights[learned].split(chunk)
    pieces = zip(states.split(chunk), wanted.split(chunk), heavy, strict=True)
    return torch.stack([_piece(head, cap, *piece) for piece in pieces]).sum()


def plain_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Summed cross entropy of the learned places, from all logits [B,R,V], targets and weights [B,R]."""
    return _summed(logits.flatten(0, 1), targets.flatten(), None if weights is None else weights.flatten())


def _piece(head: nn.Module, cap: float | None, states: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    if not torch.is_grad_enabled():
        return _piece_loss(head, cap, states, targets, weights)
    return checkpoint(_piece_loss, head, cap, states, targets, weights, use_reentrant=False, preserve_rng_state=False)


def _piece_loss(
    head: nn.Module, cap: float | None, states: Tensor, targets: Tensor, weights: Tensor | None
) -> Tensor:
    logits = head(states)  # [chunk,V]
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return _summed(logits, targets, weights)


def _summed(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")
    each = F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="none")
    return (each * weights.to(each.dtype)).sum()
