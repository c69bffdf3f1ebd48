# SPDX-License-Identifier: Apache-2.0
"""Views by their many names, the published rules row by row, and records and explanations of choices."""

from __future__ import annotations

import random
from datetime import datetime

import pytest

from libra_monai.data.chronology import PriorRule, choose_priors, explain, to_record
from libra_monai.data.schema import FIELDS, complete
from libra_monai.data.studies import Study, StudyImage, frontal_rank, is_frontal, is_lateral
from libra_monai.errors import ConfigError
from tests.data.studies_made import at, study


def prior_of(studies, name, rule="default", **options):
    """Identifier of the chosen prior, or None."""
    choice = choice_of(studies, name, rule, **options)
    return choice.prior[0].study_id if choice.prior else None


def choice_of(studies, name, rule="default", **options):
    """The choice of one study."""
    return next(c for c in choose_priors(studies, PriorRule(rule, **options)) if c.study.study_id == name)


@pytest.mark.parametrize(
    ("view", "rank"),
    [("PA", 0), ("pa", 0), ("Postero-anterior", 0), ("AP", 1), ("AP PORTABLE", 1), ("antero-posterior", 1)]
    + [(view, 2) for view in ("AP AXIAL", "PA LLD", "AP RLD", "FRONTAL", "LEFT LATERAL DECUBITUS", "LLD")]
    + [(view, 3) for view in (None, "", " ", "UNKNOWN")]
    + [(view, 9) for view in ("LATERAL", "LL", "RL", "XTABLE LATERAL", "CROSS-TABLE LATERAL", "LAO", "SWIMMERS", "DORSAL DECUBITUS")],
)
def test_views_are_ranked_by_what_they_are_called(view, rank):
    assert frontal_rank(view) == rank and is_frontal(view) == (rank < 3)


def test_laterals_are_known_by_many_names_and_obliques_are_none():
    assert all(is_lateral(v) for v in ("LATERAL", "LL", "ll", "XTABLE LATERAL", "CROSS-TABLE LAT", "SWIMMERS", "DORSAL DECUBITUS"))
    assert not any(is_lateral(v) for v in ("PA", "LAO", "LLD", "LEFT LATERAL DECUBITUS", None, ""))


def test_a_picture_that_does_not_open_does_not_stand_for_its_study():
    broken = StudyImage("b", "b.dcm", "PA", at(1), usable=False, reason="cannot be decoded")
    studies = [study("a", 0), study("b", 1, images=(broken,)), study("c", 2)]
    assert prior_of(studies, "c") == "a" and "cannot be decoded" in choice_of(studies, "c").skipped[0]["reason"]
    both = (broken, StudyImage("x", "x.dcm", "AP", at(1)))
    assert choice_of([study("b", 1, images=both), study("c", 2)], "c").prior[1].path == "x.dcm"


def test_pa_comes_before_ap_before_others_then_the_earliest_then_the_identifier():
    def images(*rows):
        return tuple(StudyImage(name, f"{name}.dcm", view, at(hours)) for name, view, hours in rows)

    one = study("s", 0, images=images(("a", "AP AXIAL", 0), ("b", "AP", 0), ("d", "PA", 2), ("c", "PA", 2), ("e", "PA", 3)))
    assert choice_of([one], "s").current.image_id == "c"


def test_unknown_views_stand_for_a_study_only_on_request():
    one = study("s", 0, views=(None,))
    assert choice_of([one], "s").current is None and choice_of([one], "s", unknown_views=True).current is not None
    with pytest.raises(ConfigError, match="'s' has no usable frontal"):
        to_record(choice_of([one], "s"))


def test_studies_without_identifier_or_date_have_no_prior():
    assert prior_of([study("a", 0, patient=""), study("b", 1, patient="")], "b") is None
    choice = choice_of([study("a", 0), study("b", None)], "b")
    assert choice.prior is None and choice.skipped == [{"study_id": "a", "reason": "no date on one of the two"}]


def test_a_study_across_midnight_is_one_study_and_not_its_own_prior():
    night = tuple(StudyImage(n, f"{n}.dcm", "AP", datetime(2150, 3, 1 + d, h, m)) for n, d, h, m in (("x", 0, 23, 58), ("y", 1, 0, 3)))
    studies = [study("night", 0, images=night), study("next", 15), study("before", -30)]
    for rule in ("default", "libra-v1", "previous-study"):
        assert prior_of(studies, "night", rule) == "before"
        assert prior_of(studies, "next", rule) == "night"
    assert choice_of(studies, "next").prior[1].image_id == "x"
    assert choice_of(studies, "next").prior[2] == 1.033  # 23:58 to 01:00


def test_libra_v1_takes_the_last_row_of_an_earlier_day_and_shares_it_within_a_day():
    studies = [study("a", 0, views=("PA", "LATERAL")), study("b", 2, views=("AP", "LATERAL")), study("c", 24), study("d", 26)]
    assert prior_of(studies, "b", "libra_v1") is None  # same day
    for name in ("c", "d"):
        prior = choice_of(studies, name, "libra_v1").prior
        assert (prior[0].study_id, prior[1].view) == ("b", "LATERAL")  # the last row, of any view
    assert prior_of(studies, "d") == "c"


def test_libra_v1_agrees_with_the_published_walk_over_rows():
    """The walk of specs: sort rows by date and time; the first row of a date takes the row before it, the rest share it."""
    rng = random.Random(3)
    studies = [study(f"s{n}", rng.randrange(0, 24 * 20), views=("PA", "LATERAL")[: rng.randint(1, 2)]) for n in range(40)]
    rows = sorted((i.time, s.study_id, i.image_id) for s in studies for i in s.images)
    walked, shared, day = {}, None, None
    for number, (time, name, _) in enumerate(rows):
        if time.date() != day:
            shared, day = (rows[number - 1][2] if number else None), time.date()
        walked.setdefault(name, shared)
    chosen = {c.study.study_id: c.prior[1].image_id if c.prior else None for c in choose_priors(studies, PriorRule("libra-v1"))}
    assert chosen == walked and sum(value is not None for value in walked.values()) > 30


def test_previous_study_is_the_one_just_before_or_none():
    studies = [study("a", 0), study("b", 1, views=("LATERAL",)), study("c", 2, views=()), study("d", 3)]
    assert (prior_of(studies, "b", "previous_study"), prior_of(studies, "c", "previous_study")) == ("a", "b")
    assert prior_of(studies, "d", "previous_study") is None  # c has no picture, and no study before it is looked at
    assert prior_of([study("a", 1), study("b", 1)], "b", "previous_study") == "a"  # ties by identifier


def test_a_record_has_all_fields_and_passes_its_check():
    texts = {"findings": "Clear.", "impression": " ", "comparison": None, "narrative": "x"}
    about = {"age": 50, "race": "x"}
    studies = [study("a", 0, sections=texts, about=about, labels={"Edema": 1}), study("b", 1, views=("PA", "LL"), sections=texts)]
    first, second = [to_record(choice) for choice in choose_priors(studies)]
    assert set(first) == set(FIELDS) and complete(first, "x") == first and complete(second, "x") == second
    assert (first["impression"], first["prior"], first["age"], first["finding_labels"]) == (None, None, 50, {"Edema": 1})
    assert (second["prior"], second["prior_findings"], second["gap_hours"]) == ("p/a/0.dcm", "Clear.", 1.0)
    assert second["lateral"] == "p/b/1.dcm" and second["prior_study_id"] == "a" and len(second["earlier"]) == 1


def test_explanation_names_prior_skipped_and_reason():
    studies = [study("a", 0), study("b", 1, views=("LATERAL",)), study("c", 2, sections={"comparison": "CT of 1 May."})]
    text = explain(choice_of(studies, "c"))
    assert "prior: study a" in text and "2 hours before" in text and "skipped: study b: no frontal picture (views: LATERAL)" in text
    assert "names a comparison" in text and "prior: none" in explain(choice_of(studies, "a"))


def test_missing_everything_is_a_study_without_picture_and_prior():
    choice = choose_priors([Study("s", "")])[0]
    assert choice.current is None and choice.lateral is None and choice.prior is None and "no date" in explain(choice)
