# SPDX-License-Identifier: Apache-2.0
"""BLEU and ROUGE-L equal worked examples; corpus values come from sums; intervals are sensible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from libra_monai.errors import ConfigError
from libra_monai.metrics import Bleu, RougeL, score_reports


def _values(metric, predictions, references, patients=None):
    studies = [{"study_id": str(i), "patient_id": (patients or range(len(predictions)))[i]} for i in range(len(predictions))]
    metric.update(predictions, references, studies)
    return metric.compute()


def test_bleu_of_a_worked_example():
    # 7 words against 6: 5 shared words, 3 shared pairs, 1 shared triple; longer than the reference, so no penalty
    values = _values(Bleu(cleaner="none"), ["there is a small left effusion today"], ["there is a left pleural effusion"])
    assert values["bleu_1_coco"] == pytest.approx(5 / 7, abs=1e-8)
    assert values["bleu_2_coco"] == pytest.approx(math.sqrt(5 / 7 * 2 / 6), abs=1e-8)
    assert values["bleu_3_coco"] == pytest.approx((5 / 7 * 2 / 6 * 1 / 5) ** (1 / 3), abs=1e-8)


def test_bleu_clips_repeated_words_and_punishes_brevity():
    values = _values(Bleu(cleaner="none"), ["the the"], ["the lungs are clear"])
    assert values["bleu_1_coco"] == pytest.approx(0.5 * math.exp(1 - 4 / 2), abs=1e-8)


def test_rouge_l_of_a_worked_example():
    # common subsequence "heart is enlarged": P = 3/4, R = 3/5, beta 1.2
    value = _values(RougeL(cleaner="none"), ["heart is clearly enlarged"], ["the heart is mildly enlarged"])
    assert value["rouge_l_coco"] == pytest.approx(2.44 * 0.75 * 0.6 / (0.6 + 1.44 * 0.75))


def test_rouge_l_common_subsequence_equals_the_textbook_table():
    from libra_monai.metrics.rouge import _lcs

    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (list(map(str, rng.integers(0, 5, rng.integers(0, 40)))) for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
        assert _lcs(a, b) == table[-1, -1]


@pytest.mark.parametrize("metric", [Bleu, RougeL])
def test_identical_reports_score_one_and_empty_drafts_zero(metric):
    text = "Small left pleural effusion. No pneumothorax. The heart is enlarged."
    assert all(v == pytest.approx(1, abs=1e-6) for v in _values(metric(), [text], [text]).values())
    assert all(v == pytest.approx(0, abs=1e-3) for v in _values(metric(), [""], [text]).values())


def test_the_default_cleaner_ignores_case_and_spacing_but_keeps_numbers_whole():
    values = _values(RougeL(), ["Nodule of 3.5 cm,stable."], ["nodule of 3.5 cm , stable ."])
    assert values["rouge_l_coco"] == pytest.approx(1)


def test_a_study_without_reference_is_left_out_and_counted():
    metric = Bleu()
    _values(metric, ["a b", "a b", "a b"], ["a b", None, " "])
    assert metric.dropped == 2 and len(metric.rows) == 1


def test_intervals_hold_the_value_and_resample_patients_not_studies():
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(30)]
    references = [" ".join(rng.choice(words, 12)) for _ in range(40)]
    predictions = [r if i % 2 else " ".join(rng.choice(words, 12)) for i, r in enumerate(references)]
    by_study, by_patient = RougeL(), RougeL()
    value = _values(by_study, predictions, references)["rouge_l_coco"]
    _values(by_patient, predictions, references, patients=[i % 4 for i in range(40)])
    low, high = by_study.intervals()["rouge_l_coco"]
    assert low < value < high
    wide_low, wide_high = by_patient.intervals()["rouge_l_coco"]
    assert wide_high - wide_low > high - low  # studies of one patient are alike
    assert by_study.intervals() == by_study.intervals()


def test_per_study_values_carry_their_study_and_average_to_rouge():
    metric = RougeL()
    value = _values(metric, ["a b c", "a x c"], ["a b c", "a b c"])["rouge_l_coco"]
    rows = metric.per_study()
    assert [row["study_id"] for row in rows] == ["0", "1"]
    assert np.mean([row["rouge_l_coco"] for row in rows]) == pytest.approx(value)


def test_score_reports_needs_one_reference_per_prediction():
    scores = score_reports(["Clear lungs."], ["Clear lungs."], metrics=["bleu"])
    assert scores["bleu_4_coco"]["n"] == 1 and "cleaner words" in scores["bleu_4_coco"]["signature"]
    with pytest.raises(ConfigError, match="2 predictions but 1"):
        score_reports(["a", "b"], ["a"])
