# SPDX-License-Identifier: Apache-2.0
"""Let sentences that tell a change count more in the loss.

A report is mostly wording: of some fifty tokens two or three say whether something grew, shrank or stayed. Their share of a
mean token loss is that small, and a language model that learns from it writes well long before it compares.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from monai.transforms import Transform

from libra_monai.engines.prior_text import SECTIONS, with_weights
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.metrics.labelers.changes import CHANGES, change_claims
from libra_monai.metrics.labelers.clauses import sentence_spans


class WeighChangesd(Transform):
    """Give sentences that claim a change a weight in the loss, by what they claim.

    The sentence is weighed as a whole, so that "is unchanged" and "has increased" count from the word in which they part. A
    sentence with several claims takes the highest weight. Belongs behind all that rewrites the report.

    Args:
        weights: change (`new`, `worsened`, `improved`, `stable`, `resolved`, `removed`) -> factor; others count once. A change
            weighed higher than the others is also claimed more readily where the pictures leave it open.
        sections: sections of the record that can be references.

    Raises:
        ConfigError: a change does not exist, or a weight is negative.
    """

    def __init__(self, weights: Mapping[str, float], sections: Sequence[str] = SECTIONS) -> None:
        for change, weight in weights.items():
            if change not in CHANGES:
                raise ConfigError(f"weights: change '{change}' does not exist", did_you_mean(str(change), CHANGES))
            if weight < 0:
                raise ConfigError(f"weights: '{change}' is {weight}", "Give a number of at least 0.")
        self.weights, self.sections = dict(weights), tuple(sections)

    def __call__(self, study: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(study)
        for section in self.sections:
            text = item.get(section)
            for start, end in sentence_spans(text) if text else ():
                found = [self.weights[change] for change in _claimed(text[start:end]) if change in self.weights]
                if found and max(found) != 1:
                    item = with_weights(item, section, [(start, end)], max(found))
        return item


@lru_cache(maxsize=2**15)  # reports repeat their sentences
def _claimed(sentence: str) -> frozenset[str]:
    return frozenset(change for _, _, change in change_claims(sentence))
