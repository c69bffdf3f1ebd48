# SPDX-License-Identifier: Apache-2.0
"""What one iteration does: `iteration_update` of MONAI's `SupervisedTrainer` and `SupervisedEvaluator`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import nn

from libra_monai.data.processor import StudyProcessor
from libra_monai.errors import ConfigError
from libra_monai.outputs import drafts_of
from libra_monai.types import StudyBatch


class TrainingStep:
    """Forward, backward, clip, step.

    A batch of which no study could be read is passed over.

    Args:
        amp: autocast to bfloat16 (MONAI's own `amp` works on CUDA only).
        max_grad_norm: gradients are clipped to this norm; None leaves them.
    """

    def __init__(self, amp: bool = False, max_grad_norm: float | None = 1.0) -> None:
        self.amp, self.max_grad_norm = amp, max_grad_norm

    def __call__(self, engine: Any, batch: StudyBatch) -> dict[str, Any]:
        engine.state.output = {"loss": None, "num_tokens": 0}
        if len(batch) == 0:
            return engine.state.output
        batch = batch.to(engine.state.device, engine.non_blocking)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with autocast(engine.state.device, self.amp):
            output = engine.inferer(batch, engine.network)
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            loss = engine.loss_function(output)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_([p for p in engine.network.parameters() if p.requires_grad], self.max_grad_norm)
        engine.optimizer.step()
        engine.state.output = {"loss": float(loss.detach()), "num_tokens": int(output.num_tokens)}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


class DraftingStep:
    """Draft the reports of a batch, and measure the loss where there are targets.

    Args:
        processor: decodes what was generated.
        card: `name`, `version` and `training_data` of the model.
        amp: autocast to bfloat16.
        measure_loss: also run the loss; off for inference.
    """

    def __init__(
        self, processor: StudyProcessor, card: Mapping[str, Any], amp: bool = False, measure_loss: bool = True
    ) -> None:
        self.processor, self.card, self.amp, self.measure_loss = processor, dict(card), amp, measure_loss

    @torch.no_grad()
    def __call__(self, engine: Any, batch: StudyBatch) -> dict[str, Any]:
        batch = batch.to(engine.state.device, engine.non_blocking)
        loss_sum, num_tokens = 0.0, 0
        with engine.mode(engine.network), autocast(engine.state.device, self.amp):
            drafts = drafts_of(batch, engine.inferer(batch, engine.network), self.processor, self.card)
            if self.measure_loss and len(batch) and batch.target_ids is not None:
                output = engine.network(batch)
                loss_sum, num_tokens = float(output.loss_sum), int(output.num_tokens)
        engine.state.output = {
            "drafts": drafts,
            "records": batch.records,
            "batch": batch,
            "loss_sum": loss_sum,
            "num_tokens": num_tokens,
        }
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


def autocast(device: torch.device, on: bool) -> AbstractContextManager:
    """bfloat16 autocast on any device; without it, whatever the weights are in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def trainable_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters an optimizer is to change.

    Raises:
        ConfigError: nothing is trainable.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("nothing to train: `trainable` freezes every part", "Set it, for example by stage/align.")
    return parameters
