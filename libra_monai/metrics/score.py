# SPDX-License-Identifier: Apache-2.0
"""Scores of a set of reports with intervals, in the form of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from libra_monai import registry
from libra_monai.errors import ConfigError
from libra_monai.metrics.base import ReportMetric
from libra_monai.types import Record


def summarise(metrics: Sequence[ReportMetric], resamples: int = 500) -> dict[str, dict[str, Any]]:
    """`{name: {value, low, high, n, signature}}` of metrics that have seen their studies.

    Args:
        metrics: updated metrics.
        resamples: bootstrap samples of the intervals.
    """
    summary: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        intervals = metric.intervals(resamples)
        for name, value in metric.compute().items():
            low, high = intervals[name]
            summary[name] = {
                "value": value,
                "low": low,
                "high": high,
                "n": len(metric.rows),
                "signature": metric.signature,
            }
    return summary


def score_reports(
    predictions: Sequence[str],
    references: Sequence[str | None],
    metrics: Sequence[str | ReportMetric] = ("bleu", "rouge_l", "finding_f1"),
    studies: Sequence[Record] | None = None,
) -> dict[str, dict[str, Any]]:
    """Score reports without a model.

    Args:
        predictions: drafted texts.
        references: radiologists' texts, in the same order.
        metrics: registered names, or metrics.
        studies: records, for patients (the unit of the intervals) and labels; default: one patient a report.

    Raises:
        ConfigError: the numbers of texts differ, or a metric is unknown.
    """
    if len(predictions) != len(references):
        raise ConfigError(
            f"{len(predictions)} predictions but {len(references)} references", "Give one reference per prediction."
        )
    records: Sequence[Mapping[str, Any]] = studies or [{"study_id": str(i)} for i in range(len(predictions))]
    built = [registry.build("metric", m) if isinstance(m, str) else m for m in metrics]
    for metric in built:
        metric.update(predictions, references, records)
    return summarise(built)
