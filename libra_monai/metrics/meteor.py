# SPDX-License-Identifier: Apache-2.0
"""METEOR as the package nltk computes it: exact words, Porter stems and WordNet synonyms.

Source: Banerjee and Lavie, 2005, with nltk's alpha 0.9, beta 3, gamma 0.5; Libra and MAIRA report this flavour. It is
1.3 to 2 times the number of the Java program that the R2Gen line reports: the two must not stand in one column.
Neither the package nor WordNet is part of the core; without them the metric is skipped and says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from libra_monai.errors import ConfigError
from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

TOKENIZERS = ("split", "nltk")
_LONGEST = 1000  # words of each text; nltk's alignment compares every word with every word


@register("metric", "meteor")
class Meteor(ReportMetric):
    """Mean over studies of METEOR, 0 to 1, higher is better; only the first 1,000 words of a text count.

    Args:
        cleaner: registered cleaner.
        tokenizer: `split` at white space, or `nltk`, whose word rules Libra's numbers used (cleaner `libra`).
        nltk_data: folder with `corpora/wordnet`; default where nltk looks.

    Raises:
        ConfigError: there is no such tokenizer.
    """

    def __init__(self, cleaner: str = "words", tokenizer: str = "split", nltk_data: str | None = None) -> None:
        if tokenizer not in TOKENIZERS:
            raise ConfigError(f"tokenizer '{tokenizer}' of meteor does not exist", f"Use one of {', '.join(TOKENIZERS)}.")
        self.tokenizer = tokenizer
        self.nltk_data = nltk_data
        super().__init__(cleaner)

    def unavailable(self) -> str | None:
        """What is missing of nltk and WordNet, or None."""
        return _missing(self.nltk_data)

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """The score of one study."""
        from nltk.translate.meteor_score import meteor_score

        said, wanted = (self._words(text)[:_LONGEST] for text in (prediction, reference))
        return [meteor_score([wanted], said)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`meteor_nltk`."""
        return {"meteor_nltk": totals[0] / n}

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"Meteor (nltk), words by {self.tokenizer}, cleaner {self.cleaner_name}"

    def _words(self, text: str) -> list[str]:
        return text.split() if self.tokenizer == "split" else _nltk_words()(text)


def _missing(folder: str | None) -> str | None:
    try:
        import nltk.data
        import nltk.translate.meteor_score  # noqa: F401 - both parts are needed later
    except ImportError:
        return "the package nltk is not installed: pip install 'libra-monai[eval]'"
    if folder and folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)
    for name in ("corpora/wordnet", "corpora/wordnet.zip"):
        try:
            nltk.data.find(name)
            return None
        except (LookupError, OSError):
            continue
    return "nltk finds no WordNet: put its corpus under corpora/wordnet of an nltk_data folder"


@cache
def _nltk_words() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize
