# SPDX-License-Identifier: Apache-2.0
"""Style, variety and CIDEr: what belongs to a whole set still adds up over studies."""

from __future__ import annotations

import pytest

from libra_monai.metrics import Cider, Meteor, Style, Variety, score_reports


def _values(metric, predictions, references):
    metric.update(predictions, references, [{"study_id": str(i)} for i in range(len(predictions))])
    return metric.compute()


def test_length_and_repetition():
    values = _values(Style(), ["No effusion is seen here. No effusion is seen here.", ""], ["No effusion.", "Clear lungs."])
    assert values["length_ratio"] == 10 / 4
    assert values["repeated_4gram_rate"] == pytest.approx(2 / 7)
    assert values["repeated_sentence_rate"] == 0.5 and values["empty_draft_rate"] == 0.5


def test_one_report_for_all_is_not_distinct_and_all_stock():
    values = _values(Variety(), ["Clear lungs. 3 lines."] * 4, [f"Nodule of {word}." for word in ("a", "b", "c", "d")])
    assert values["distinct_reports"] == 0.25 and values["template_share"] == 1
    assert values["distinct_reports_of_references"] == 1 and values["template_share_of_references"] == 0


def test_numbers_and_case_do_not_make_a_report_distinct():
    assert _values(Variety(), ["Nodule of 3 mm.", "NODULE of 12 mm."], ["a", "b"])["distinct_reports"] == 0.5


@pytest.mark.parametrize("metric", [Cider, Variety])
def test_corpus_value_is_the_mean_of_the_studies_and_has_an_interval(metric):
    texts = [f"finding {i % 7} in the {'left' if i % 2 else 'right'} lung is number {i}" for i in range(30)]
    built = metric()
    values = _values(built, texts[1:] + texts[:1], texts)
    name = "cider" if metric is Cider else "distinct_reports"
    assert built.table()[:, 0].mean() == pytest.approx(values[name])
    low, high = built.intervals(resamples=50)[name]
    assert low <= values[name] <= high


def test_cider_of_identical_distinct_reports_is_ten_and_of_one_pair_zero():
    texts = ["small left effusion with collapse", "normal heart and clear lungs"]
    assert _values(Cider(), texts, texts)["cider"] == pytest.approx(10)
    assert _values(Cider(), texts[:1], texts[:1])["cider"] == 0


def test_meteor_is_scored_or_skipped_with_a_reason():
    scores = score_reports(["clear lungs"], ["clear lungs"], ["meteor"])
    reason = Meteor().unavailable()
    assert scores["meteor"] == {"skipped": reason} if reason else scores["meteor_nltk"]["value"] > 0.4
    missing = Meteor(nltk_data="no_such_folder").unavailable()
    assert reason is None or missing is not None
