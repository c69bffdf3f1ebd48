# SPDX-License-Identifier: Apache-2.0
"""Kappa on worked examples whose numbers stand in the literature or follow by hand."""

from __future__ import annotations

import pytest

from libra_monai.metrics.agreement import cohen_kappa, fleiss_kappa

# Fleiss (1971), table 1 as it is usually cited: 10 subjects, 14 raters, 5 categories; he gives 0.378, 0.213 and 0.210.
FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def _answers(rows):
    return [[category for category, count in enumerate(row) for _ in range(count)] for row in rows]


def test_cohens_kappa_of_a_two_by_two_table():
    # 20 both yes, 5 yes-no, 10 no-yes, 15 both no: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so 0.2 / 0.5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    told = cohen_kappa(first, second)
    assert (told.cases, told.observed) == (50, pytest.approx(0.7)) and told.kappa == pytest.approx(0.4)


def test_cohens_kappa_of_three_categories_by_hand():
    # agree in 5 of 6; chance (2 * 1 + 2 * 3 + 2 * 2) / 36 = 1/3; (5/6 - 1/3) / (2/3) = 3/4
    told = cohen_kappa(["a", "a", "b", "b", "equal", "equal"], ["a", "b", "b", "b", "equal", "equal"])
    assert told.observed == pytest.approx(5 / 6) and told.kappa == pytest.approx(0.75)


def test_readers_who_always_differ_are_below_chance():
    assert cohen_kappa(["a", "b"], ["b", "a"]).kappa == pytest.approx(-1.0)


def test_fleiss_kappa_of_the_published_table():
    told = fleiss_kappa(_answers(FLEISS))
    assert told.cases == 10 and told.observed == pytest.approx(0.378, abs=5e-4) and told.kappa == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_does_not_ask_who_said_what():
    answers = _answers(FLEISS)
    assert fleiss_kappa([one[::-1] for one in answers]).kappa == fleiss_kappa(answers).kappa


@pytest.mark.parametrize("kappa", [lambda: cohen_kappa(["a"] * 5, ["a"] * 5), lambda: fleiss_kappa([["a"] * 3] * 5)])
def test_one_category_throughout_has_no_kappa(kappa):
    told = kappa()
    assert told.observed == 1.0 and told.kappa is None


def test_without_cases_or_with_one_reader_nothing_is_said():
    assert cohen_kappa([], []).kappa is None and fleiss_kappa([]).kappa is None and fleiss_kappa([["a"], ["b"]]).kappa is None


def test_answers_that_do_not_pair_are_an_error():
    with pytest.raises(ValueError, match="3 answers beside 2"):
        cohen_kappa([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([[1, 2], [1]])
