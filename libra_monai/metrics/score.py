# SPDX-License-Identifier: Apache-2.0
"""Scores of a set of reports with intervals, in the form of `metrics.json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from libra_monai import registry
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.files import write_text
from libra_monai.metrics.base import UNITS, ReportMetric, plain_text
from libra_monai.metrics.statistics import RESAMPLES, compare, holm
from libra_monai.types import Record

# How others made their numbers: metric -> arguments. `libra` scores after Libra's cleaning, on 13a words.
PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "libra": {
        "bleu_13a": {"cleaner": "libra_13a"},
        "rouge_l_f1": {"cleaner": "libra_letters"},
        "temporal_f1": {},
    },
}


def build_metrics(profile: str | None = None) -> list[ReportMetric]:
    """The metrics of a profile; without one, every registered metric that needs no arguments.

    Args:
        profile: a name of `PROFILES`, or None.

    Raises:
        ConfigError: there is no such profile.
    """
    if profile is None:
        names = [name for name in registry.names("metric") if getattr(registry.find("metric", name), "by_default", True)]
        return [registry.build("metric", name) for name in names]
    if profile not in PROFILES:
        raise ConfigError(f"profile '{profile}' does not exist", did_you_mean(profile, PROFILES))
    return [registry.build("metric", name, **arguments) for name, arguments in PROFILES[profile].items()]


def summarise(
    metrics: Sequence[ReportMetric], resamples: int = RESAMPLES, unit: str = "patient"
) -> dict[str, dict[str, Any]]:
    """`{name: {value, low, high, n, signature}}` of metrics that have seen their studies.

    A metric that cannot be computed here stands under its registered name as `{"skipped": reason}`.

    Args:
        metrics: updated metrics.
        resamples: bootstrap samples of the intervals.
        unit: `patient` or `study`, what the bootstrap draws.

    Raises:
        ConfigError: the unit is neither.
    """
    check_unit(unit)
    summary: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        reason = metric.unavailable()
        if reason:
            summary[metric.name] = {"skipped": reason}
            continue
        intervals = metric.intervals(resamples, unit=unit)
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


def per_study_rows(
    metrics: Sequence[ReportMetric], more: Mapping[str, Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """One row a study: `study_id`, `patient_id`, further columns, every value of every metric.

    Args:
        metrics: updated metrics.
        more: study -> further columns, such as its strata.
    """
    rows: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        for values, patient in zip(metric.per_study(), metric.clusters, strict=True):
            study = str(values["study_id"])
            rows.setdefault(study, {"study_id": study, "patient_id": patient, **(more or {}).get(study, {})}).update(values)
    return list(rows.values())


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV (UTF-8) atomically; columns are those of all rows, in order of appearance.

    Args:
        path: the file.
        rows: dictionaries; a missing value is an empty cell.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in rows])
    write_text(path, buffer.getvalue())


def compare_metrics(
    ours: Sequence[ReportMetric],
    theirs: Sequence[ReportMetric],
    resamples: int = RESAMPLES,
    unit: str = "patient",
) -> dict[str, dict[str, float]]:
    """Two systems on the studies both have: `{name: {value, against, difference, low, high, p, p_holm, n}}`.

    Args:
        ours, theirs: the same metrics in the same order, updated with each system's drafts.
        resamples: bootstrap samples, and permutations.
        unit: `patient` or `study`, what is drawn and exchanged.

    Raises:
        ConfigError: the metrics differ, or the unit is unknown.
    """
    check_unit(unit)
    result: dict[str, dict[str, float]] = {}
    for a, b in zip(ours, theirs, strict=True):
        if a.signature != b.signature:
            raise ConfigError(f"'{a.signature}' is compared with '{b.signature}'", "Score both systems alike.")
        where = {study: row for row, study in enumerate(b.study_ids)}
        shared = [(row, where[study]) for row, study in enumerate(a.study_ids) if study in where]
        if a.unavailable() or not shared:
            continue
        mine, other = ([pair[side] for pair in shared] for side in (0, 1))
        units = [a.units(unit)[row] for row in mine]
        result |= compare(a.table()[mine], b.table()[other], units, a.corpus, resamples)
    corrected = holm({name: row["p"] for name, row in result.items()})
    return {name: {**row, "p_holm": corrected[name]} for name, row in result.items()}


def score_reports(
    predictions: Sequence[str | None] | Mapping[str, str | None],
    references: Sequence[str | None] | Mapping[str, str | None],
    metrics: Sequence[str | ReportMetric] | None = None,
    studies: Sequence[Record] | None = None,
    profile: str | None = None,
    resamples: int = RESAMPLES,
    unit: str = "patient",
) -> dict[str, dict[str, Any]]:
    """Score reports without a model; the content of `metrics.json`.

    Args:
        predictions: drafted texts; or study -> text, then only studies with a reference are scored.
        references: radiologists' texts in the same order; or study -> text.
        metrics: registered names, or metrics; default those of the profile, without one all registered.
        studies: records, for patients (the unit of the intervals) and labels; default: one patient a report.
        profile: a name of `PROFILES`, such as `libra`.
        resamples: bootstrap samples of the intervals.
        unit: `patient` or `study`, what the bootstrap draws.

    Raises:
        ConfigError: texts and studies do not fit together, or a metric, profile or unit is unknown.
    """
    predictions, references, records = _aligned(predictions, references, studies)
    built = build_metrics(profile) if metrics is None else [_built(metric) for metric in metrics]
    for metric in built:
        metric.update(predictions, references, records)
    return summarise(built, resamples, unit)


def check_unit(unit: str) -> None:
    """Refuse a unit the bootstrap does not know.

    Raises:
        ConfigError: it is neither `patient` nor `study`.
    """
    if unit not in UNITS:
        raise ConfigError(f"unit '{unit}' does not exist", did_you_mean(unit, UNITS))


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        text = plain_text(value)
        return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return value


def _built(metric: str | ReportMetric) -> ReportMetric:
    return registry.build("metric", metric) if isinstance(metric, str) else metric


def _aligned(predictions: Any, references: Any, studies: Sequence[Record] | None) -> tuple[list, list, list[Record]]:
    if isinstance(predictions, Mapping) != isinstance(references, Mapping):
        raise ConfigError("predictions and references are of two kinds", "Give two lists, or study -> text for both.")
    if isinstance(predictions, Mapping):
        shared = [study for study in predictions if study in references]
        if not shared and predictions and references:
            raise ConfigError("no study has both a prediction and a reference", "Use the same study identifiers.")
        known = {str(record["study_id"]): record for record in studies or ()}
        records = [known.get(str(study), {"study_id": str(study)}) for study in shared]
        return [predictions[study] for study in shared], [references[study] for study in shared], records
    if len(predictions) != len(references):
        raise ConfigError(
            f"{len(predictions)} predictions but {len(references)} references", "Give one reference per prediction."
        )
    records = list(studies) if studies is not None else [{"study_id": str(i)} for i in range(len(predictions))]
    if len(records) != len(predictions):
        raise ConfigError(f"{len(predictions)} predictions but {len(records)} studies", "Give one study per prediction.")
    return list(predictions), list(references), records
