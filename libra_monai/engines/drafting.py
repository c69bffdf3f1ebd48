# SPDX-License-Identifier: Apache-2.0
"""What one iteration of a drafting does: `iteration_update` of MONAI's `SupervisedEvaluator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines.utils import IterationEvents

from libra_monai.data.processor import StudyProcessor
from libra_monai.inferers import RefillingInferer, sparing
from libra_monai.networks.sharding import whole
from libra_monai.outputs import drafts_of
from libra_monai.precision import autocast
from libra_monai.types import Failure, Generation, Record, ReportDraft, StudyBatch


class DraftingStep:
    """Draft the reports of a batch, and measure the loss where there are targets.

    A study that cannot be drafted, such as one whose prompt is too long, is left out and stands in `failures` of the output.

    Args:
        processor: decodes what was generated.
        card: `name`, `version` and `training_data` of the model.
        amp: autocast, as for `TrainingStep`.
        measure_loss: also run the loss; off for inference.
        evidence: also say how sure the model was of each sentence, in up to three forward passes more.
    """

    def __init__(
        self,
        processor: StudyProcessor,
        card: Mapping[str, Any],
        amp: bool | str = False,
        measure_loss: bool = True,
        evidence: bool = False,
    ) -> None:
        self.processor, self.card, self.amp = processor, dict(card), amp
        self.measure_loss, self.evidence = measure_loss, evidence

    @torch.no_grad()
    def __call__(self, engine: Any, batch: StudyBatch) -> dict[str, Any]:
        batch = batch.to(engine.state.device, engine.non_blocking)
        loss_sum, num_tokens = 0.0, 0
        with engine.mode(engine.network), whole(engine.network), autocast(engine.state.device, self.amp):
            batch, drafts, records, failures = self._draft(engine, batch)
            if self.measure_loss and len(batch) and batch.target_ids is not None:
                output = engine.network(batch)
                loss_sum, num_tokens = float(output.loss_sum), int(output.num_tokens)
        engine.state.output = {
            "drafts": drafts,
            "records": records,
            "batch": batch,
            "failures": failures,
            "loss_sum": loss_sum,
            "num_tokens": num_tokens,
        }
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _draft(self, engine: Any, batch: StudyBatch) -> tuple[StudyBatch, list[ReportDraft], list[Record], list[Failure]]:
        """The studies that could be drafted, their drafts and records, and the failures of the others."""
        batch, drafts, failures = sparing(batch, lambda part: self._drafts(engine, part, engine.inferer(part, engine.network)))
        return batch, drafts, batch.records, failures

    def _drafts(self, engine: Any, batch: StudyBatch, generations: Sequence[Generation]) -> list[ReportDraft]:
        return drafts_of(batch, generations, self.processor, self.card, engine.network if self.evidence else None)


class RefillingStep(DraftingStep):
    """Draft as a stream: an iteration takes a batch, and gives the drafts of the studies that are done by then, of whichever batch.

    The last iteration of the epoch gives all that are left. A run that is stopped before loses those that are being written; they are drafted
    again by the next start. `batch` of the output is empty.

    Args:
        processor, card, amp, evidence: see `DraftingStep`; the evidence is computed study by study.
        places: studies written side by side.
    """

    def __init__(
        self, processor: StudyProcessor, card: Mapping[str, Any], amp: bool | str = False, evidence: bool = False, places: int = 16
    ) -> None:
        super().__init__(processor, card, amp, False, evidence)
        self.places = places
        self._stream: RefillingInferer | None = None

    def _draft(self, engine: Any, batch: StudyBatch) -> tuple[StudyBatch, list[ReportDraft], list[Record], list[Failure]]:
        stream = self._stream = self._stream or engine.inferer.refilling(engine.network, self.places)
        _, _, failures = sparing(batch, stream.take)
        drafts, records = [], []
        for study, generation in stream.written(drain=engine.state.iteration % engine.state.epoch_length == 0):
            drafts += self._drafts(engine, study, [generation])
            records += study.records
        return batch.emptied(), drafts, records, failures


def drafting_step(
    processor: StudyProcessor,
    card: Mapping[str, Any],
    amp: bool | str = False,
    evidence: bool = False,
    refill: bool = False,
    places: int = 16,
) -> DraftingStep:
    """The step of a bulk run: batch by batch, or with `refill` as a stream.

    Args:
        processor, card, amp, evidence: see `DraftingStep`.
        refill: whether waiting studies take the places of finished ones.
        places: studies written side by side, with `refill`.
    """
    if refill:
        return RefillingStep(processor, card, amp, evidence, places)
    return DraftingStep(processor, card, amp, False, evidence)
