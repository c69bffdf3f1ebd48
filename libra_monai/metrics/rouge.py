# SPDX-License-Identifier: Apache-2.0
"""ROUGE-L, the longest common subsequence of words, in the two forms that chest X-ray papers report.

Source: Lin, 2004. `rouge_l` weighs recall by beta 1.2 as the COCO captioning evaluation does; `rouge_l_f1` is the
harmonic mean of the package `rouge_score`, which Libra reports.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

_BETA = 1.2


@register("metric", "rouge_l")
class RougeL(ReportMetric):
    """Mean over studies of the longest-common-subsequence F score, 0 to 1, higher is better.

    Args:
        cleaner: registered cleaner; words are then split at single spaces.
    """

    def __init__(self, cleaner: str = "words") -> None:
        super().__init__(cleaner)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """The score of one study."""
        said, wanted = prediction.split(" "), reference.split(" ")  # single spaces, as the toolkit does
        common = _lcs(said, wanted)
        if not common:
            return [0.0]
        precision, recall = common / len(said), common / len(wanted)
        return [(1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`rouge_l_coco`."""
        return {"rouge_l_coco": totals[0] / n}


@register("metric", "rouge_l_f1")
class RougeLF1(ReportMetric):
    """Mean over studies of the longest-common-subsequence F1 without stemming, 0 to 1, higher is better.

    Args:
        cleaner: `letters` is how `rouge_score` parts words.
    """

    def __init__(self, cleaner: str = "letters") -> None:
        super().__init__(cleaner)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """The score of one study."""
        said, wanted = prediction.split(), reference.split()
        return [2 * _lcs(said, wanted) / (len(said) + len(wanted)) if said and wanted else 0.0]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`rouge_l_f1`."""
        return {"rouge_l_f1": totals[0] / n}


def _lcs(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, with one bit per word of `a` (Hyyro, 2004)."""
    where: dict[str, int] = {}
    for i, word in enumerate(a):
        where[word] = where.get(word, 0) | (1 << i)
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        match = row & where.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return len(a) - row.bit_count()
