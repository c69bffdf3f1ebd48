# SPDX-License-Identifier: Apache-2.0
"""BLEU-1 to BLEU-4 over a corpus, in the two arithmetics that chest X-ray papers report.

Source: Papineni et al., ACL 2002. `bleu` has the two small constants of the COCO captioning evaluation;
`bleu_13a` has none and parts words as NIST does: what Hugging Face's `evaluate` and Libra compute, and sacrebleu with
its smoothing (Post, WMT 2018).
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
            shared = have.keys() & allowed.keys()
            row += [sum(min(have[gram], allowed[gram]) for gram in shared), max(len(said) - n + 1, 0)]
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


@register("metric", "bleu_13a")
class Bleu13a(Bleu):
    """BLEU on 13a words, without smoothing and with sacrebleu's, 0 to 1, higher is better.

    Args:
        order: longest n-gram.
        cleaner: `tokens_13a`, or `libra_13a` for Libra's published numbers.
    """

    def __init__(self, order: int = 4, cleaner: str = "tokens_13a") -> None:
        super().__init__(order, cleaner)

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`bleu_1_13a` to `bleu_4_13a`, 0 if an order has no match, and the same with `_exp`.

        With `_exp` the k-th order without a match counts as 1 / 2^k of one (Chen and Cherry, 2014; sacrebleu's default).
        """
        said, wanted = totals[-2], totals[-1]
        penalty = 0.0 if not said else 1.0 if said > wanted else math.exp(1 - wanted / said)
        plain, smooth, share = 0.0, 0.0, 1.0
        values = {}
        for k in range(1, self.order + 1):
            matches, possible = totals[2 * k - 2], totals[2 * k - 1]
            share = share if matches else share / 2
            plain += math.log(matches / possible) if matches and possible else -math.inf
            smooth += math.log((matches or share) / possible) if possible and totals[0] else -math.inf
            values[f"bleu_{k}_13a"] = math.exp(plain / k) * penalty
            values[f"bleu_{k}_13a_exp"] = math.exp(smooth / k) * penalty
        return values


def _ngrams(words: list[str], n: int) -> Counter:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))
