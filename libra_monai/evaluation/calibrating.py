# SPDX-License-Identifier: Apache-2.0
"""Fit the score of a sentence where the truth is known: logistic regression on three numbers.

Newton's steps with a little ridge, in numpy: three weights ask for no library. What is fitted on some studies must be
measured on others; `benchmarks/evidence.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from libra_monai.errors import ConfigError
from libra_monai.inferers.calibration import FEATURES, Calibration
from libra_monai.types import SentenceEvidence

RIDGE = 0.01  # keeps weights finite where the kinds separate fully


def fit_calibration(sentences: Sequence[SentenceEvidence], right: Sequence[bool], model: str, data: str) -> Calibration:
    """Coefficients that make scores shares of right sentences, on these sentences.

    Args:
        sentences: judged ones.
        right: whether each is right.
        model: name and version of the weights that wrote them.
        data: the studies, in a few words.

    Raises:
        ConfigError: not both right and wrong sentences.
    """
    truth = np.asarray(right, dtype=float)
    if not 0 < truth.sum() < len(truth):
        what = f"{int(truth.sum())} of {len(truth)} sentences are right: nothing to tell apart"
        raise ConfigError(what, "Draft more studies.")
    rows = np.array([features(sentence) for sentence in sentences])
    weights = fit_logistic(rows, truth)
    return Calibration(*(round(float(w), 4) for w in weights), model=model, data=data)


def features(sentence: SentenceEvidence) -> tuple[float, ...]:
    """The numbers of `FEATURES`; an absent contrast is 0."""
    values = {
        "sum_log_prob": sentence.mean_log_prob * sentence.tokens,
        "image_contrast": sentence.image_contrast or 0.0,
        "prior_contrast": sentence.prior_contrast or 0.0,
    }
    return tuple(values[name] for name in FEATURES)


def fit_logistic(rows: np.ndarray, truth: np.ndarray, steps: int = 50) -> np.ndarray:
    """Intercept and weights [1+F] that make the observed truth likeliest.

    Args:
        rows: [n,F].
        truth: [n] of 0 and 1.
        steps: at most.
    """
    data = np.c_[np.ones(len(rows)), rows]
    ridge = RIDGE * np.eye(data.shape[1])
    ridge[0, 0] = 0.0
    weights = np.zeros(data.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(data @ weights, -60, 60)))
        slope = data.T @ (chance - truth) + ridge @ weights
        curve = (data * (chance * (1 - chance))[:, None]).T @ data + ridge + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights
