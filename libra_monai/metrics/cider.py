# SPDX-License-Identifier: Apache-2.0
"""CIDEr: agreement of rare n-grams, weighted by how few references have them.

Source: Vedantam et al., CVPR 2015, with the clipping and the length penalty of the COCO captioning evaluation
(sigma 6, lengths counted in bigrams, times 10). Document frequencies come from the references scored, so values of
test sets of different size or content do not compare, and one study alone scores 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

_ORDER = 4
_SIGMA = 6.0
Grams = list[Counter]


@register("metric", "cider")
class Cider(ReportMetric):
    """Mean over studies of CIDEr, 0 to 10, higher is better.

    The statistics of a study are its texts; the score of a study is made when all references are known, and resampling
    for intervals keeps the document frequencies of the whole corpus.

    Args:
        cleaner: registered cleaner; words are then split at white space.
    """

    def __init__(self, cleaner: str = "words") -> None:
        self._scores: tuple[int, np.ndarray] | None = None
        super().__init__(cleaner)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[str]:
        """Both texts."""
        return [prediction, reference]

    def table(self) -> np.ndarray:
        """Float [n,1]: the score of each study among the references of all."""
        key = hash(tuple(map(tuple, self.rows)))
        if self._scores is None or self._scores[0] != key:
            self._scores = (key, cider_scores(self.rows)[:, None])
        return self._scores[1]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`cider`."""
        return {"cider": totals[0] / n}


def cider_scores(pairs: Sequence[Sequence[str]]) -> np.ndarray:
    """Float [n]: CIDEr of each pair among all.

    Args:
        pairs: draft and reference, words apart by white space.
    """
    wanted = [_grams(reference) for _, reference in pairs]
    frequency: Counter = Counter()
    for grams in wanted:
        for order in grams:
            frequency.update(order.keys())
    total = math.log(len(pairs)) if pairs else 0.0
    weights = {gram: total - math.log(count) for gram, count in frequency.items()}
    scores = [_score(_grams(said), grams, weights, total) for (said, _), grams in zip(pairs, wanted, strict=True)]
    return np.asarray(scores)


def _score(said: Grams, wanted: Grams, weights: dict[tuple[str, ...], float], unknown: float) -> float:
    """One pair; an n-gram that no reference has weighs as if one had it."""
    length = sum(said[1].values()) - sum(wanted[1].values())
    total = 0.0
    for have, want in zip(said, wanted, strict=True):
        have_weight = {gram: count * weights.get(gram, unknown) for gram, count in have.items()}
        want_weight = {gram: count * weights[gram] for gram, count in want.items()}
        norm = math.sqrt(sum(v * v for v in have_weight.values())) * math.sqrt(sum(v * v for v in want_weight.values()))
        if norm:
            shared = have_weight.keys() & want_weight.keys()
            total += sum(min(have_weight[g], want_weight[g]) * want_weight[g] for g in shared) / norm
    return 10 * total / _ORDER * math.exp(-(length**2) / (2 * _SIGMA**2))


def _grams(text: str) -> Grams:
    words = text.split()
    return [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for n in range(1, _ORDER + 1)]
