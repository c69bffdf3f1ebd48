# SPDX-License-Identifier: Apache-2.0
"""How drafts are written, whatever they say: length, repetition, variety, stock sentences.

A model that copies one normal report can score well on words; these numbers show it. Variety and stock sentences
belong to a whole set of drafts: each study's share is made from all, and intervals keep what the whole set says of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

_GRAM = 4
_SENTENCE = re.compile(r"[.!?;](?=\s|$)|\n")
_NUMBER = re.compile(r"\d+")
_WORDS = re.compile(r"\w+")


@register("metric", "style")
class Style(ReportMetric):
    """Length of drafts in reference words, 1 is best; shares of repeated n-grams and sentences and of empty drafts."""

    lower_is_better = ("repeated_4gram_rate", "repeated_sentence_rate", "empty_draft_rate")

    def __init__(self) -> None:
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """Words of both, 4-grams and repeated ones, sentences and repeated ones, whether the draft is empty."""
        words = _WORDS.findall(prediction.lower())
        grams = max(len(words) - _GRAM + 1, 0)
        distinct = len(set(zip(*(words[i:] for i in range(_GRAM)), strict=False)))
        sentences = sentences_of(prediction)
        return [
            len(words), len(_WORDS.findall(reference)), grams, grams - distinct,
            len(sentences), len(sentences) - len(set(sentences)), float(not words),
        ]  # fmt: skip

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`length_ratio`, `repeated_4gram_rate`, `repeated_sentence_rate`, `empty_draft_rate`."""
        said, wanted, grams, again, sentences, twice, empty = totals
        return {
            "length_ratio": said / wanted if wanted else float("nan"),
            "repeated_4gram_rate": again / grams if grams else 0.0,
            "repeated_sentence_rate": twice / sentences if sentences else 0.0,
            "empty_draft_rate": empty / n,
        }

    @property
    def signature(self) -> str:
        """How the values were made."""
        return "words and sentences in lower case, 4-grams within a draft"


@register("metric", "variety")
class Variety(ReportMetric):
    """Share of drafts that differ from all others, higher is better, and share of stock sentences, lower is better.

    Args:
        stock: a sentence is stock if it stands in at least this share of the texts, and in two of them. Case, spaces and
            numbers do not matter.
    """

    lower_is_better = ("template_share",)

    def __init__(self, stock: float = 0.05) -> None:
        self.stock = stock
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[tuple[str, ...]]:
        """The sentences of both texts."""
        return [tuple(sentences_of(prediction)), tuple(sentences_of(reference))]

    def table(self) -> np.ndarray:
        """Float [n,6]: one by the number of like texts, stock sentences, sentences; of drafts, then of references."""
        return np.hstack([self._columns([row[side] for row in self.rows]) for side in (0, 1)])

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`distinct_reports`, `template_share`, and both of the references, the level to compare with."""
        values: dict[str, float] = {}
        for suffix, (distinct, stock, sentences) in (("", totals[:3]), ("_of_references", totals[3:])):
            values[f"distinct_reports{suffix}"] = distinct / n
            values[f"template_share{suffix}"] = stock / sentences if sentences else float("nan")
        return values

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"texts without case and numbers, a sentence is stock in {self.stock:.0%} of texts"

    def _columns(self, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        alike = Counter(texts)
        within = Counter(sentence for text in texts for sentence in set(text))
        least = max(2.0, self.stock * len(texts))
        return np.asarray(
            [[1 / alike[text], sum(within[s] >= least for s in text), len(text)] for text in texts], dtype=float
        ).reshape(-1, 3)


def sentences_of(text: str) -> list[str]:
    """Sentences in lower case without punctuation at their end, numbers as one sign.

    Args:
        text: a report.
    """
    plain = _NUMBER.sub("#", text.lower())
    return [words for part in _SENTENCE.split(plain) if (words := " ".join(part.split()))]
