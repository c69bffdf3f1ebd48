# SPDX-License-Identifier: Apache-2.0
"""What one iteration of a training does: `iteration_update` of MONAI's `SupervisedTrainer`."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import nn

from libra_monai import ranks
from libra_monai.precision import autocast, gradient_scaler
from libra_monai.engines.distributed import finish_gradients
from libra_monai.engines.sampling import seed_of
from libra_monai.errors import TrainingError
from libra_monai.files import write_json
from libra_monai.networks.sharding import is_sharded
from libra_monai.types import StudyBatch


class TrainingStep:
    """One optimiser step: forward and backward of all micro-batches, clip, step.

    The gradient is that of the summed token loss over the number of tokens of all micro-batches and processes, so
    neither `micro_batch` nor the number of devices changes what is learned. Dropout and the like are seeded
    from the number of the step, so that a resumed run draws what the unbroken one drew.
    A step for which no study could be read on any process is passed over.

    Args:
        amp: autocast: False, True (bfloat16), `bf16` or `fp16` with a gradient scaler.
        max_grad_norm: gradients are clipped to this norm; None leaves them.
        micro_batch: studies computed at a time, for memory; None takes all of the step.
        seed: of dropout.
        output_dir: where the studies of a loss that is no number are written; None writes nothing.

    Raises:
        TrainingError: loss or gradient are no numbers.
    """

    def __init__(
        self,
        amp: bool | str = False,
        max_grad_norm: float | None = 1.0,
        micro_batch: int | None = None,
        seed: int = 0,
        output_dir: str | Path | None = None,
    ) -> None:
        self.amp, self.max_grad_norm, self.micro_batch, self.seed = amp, max_grad_norm, micro_batch, seed
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.device: torch.device | None = None

    def __call__(self, engine: Any, batch: StudyBatch) -> dict[str, Any]:
        began = time.perf_counter()
        self._prepare(engine)
        torch.manual_seed(seed_of(self.seed, engine.state.iteration, ranks.rank()))
        engine.optimizer.zero_grad(set_to_none=True)
        loss_sum, num_tokens = self._backward(engine, batch)
        loss_sum, num_tokens, studies = ranks.totals([loss_sum, num_tokens, len(batch)], engine.state.device)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.state.output = {"loss": None, "num_tokens": int(num_tokens), "studies": int(studies)}
        if num_tokens:
            loss = loss_sum / num_tokens
            self._check(engine, loss, batch, "loss")
            norm = self._update(engine, ranks.world_size() / num_tokens, batch)
            engine.state.output |= {"loss": loss, "grad_norm": norm}
        engine.state.output["seconds"] = time.perf_counter() - began
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _prepare(self, engine: Any) -> None:
        if self.device is None:  # the first step of a run
            self.device = engine.state.device
            engine.scaler = engine.scaler or gradient_scaler(self.device, self.amp)
        engine.network.train()

    def _backward(self, engine: Any, batch: StudyBatch) -> tuple[float, int]:
        """Gradients of the summed loss, collected over micro-batches; processes exchange them once, at the last."""
        parts = self._parts(engine.network, batch)
        sums: list[torch.Tensor] = []
        num_tokens = 0
        for number, part in enumerate(parts):
            if len(part) == 0 and ranks.world_size() == 1:
                continue
            with _exchanging(engine.network, number == len(parts) - 1):
                part = part.to(engine.state.device, engine.non_blocking)
                with autocast(engine.state.device, self.amp):
                    output = engine.inferer(part, engine.network)
                    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                    loss = engine.loss_function(output)
                engine.fire_event(IterationEvents.LOSS_COMPLETED)
                (loss if engine.scaler is None else engine.scaler.scale(loss)).backward()
            sums.append(loss.detach())
            num_tokens += int(output.num_tokens)
        return float(sum(sums)), num_tokens

    def _parts(self, network: nn.Module, batch: StudyBatch) -> list[StudyBatch]:
        """Micro-batches; as many on every process where each of them gathers sharded layers."""
        if not self.micro_batch:
            return [batch]
        parts = batch.split(self.micro_batch)
        most = max(ranks.gather(len(parts))) if is_sharded(network) else len(parts)
        return parts + [batch.emptied()] * (most - len(parts))

    def _update(self, engine: Any, factor: float, batch: StudyBatch) -> float | None:
        """From summed to mean gradients; clip; step. The norm before clipping."""
        parameters = [p for p in engine.network.parameters() if p.grad is not None]
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        norm = finish_gradients(parameters, factor, self.max_grad_norm)
        if engine.scaler is None:
            self._check(engine, 0.0 if norm is None else norm, batch, "gradient norm")
            engine.optimizer.step()
        else:
            engine.scaler.step(engine.optimizer)
            engine.scaler.update()
        return norm

    def _check(self, engine: Any, value: float, batch: StudyBatch, what: str) -> None:
        if math.isfinite(value):
            return
        step, remedy = engine.state.iteration, "Lower the learning rate, or use amp 'bf16' instead of 'fp16'."
        studies = [study for part in ranks.gather(batch.study_ids) for study in part]
        if self.output_dir is not None:
            path = self.output_dir / "not_a_number.json"
            if ranks.is_main():
                write_json(path, {"step": step, "what": what, "value": str(value), "study_ids": studies})
            remedy = f"The batch's studies are listed in {path}. {remedy}"
        raise TrainingError(f"the {what} of step {step} is {value}", remedy)


def _exchanging(network: nn.Module, last: bool) -> AbstractContextManager:
    """Processes exchange gradients only behind the last micro-batch."""
    if hasattr(network, "set_requires_gradient_sync"):  # FSDP
        network.set_requires_gradient_sync(last)
        return nullcontext()
    return nullcontext() if last or not hasattr(network, "no_sync") else network.no_sync()
