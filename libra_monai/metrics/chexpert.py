# SPDX-License-Identifier: Apache-2.0
"""F1 of the CheXpert-14 observations, read from both texts by rules, under both policies for uncertain ones.

Source of the observations and the five: Irvin et al., AAAI 2019. Averages are those of scikit-learn: an observation
that neither side has scores 0, so macro values of small sets are low by nature (identical all-normal reports: 1/14).
Papers count uncertain as positive (RRG24, CheXagent) or as negative (R2Gen, MAIRA, LLaVA-Rad): the keys say which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from libra_monai.errors import ConfigError
from libra_monai.metrics.base import ReportMetric
from libra_monai.metrics.labelers.chexpert import VERSION, chexpert_labels
from libra_monai.metrics.labelers.phrases import CHEXPERT_5, CHEXPERT_14
from libra_monai.registry import register
from libra_monai.types import Record

POLICIES = {"uncertain0": (1,), "uncertain1": (1, -1)}  # labels that count as positive
_SETS = {"chexpert14": CHEXPERT_14, "chexpert5": CHEXPERT_5}
_WHERE = {key: [CHEXPERT_14.index(name) for name in names] for key, names in _SETS.items()}
_N = len(CHEXPERT_14)


@register("metric", "chexpert_f1")
class ChexpertF1(ReportMetric):
    """Micro, macro, weighted and per-study F1 over 14 and 5 observations, 0 to 1, higher is better.

    Args:
        labels: take the reference labels from the record's `finding_labels` (name -> 1, 0, -1, None or NaN) where it
            has them, instead of from the reference text.
    """

    def __init__(self, labels: bool = False) -> None:
        self.labels = labels
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """For each policy: true positives, false positives and misses of 14 observations, then F1 of the study."""
        said = chexpert_labels(prediction)
        given = study.get("finding_labels") if self.labels else None
        wanted = chexpert_labels(reference) if given is None else checked_labels(given, str(study.get("study_id", "")))
        return counts([said[name] for name in CHEXPERT_14], [wanted.get(name) for name in CHEXPERT_14])

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`chexpert14_micro_f1_uncertain0` and so on: 14 | 5, micro | macro | weighted | samples, 0 | 1."""
        return averages(totals, n)

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"CheXpert labels by {VERSION} (not CheXbert), reference from {'records' if self.labels else 'text'}"


def counts(said: Sequence[float | None], wanted: Sequence[float | None]) -> list[float]:
    """The additive statistics of one study.

    Args:
        said, wanted: 14 labels, 1, 0, -1 or None.
    """
    row: list[float] = []
    for positive in POLICIES.values():
        have, want = ([label in positive for label in labels] for labels in (said, wanted))
        row += [float(h and w) for h, w in zip(have, want, strict=True)]
        row += [float(h and not w) for h, w in zip(have, want, strict=True)]
        row += [float(w and not h) for h, w in zip(have, want, strict=True)]
        for where in _WHERE.values():
            both = sum(have[i] and want[i] for i in where)
            total = sum(have[i] + want[i] for i in where)
            row.append(2 * both / total if total else 0.0)
    return row


def averages(totals: np.ndarray, n: int) -> dict[str, float]:
    """All averages from summed statistics.

    Args:
        totals: sum of `counts`.
        n: number of studies.
    """
    values: dict[str, float] = {}
    for number, policy in enumerate(POLICIES):
        block = totals[number * (3 * _N + 2) : (number + 1) * (3 * _N + 2)]
        tp, fp, fn = block[:_N], block[_N : 2 * _N], block[2 * _N : 3 * _N]
        for place, (key, where) in enumerate(_WHERE.items()):
            each = _ratio(2 * tp[where], 2 * tp[where] + fp[where] + fn[where])
            support = tp[where] + fn[where]
            pooled = 2 * tp[where].sum(), 2 * tp[where].sum() + fp[where].sum() + fn[where].sum()
            values[f"{key}_micro_f1_{policy}"] = pooled[0] / pooled[1] if pooled[1] else 0.0
            values[f"{key}_macro_f1_{policy}"] = float(each.mean())
            values[f"{key}_weighted_f1_{policy}"] = float((each * support).sum() / max(support.sum(), 1))
            values[f"{key}_samples_f1_{policy}"] = block[3 * _N + place] / n
    return values


def checked_labels(labels: Mapping[str, Any], study: str) -> dict[str, int | None]:
    """Labels of a record; NaN is not mentioned.

    Args:
        labels: name -> 1, 0, -1, None or NaN.
        study: named in errors.

    Raises:
        ConfigError: a label is something else.
    """
    checked: dict[str, int | None] = {}
    for name, value in labels.items():
        if value is None or value != value:
            checked[name] = None
        elif value in (1, 0, -1):
            checked[name] = int(value)
        else:
            raise ConfigError(f"finding_labels of study '{study}': '{name}' is {value!r}", "Use 1, 0, -1 or null.")
    return checked


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
