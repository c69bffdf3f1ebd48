# SPDX-License-Identifier: Apache-2.0
"""The control suite at the end of an evaluation workflow."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from libra_monai.checkpoints import LoadedModel
from libra_monai.data.dataset import StudyDataset
from libra_monai.data.processor import StudyProcessor
from libra_monai.evaluation.drafting import Drafter
from libra_monai.evaluation.files import Scoring, write_evaluation
from libra_monai.evaluation.pairs import pair
from libra_monai.evaluation.suite import find_controls, run_controls
from libra_monai.evaluation.texts import Texts
from libra_monai.metrics import ReportMetric
from libra_monai.precision import autocast
from libra_monai.types import FAILURE, Decoding, decoding_from


class ControlSuite:
    """Handler that drafts every study again under each control, and writes `controls.json` and `evaluation.html`.

    The suite runs in one process; in a distributed evaluation attach it on one rank.

    Args:
        processor, card: of the model.
        dataset: the studies of the evaluator.
        metrics: report metrics; copies are used.
        decoding: options of generation.
        root: folder the paths of the records are relative to.
        output_dir: where to.
        controls: True for all, names for some, None or False for none.
        batch_size: studies a batch.
        amp: autocast, as for `TrainingStep`.
        seed: of the choice of other patients.
        reading: arguments of `LoadRadiograph`.

    Raises:
        ConfigError: a control does not exist.
    """

    def __init__(
        self,
        processor: StudyProcessor,
        card: Mapping[str, Any],
        dataset: StudyDataset,
        metrics: Sequence[ReportMetric],
        decoding: Mapping[str, Any] | Decoding | None,
        root: str,
        output_dir: str | Path,
        controls: bool | Sequence[str] | None = True,
        batch_size: int = 16,
        amp: bool = False,
        seed: int = 0,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.processor, self.card, self.records = processor, card, list(dataset.data)
        self.metrics, self.decoding, self.root, self.folder = list(metrics), decoding_from(decoding), root, Path(output_dir)
        self.controls = [controls] if isinstance(controls, str) else controls
        self.names = None if isinstance(self.controls, bool) or self.controls is None else list(self.controls)
        self.batch_size, self.amp, self.seed, self.reading = batch_size, amp, seed, reading
        find_controls(self.names)

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        if self.controls:
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        device = torch.device(engine.state.device)
        loaded = LoadedModel(engine.network, self.processor, self.card, device, self.decoding)
        drafter = Drafter(
            loaded, self.root, self.batch_size, reading=self.reading,
            autocast=lambda: autocast(device, self.amp),
        )  # fmt: skip
        scoring, records = Scoring(self._fresh), [r for r in self.records if FAILURE not in r]
        training = engine.network.training
        engine.network.eval()
        table, drafts = run_controls(drafter, records, self._fresh, self.names, seed=self.seed)
        engine.network.train(training)
        ours, references = Texts("predictions.jsonl"), Texts("the datalist")
        for record in records:
            references.add("the datalist", record["study_id"], record.get(self.processor.prompt.target) or "", record)
        for study, draft in drafts.items():
            ours.add("predictions.jsonl", study, draft.text, {})
        marks = next(iter(drafts.values())).marks
        title = f"Evaluation of {self.card.get('name', 'a model')}"
        write_evaluation(self.folder, title, pair(ours, references), scoring, None, table, self.root, marks=marks)

    def _fresh(self) -> list[ReportMetric]:
        copies = [copy.copy(metric) for metric in self.metrics]
        for metric in copies:
            metric.reset()
        return copies
