# SPDX-License-Identifier: Apache-2.0
"""Scores by kind of study: with and without prior, gap, view, projection, finding, length of the reference.

A value that is good on the whole may hide that it is bad where the prior was taken in another projection. A study may
lie in several groups of one stratum (findings) or in none (gap without prior).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from libra_monai.metrics import ReportMetric
from libra_monai.metrics.base import defined
from libra_monai.metrics.labelers.findings import present_findings
from libra_monai.metrics.statistics import RESAMPLES, bootstrap
from libra_monai.types import Record

_GAPS = ((24, "under 1 day"), (168, "1 to 7 days"), (720, "7 to 30 days"), (8760, "1 to 12 months"))
STRATA = ("prior", "gap", "view", "projection", "finding", "length")
UNKNOWN = "unknown"
LEAST = 5  # studies a group needs for an interval

Strata = dict[str, dict[str, list[int]]]  # stratum -> group -> rows


def find_strata(studies: Sequence[Record], references: Sequence[str], others: Mapping[str, Record] | None = None) -> Strata:
    """Which studies lie in which group.

    Args:
        studies: records.
        references: their texts; findings and length are read from these.
        others: study -> record, to look up the view of priors; default the studies themselves.
    """
    known = others if others is not None else {str(s["study_id"]): s for s in studies}
    quarters = _quarters([len(text.split()) for text in references])
    found: Strata = {stratum: {} for stratum in STRATA}
    for row, (study, text) in enumerate(zip(studies, references, strict=True)):
        groups = {
            "prior": [_prior(study)],
            "gap": [_gap(study)],
            "view": [_view(study)],
            "projection": [_projection(study, known)],
            "finding": sorted({finding for finding, _ in present_findings(text)}) or ["none named"],
            "length": [_quarter(len(text.split()), quarters)],
        }
        for stratum, names in groups.items():
            for name in names:
                if name is not None:
                    found[stratum].setdefault(name, []).append(row)
    return {stratum: {name: groups[name] for name in sorted(groups, key=_order)} for stratum, groups in found.items() if groups}


def group_names(strata: Strata, studies: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Study -> stratum -> its groups, for the table of studies.

    Args:
        strata: from `find_strata`.
        studies: the same records.
    """
    names: dict[str, dict[str, str]] = {str(study["study_id"]): dict.fromkeys(strata, "") for study in studies}
    for stratum, groups in strata.items():
        for name, rows in groups.items():
            for row in rows:
                cells = names[str(studies[row]["study_id"])]
                cells[stratum] = f"{cells[stratum]}; {name}" if cells[stratum] else name
    return names


def score_strata(
    metrics: Sequence[ReportMetric],
    strata: Strata,
    studies: Sequence[Record],
    resamples: int = RESAMPLES,
    unit: str = "patient",
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{stratum: {group: {n, patients, metrics: {name: {value, low, high, n}}}}}`, the content of `strata.json`.

    Args:
        metrics: updated with the studies.
        strata: from `find_strata`.
        studies: the same records.
        resamples, unit: of the intervals; a group of fewer than 5 studies has none (null).
    """
    ready = [(metric, metric.table(), metric.units(unit), {s: i for i, s in enumerate(metric.study_ids)})
             for metric in metrics if not metric.unavailable() and metric.rows]  # fmt: skip
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for stratum, groups in strata.items():
        for name, rows in groups.items():
            names = [str(studies[row]["study_id"]) for row in rows]
            patients = {studies[row].get("patient_id") or studies[row]["study_id"] for row in rows}
            values: dict[str, Any] = {}
            for metric, table, units, where in ready:
                chosen = [where[study] for study in names if study in where]
                values |= _group(metric, table[chosen], [units[i] for i in chosen], resamples)
            result.setdefault(stratum, {})[name] = {"n": len(rows), "patients": len(patients), "metrics": values}
    return result


def _group(metric: ReportMetric, table: np.ndarray, units: Sequence[str], resamples: int) -> dict[str, dict[str, Any]]:
    if not len(table):
        return {}
    values = defined(metric.corpus(table.sum(axis=0), len(table)))
    spread = bootstrap(table, units, metric.corpus, resamples) if len(table) >= LEAST else {}
    spans = {name: spread.get(name, (None, None)) for name in values}
    return {
        name: {"value": value, "low": spans[name][0], "high": spans[name][1], "n": len(table)}
        for name, value in values.items()
    }


def _has_prior(study: Record) -> bool:
    return bool(study.get("prior") or study.get("prior_study_id") or study.get("prior_used"))


def _prior(study: Record) -> str:
    return "with prior" if _has_prior(study) else "without prior"


def _gap(study: Record) -> str | None:
    if not _has_prior(study):
        return None
    hours = study.get("gap_hours")
    if hours is None:
        return UNKNOWN
    return next((name for limit, name in _GAPS if hours < limit), "over 1 year")


def _view(study: Record) -> str:
    return study.get("view") or UNKNOWN


def _projection(study: Record, known: Mapping[str, Record]) -> str | None:
    """Whether current and prior were taken the same way, such as both AP."""
    if not _has_prior(study):
        return None
    before = known.get(str(study.get("prior_study_id")), {}).get("view")
    if not before or not study.get("view"):
        return UNKNOWN
    return "same as prior" if before == study["view"] else "differs from prior"


def _quarters(lengths: Sequence[int]) -> list[int]:
    return sorted({int(q) for q in np.percentile(lengths, [25, 50, 75])}) if lengths else []


def _quarter(length: int, limits: Sequence[int]) -> str:
    below = 0
    for limit in limits:
        if length <= limit:
            return f"{below} to {limit} words"
        below = limit + 1
    return f"over {limits[-1]} words" if limits else "any"


def _order(name: str) -> tuple:
    """Groups in the order a reader expects: numbers and gaps by size, unknown last."""
    gaps = [gap for _, gap in _GAPS] + ["over 1 year"]
    first = name.split()[0]
    size = gaps.index(name) if name in gaps else int(first) if first.isdigit() else 10**9 if first == "over" else 0
    return (name == UNKNOWN, size, name)
