# SPDX-License-Identifier: Apache-2.0
"""A sentence is right if all it states was drawn; how scores are fitted, and how their worth is measured."""

from __future__ import annotations

import numpy as np
import pytest

from libra_monai.errors import ConfigError
from libra_monai.evaluation.calibrating import features, fit_calibration
from libra_monai.evaluation.sentences import auroc, is_right, reliability
from libra_monai.metrics.labelers.clauses import sentence_spans
from libra_monai.types import SentenceEvidence

DRAWN = [
    {"finding": "Pleural Effusion", "side": "left", "severity": "small", "change": "worsened"},
    {"finding": "Pneumothorax", "side": "right", "severity": None, "change": "resolved"},
    {"finding": "Consolidation", "side": "bilateral", "severity": "large", "change": "stable"},
    {"finding": "Endotracheal Tube", "side": None, "severity": None, "change": "new"},
]


@pytest.mark.parametrize(
    ("sentence", "right"),
    [
        ("The left pleural effusion has increased and is now small.", True),
        ("The left pleural effusion has increased and is now large.", True),  # severity is not judged
        ("The left pleural effusion has decreased and is now small.", False),
        ("The right pleural effusion has increased.", False),
        ("There is a left pleural effusion.", True),  # no change is stated
        ("Small pleural effusion is present.", True),  # no side is stated
        ("No pleural effusion.", False),
        ("No right pleural effusion.", True),
        ("No pneumothorax.", True),
        ("No pleural effusion or pneumothorax.", False),  # half true
        ("The previously seen right pneumothorax has resolved.", True),
        ("The previously seen left pneumothorax has resolved.", False),
        ("There is a right pneumothorax.", False),
        ("No left consolidation.", False),  # it is on both sides
        ("Unchanged bilateral airspace consolidation.", True),
        ("There is a new endotracheal tube.", True),
        ("The endotracheal tube has been removed.", False),
        ("Heart size is normal.", True),
        ("The heart is mildly enlarged.", False),
        ("No acute osseous abnormality.", None),
        ("No rib fracture.", None),  # never drawn, so always true
        ("Frontal view of the chest.", None),
    ],
)
def test_a_sentence_is_right_if_all_it_states_was_drawn(sentence, right):
    assert is_right(sentence, DRAWN, True) is right


def test_without_a_prior_no_change_can_be_right():
    drawn = [{**s, "change": None} for s in DRAWN]
    assert is_right("There is a left pleural effusion.", drawn, False)
    assert is_right("Unchanged left pleural effusion.", drawn, False) is False


def test_every_sentence_of_a_phantom_report_is_right_and_most_are_wrong_for_an_empty_chest(records):
    said = [(r["findings"][a:b], r) for r in records for a, b in sentence_spans(r["findings"])]
    verdicts = [is_right(text, r["statements"], bool(r["prior"])) for text, r in said]
    assert verdicts.count(False) == 0 and verdicts.count(True) > 0.8 * len(said)
    empty = [is_right(text, [], bool(r["prior"])) for text, r in said]
    assert empty.count(False) > 0.3 * len(said)


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 6, 80) / 5, rng.random(80) < 0.7
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[right] for b in scores[~right]]
    assert auroc(scores, right) == pytest.approx(np.mean(pairs))
    assert auroc([1, 2], [True, True]) is None


def test_reliability_counts_every_sentence_once():
    scores, right = [0.05, 0.15, 0.95, 1.0, 0.9], [False, True, True, True, False]
    rows, error = reliability(scores, right)
    assert [(row.low, row.n) for row in rows] == [(0.0, 1), (0.1, 1), (0.9, 3)]
    assert rows[-1].right == pytest.approx(2 / 3) and rows[-1].score == pytest.approx(0.95)
    assert error == pytest.approx((0.05 + 0.85 + 3 * (0.95 - 2 / 3)) / 5)


def _sentence(total, image, prior, tokens=8):
    return SentenceEvidence("x.", "findings", 0, 2, tokens, total / tokens, total / tokens, prior, image, 0.5)


def test_a_fit_finds_the_coefficients_that_made_the_truth_and_keeps_its_promise():
    rng = np.random.default_rng(1)
    sentences = [_sentence(-3 * rng.random(), rng.normal(), rng.normal()) for _ in range(6000)]
    rows = np.array([features(s) for s in sentences])
    chance = 1 / (1 + np.exp(-(2.0 + rows @ [1.5, 0.8, -0.6])))
    right = rng.random(len(rows)) < chance
    half = len(rows) // 2
    found = fit_calibration(sentences[:half], right[:half], "m 1", "made up")
    given = [found.intercept, found.sum_log_prob, found.image_contrast, found.prior_contrast]
    assert np.allclose(given, [2.0, 1.5, 0.8, -0.6], atol=0.25)
    scores = [found.score(*features(s)) for s in sentences[half:]]
    assert reliability(scores, right[half:])[1] < 0.03


def test_an_absent_contrast_counts_as_none_found_and_one_kind_cannot_be_fitted():
    assert features(_sentence(-2.0, None, None)) == (-2.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="2 of 2 sentences are right"):
        fit_calibration([_sentence(-1, 0, 0)] * 2, [True, True], "m", "d")
