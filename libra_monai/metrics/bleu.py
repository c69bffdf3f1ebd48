# SPDX-License-Identifier: Apache-2.0
"""BLEU-1 to BLEU-4 over a corpus, with the arithmetic of the COCO caption toolkit.

Source: Papineni et al., ACL 2002; the two small constants are those of the COCO captioning evaluation, in
which most chest X-ray papers report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

_MATCH, _COUNT = 1e-15, 1e-9  # keep a missing order from making the product zero


@register("metric", "bleu")
class Bleu(ReportMetric):
    """Clipped n-gram precision with brevity penalty, 0 to 1, higher is better.

    Args:
        order: longest n-gram.
        cleaner: registered cleaner; words are then split at white space.
    """

    def __init__(self, order: int = 4, cleaner: str = "words") -> None:
        self.order = order
        super().__init__(cleaner)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """Matches and counts of each order, then both lengths."""
        said, wanted = prediction.split(), reference.split()
        row: list[float] = []
        for n in range(1, self.order + 1):
            have, allowed = _ngrams(said, n), _ngrams(wanted, n)
            row += [sum(min(count, allowed[gram]) for gram, count in have.items()), max(len(said) - n + 1, 0)]
        return [*row, len(said), len(wanted)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`bleu_1_coco` to `bleu_4_coco`."""
        ratio = (totals[-2] + _MATCH) / (totals[-1] + _COUNT)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, values = 1.0, {}
        for k in range(1, self.order + 1):
            product *= (totals[2 * k - 2] + _MATCH) / (totals[2 * k - 1] + _COUNT)
            values[f"bleu_{k}_coco"] = product ** (1 / k) * penalty
        return values


def _ngrams(words: list[str], n: int) -> Counter:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))
