# SPDX-License-Identifier: Apache-2.0
"""Libra's temporal F1: do draft and reference use the same words of change?

Source: `libra/eval/temporal_f1.py` (X-iZhang/Libra) with the 44 words of BioViL-T's TEM. It counts words, not
what they are said of: the right word on the wrong finding scores, "improved" against "improvement" does not, and
two texts without any such word score 1. So it is reported with its micro average, with the mean over the studies
whose reference has such a word, and with their share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

WORDS = (
    "bigger change cleared constant decrease decreased decreasing elevated elevation enlarged enlargement enlarging "
    "expanded greater growing improved improvement improving increase increased increasing larger new persistence "
    "persistent persisting progression progressive reduced removal resolution resolved resolving smaller stability "
    "stable stably unaltered unchanged unfolded worse worsen worsened worsening"
).split()
_WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b")
_EPSILON = 1e-10  # as published


def temporal_words(text: str) -> set[str]:
    """The words of change in a text.

    Args:
        text: cleaned by `libra` or not; case does not matter.
    """
    return set(_WORD.findall(text.lower()))


def temporal_f1(said: set[str], wanted: set[str]) -> float:
    """F1 of two sets of words with the published smoothing.

    Args:
        said, wanted: words of draft and reference; several references are united.
    """
    if not wanted:
        return _EPSILON if said else 1.0
    shared = len(said & wanted) + _EPSILON
    precision, recall = shared / (len(said) + _EPSILON), shared / (len(wanted) + _EPSILON)
    return 2 * precision * recall / (precision + recall + _EPSILON)


@register("metric", "temporal_f1")
class TemporalF1(ReportMetric):
    """F1 of words of change, 0 to 1, higher is better.

    Args:
        cleaner: the published one.
    """

    def __init__(self, cleaner: str = "libra") -> None:
        super().__init__(cleaner)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """F1 of the pair, whether the reference has a word, F1 if it has, and the counts of the micro average."""
        said, wanted = temporal_words(prediction), temporal_words(reference)
        value, triggered = temporal_f1(said, wanted), float(bool(wanted))
        return [value, triggered, value * triggered, len(said & wanted), len(said), len(wanted)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`temporal_f1` (mean), `_micro`, `_triggered` (mean over references with a word), `_coverage` (their share)."""
        total, triggered, among, shared, said, wanted = totals
        return {
            "temporal_f1": total / n,
            "temporal_f1_micro": 2 * shared / (said + wanted) if said + wanted else 1.0,
            "temporal_f1_triggered": among / triggered if triggered else float("nan"),
            "temporal_f1_coverage": triggered / n,
        }
