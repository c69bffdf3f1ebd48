# SPDX-License-Identifier: Apache-2.0
"""The best model of a training, and when to stop because nothing gets better."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.data.processor import StudyProcessor
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.handlers.metrics import lower_is_better
from libra_monai.handlers.saving import save_run_model
from libra_monai.metrics import ReportMetric
from libra_monai.networks.report_model import ReportModel

logger = logging.getLogger(__name__)


class BestModel:
    """Handler that saves the model folder `best` whenever a validation beats all before, and counts those that do not.

    Args:
        network, processor, card: what is saved.
        output_dir: parent of the folder.
        by: a value's name, such as `loss` or `change_micro_f1`; or names with weights, whose sum decides: values that
            are better when lower count negative in it. None saves nothing.
        metrics: report metrics of the evaluator; they say which of their values are better when lower.
        mode: `max` or `min` instead of what the value's name says.
        patience: validations without improvement after which `stop` is true; None never stops.
        base: what the run got as `ckpt`; frozen parts then only point there.
        full: write every tensor all the same.

    Raises:
        ConfigError: `mode` is neither.
    """

    name = "best"

    def __init__(
        self,
        network: ReportModel,
        processor: StudyProcessor,
        card: Mapping[str, Any],
        output_dir: str | Path,
        by: str | Mapping[str, float] | None,
        metrics: Sequence[ReportMetric] = (),
        mode: str | None = None,
        patience: int | None = None,
        base: str | Mapping[str, str] | None = None,
        full: bool = False,
    ) -> None:
        if mode not in (None, "max", "min"):
            raise ConfigError(f"best_mode is '{mode}'", "Give 'max' or 'min', or leave it out.")
        self.network, self.processor, self.card = network, processor, dict(card)
        self.base, self.full = base, full
        self.folder = Path(output_dir) / self.name
        self.by, self.lower, self.mode, self.patience = by, lower_is_better(metrics), mode, patience
        self.value: float | None = None
        self.step: int | None = None
        self.misses = 0

    @property
    def stop(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.misses >= self.patience

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if self.by is None:
            return
        value = self.score(engine.state.metrics)
        engine.state.metrics["best_by"] = value
        if not self._beats(value):
            self.misses += 1
            return
        self.value, self.step, self.misses = value, getattr(engine.state, "trained_steps", None), 0
        save_run_model(self.network, self.processor, self.folder, self.card, self.base, self.full)
        if ranks.is_main():
            logger.info("saved %s: %.4f by %s", self.folder, value, self.by if isinstance(self.by, str) else "a mix")

    def score(self, values: Mapping[str, Any]) -> float:
        """The number that decides.

        Args:
            values: of a validation, by name.

        Raises:
            ConfigError: a name was not computed.
        """
        weights = {self.by: 1.0} if isinstance(self.by, str) else dict(self.by or {})
        for name in weights:
            if name not in values:
                raise ConfigError(f"best_by '{name}' was not computed", did_you_mean(name, values))
        if isinstance(self.by, str):
            return float(values[self.by])
        return sum(weight * float(values[name]) * (-1 if name in self.lower else 1) for name, weight in weights.items())

    def _beats(self, value: float) -> bool:
        if self.value is None or math.isnan(self.value):
            return True
        mode = self.mode or ("min" if isinstance(self.by, str) and self.by in self.lower else "max")
        return value < self.value if mode == "min" else value > self.value

    def state_dict(self) -> dict[str, Any]:
        """Best value, its step, and how long ago."""
        return {"value": self.value, "step": self.step, "misses": self.misses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.value, self.step, self.misses = state["value"], state["step"], state["misses"]
