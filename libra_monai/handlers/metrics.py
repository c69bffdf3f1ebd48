# SPDX-License-Identifier: Apache-2.0
"""Report metrics on engines: one Ignite metric drives all of them and hands out the key value."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.metrics import Metric

from libra_monai import ranks
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.files import write_json
from libra_monai.metrics import ReportMetric, per_study_rows, summarise, write_table
from libra_monai.metrics.score import check_unit
from libra_monai.metrics.statistics import RESAMPLES

LOSS = "loss"  # mean loss of a learned token, beside the report metrics


class MetricSet(Metric):
    """All report metrics of an evaluator, updated from its drafts.

    Args:
        metrics: report metrics.
        key: name of the value that decides which model is best; `loss` counts as better when lower.
    """

    def __init__(self, metrics: Sequence[ReportMetric], key: str | None) -> None:
        self.metrics, self.key = list(metrics), key
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None:
        """Forget the studies of the last epoch."""
        for metric in self.metrics:
            metric.reset()
        self.loss_sum, self.num_tokens = 0.0, 0

    def iteration_completed(self, engine: Engine) -> None:
        """Take in the output of one step; Ignite's own version expects tensors."""
        self.update(engine.state.output)

    def update(self, output: dict[str, Any]) -> None:
        """Take in one batch.

        Args:
            output: of the evaluation step: drafts, records, loss.
        """
        drafts = output["drafts"]
        for metric in self.metrics:
            metric.update([d.text for d in drafts], [d.reference for d in drafts], output["records"])
        self.loss_sum += output["loss_sum"]
        self.num_tokens += output["num_tokens"]

    def compute(self) -> dict[str, float]:
        """All values by name."""
        for metric in self.metrics:
            metric.gather()
        self._gather_loss()
        values: dict[str, float] = {LOSS: self.loss_sum / self.num_tokens} if self.num_tokens else {}
        for metric in self.metrics:
            values.update(metric.compute())
        return values

    def completed(self, engine: Engine, name: str) -> None:
        """Put every value into the engine's metrics, and the key value under its own name.

        Args:
            engine: the evaluator.
            name: what MONAI calls the key metric.
        """
        values = self.compute()
        if self.key is not None and self.key not in values:
            raise ConfigError(f"best_by '{self.key}' was not computed", self._why_missing(values))
        engine.state.metrics.update(values)
        engine.state.metrics[name] = engine.state.metrics.get(self.key, 0.0) if self.key else 0.0

    def _why_missing(self, values: Mapping[str, float]) -> str:
        skipped = [f"{m.name} was skipped: {reason}." for m in self.metrics if (reason := m.unavailable())]
        if not values:
            return " ".join([*skipped, "No study of the split has a reference text."])
        return " ".join([did_you_mean(str(self.key), values), *skipped])

    def _gather_loss(self) -> None:
        """Sum the loss over all ranks."""
        parts = ranks.gather((self.loss_sum, self.num_tokens))
        self.loss_sum, self.num_tokens = sum(part[0] for part in parts), sum(part[1] for part in parts)


def key_metric(metrics: Sequence[ReportMetric], key: str | Mapping[str, float] | None) -> dict[str, MetricSet]:
    """The `key_val_metric` of a MONAI evaluator.

    Args:
        metrics: report metrics.
        key: name of the deciding value; None, or a mix that `BestModel` weighs, has no value of its own here.
    """
    own = key if isinstance(key, str) else None
    return {own or "no_key_metric": MetricSet(metrics, own)}


def comparison(key: str | Mapping[str, float] | None, metrics: Sequence[ReportMetric] = ()) -> Callable[[float, float], bool]:
    """The `metric_cmp_fn` of a MONAI evaluator: whether a value beats the best so far.

    Args:
        key: name of the deciding value; `loss` and what a metric lists as `lower_is_better` are better when lower.
        metrics: report metrics of the evaluator.
    """
    return operator.lt if isinstance(key, str) and key in lower_is_better(metrics) else operator.gt


def lower_is_better(metrics: Sequence[ReportMetric]) -> set[str]:
    """Names of the values that are better when lower.

    Args:
        metrics: report metrics of an evaluator.
    """
    return {LOSS, *(name for metric in metrics for name in metric.lower_is_better)}


class ScoreWriter:
    """Handler that writes `metrics.json` with intervals, and `per_study.csv`, when an evaluation ends.

    Args:
        metrics: the same objects the `MetricSet` updates.
        output_dir: where to.
        resamples: bootstrap samples of the intervals.
        unit: `patient` or `study`, what the bootstrap draws.
    """

    def __init__(
        self,
        metrics: Sequence[ReportMetric],
        output_dir: str | Path,
        resamples: int = RESAMPLES,
        unit: str = "patient",
    ) -> None:
        check_unit(unit)
        self.metrics, self.folder, self.resamples, self.unit = list(metrics), Path(output_dir), resamples, unit

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        engine.state.scores = summarise(self.metrics, self.resamples, self.unit)
        if self.metrics:
            write_json(self.folder / "metrics.json", engine.state.scores)
            write_table(self.folder / "per_study.csv", per_study_rows(self.metrics))
