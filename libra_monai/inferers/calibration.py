# SPDX-License-Identifier: Apache-2.0
"""From log-probabilities to one number in 0..1: a logistic function of three.

Fitted where the truth is known, by `benchmarks/evidence.py` on phantom studies, so that among sentences of score 0.8
about eight in ten are right *there*. A model folder holds the coefficients of its own weights in its card (`evidence`);
without them the default serves, which orders sentences but promises no share for another model, and the note says so.
For real studies no coefficients are known at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from libra_monai.errors import ModelError

KEY = "evidence"  # of a model card
FEATURES = ("sum_log_prob", "image_contrast", "prior_contrast")


@dataclass(frozen=True)
class Calibration:
    """Coefficients of the logistic function, and where they are from.

    Args:
        intercept: of the function.
        sum_log_prob: weight of the summed log-probability of a sentence, which is the mean times the tokens.
        image_contrast, prior_contrast: weights of the mean contrasts; an absent contrast counts as 0.
        model: name and version of the weights they were fitted for.
        data: the studies they were fitted on.
    """

    intercept: float
    sum_log_prob: float
    image_contrast: float
    prior_contrast: float
    model: str
    data: str

    def score(self, sum_log_prob: float, image_contrast: float | None, prior_contrast: float | None) -> float:
        """The score of one sentence, in 0..1.

        Args:
            sum_log_prob: natural logarithm of the probability of the whole sentence.
            image_contrast, prior_contrast: see `SentenceEvidence`.
        """
        given = zip(FEATURES, (sum_log_prob, image_contrast or 0.0, prior_contrast or 0.0), strict=True)
        value = self.intercept + sum(getattr(self, name) * number for name, number in given)
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))

    def note(self, card: Mapping[str, Any]) -> str:
        """One sentence on what the scores of a model rest on.

        Args:
            card: `name` and `version` of the model.
        """
        if model_of(card) == self.model:
            return f"Scores were calibrated for {self.model} on {self.data}; elsewhere they only order sentences."
        return f"Scores were calibrated for {self.model}, not for this model: they only order sentences."

    def as_json(self) -> dict[str, Any]:
        """The value of `evidence` in a model card."""
        return asdict(self)


DEFAULT = Calibration(6.2147, 1.7521, -0.5233, -0.2203, "libra_tiny 0.4.0", "165 phantom studies of seed 4712")


def calibration_of(card: Mapping[str, Any]) -> Calibration:
    """The coefficients of a model, or the default.

    Args:
        card: of a model folder.

    Raises:
        ModelError: the card has coefficients that cannot be used.
    """
    given = card.get(KEY)
    if given is None:
        return DEFAULT
    try:
        found = Calibration(**given)
        if not all(math.isfinite(getattr(found, name)) for name in ("intercept", *FEATURES)):
            raise ValueError("a coefficient is no finite number")
    except (TypeError, ValueError) as error:
        remedy = "Fit them again: python benchmarks/evidence.py --save."
        raise ModelError(f"the card of {model_of(card)} has unusable `{KEY}` ({error})", remedy) from error
    return found


def model_of(card: Mapping[str, Any]) -> str:
    """Name and version of a model, as a draft names it."""
    return f"{card.get('name', 'unnamed')} {card.get('version', '')}".strip()
