# SPDX-License-Identifier: Apache-2.0
"""Which study is the prior, and why another one is not."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from libra_monai.data.chronology import PriorRule, choose_priors, explain, to_record
from libra_monai.data.studies import Study, StudyImage, is_frontal, is_lateral
from libra_monai.errors import ConfigError

START = datetime(2020, 3, 1, 10, 0, 0)


def image(name, view="PA", hours=0.0, **more):
    """A picture taken some hours after the start."""
    return StudyImage(name, f"{name}.dcm", view, None if hours is None else START + timedelta(hours=hours), **more)


def study(name, *images, patient="p", split="training", **more):
    """A study of one patient."""
    return Study(study_id=name, patient_id=patient, images=images, split=split, **more)


def prior_of(studies, which, **rule):
    """Identifier of a study's prior, and the choice."""
    choice = next(c for c in choose_priors(studies, PriorRule(**rule)) if c.study.study_id == which)
    return (choice.prior[0].study_id if choice.prior else None), choice


def test_the_last_strictly_earlier_study_is_the_prior_in_any_order_of_the_input():
    studies = [study(f"s{h}", image(f"i{h}", hours=h)) for h in (0, 24, 100, 101)]
    for seed in range(5):
        random.Random(seed).shuffle(studies)
        assert [prior_of(studies, n)[0] for n in ("s0", "s24", "s100", "s101")] == [None, "s0", "s24", "s100"]
    _, choice = prior_of(studies, "s101")
    assert choice.prior[2] == 1.0 and [e[0].study_id for e in choice.earlier] == ["s100", "s24", "s0"]


def test_identifiers_that_sort_wrongly_as_text_decide_nothing():
    studies = [study("study2", image("a", hours=1)), study("study10", image("b", hours=5)), study("study9", image("c", hours=9))]
    assert prior_of(studies, "study9")[0] == "study10" and prior_of(studies, "study10")[0] == "study2"


def test_studies_of_the_same_time_are_not_each_others_prior():
    studies = [study("a", image("1")), study("b", image("2"))]
    for name in "ab":
        found, choice = prior_of(studies, name)
        assert found is None and choice.skipped[0]["reason"] == "at the same time"


def test_a_study_across_midnight_is_not_its_own_prior():
    night = study("night", image("1", hours=13.9), image("2", hours=14.1))
    day = study("day", image("3", hours=20))
    for rule in ("default", "libra_v1", "previous_study"):
        assert prior_of([night, day], "night", name=rule)[0] is None
    assert prior_of([night, day], "day")[0] == "night"


def test_pa_stands_for_a_study_before_ap_and_a_lateral_never():
    both = study("s", image("l", "LATERAL", 0), image("a", "AP", 0), image("p", "PA", 1))
    choice = choose_priors([both])[0]
    assert choice.current.image_id == "p" and choice.lateral.image_id == "l"
    alone = choose_priors([study("t", image("l", "LL"))])[0]
    assert alone.current is None
    with pytest.raises(ConfigError, match="no usable frontal"):
        to_record(alone)


def test_studies_without_a_usable_frontal_are_skipped_and_counted_with_their_reason():
    studies = [
        study("old", image("1", hours=0)),
        study("side", image("2", "LATERAL", hours=5)),
        study("bad", image("3", hours=6, usable=False, reason="truncated")),
        study("now", image("4", hours=9)),
    ]
    found, choice = prior_of(studies, "now")
    assert found == "old"
    assert {s["study_id"]: s["reason"] for s in choice.skipped} == {
        "side": "no frontal picture (views: LATERAL)", "bad": "no usable frontal picture (truncated)",
    }  # fmt: skip
    assert to_record(choice)["skipped_priors"] == choice.skipped


def test_another_split_and_a_gap_too_long_are_no_priors():
    studies = [study("far", image("1")), study("other", image("2", hours=50), split="test"), study("now", image("3", hours=60))]
    assert prior_of(studies, "now")[0] == "far"
    found, choice = prior_of(studies, "now", max_gap_hours=24)
    assert found is None and len(choice.skipped) == 2
    assert prior_of(studies, "now", same_split=False)[0] == "other"


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ({"issuer": "A"}, {"issuer": "B"}, "issuer"),
        ({"birth_date": "19500101"}, {"birth_date": "19600101"}, "date of birth"),
        ({"about": {"sex": "F"}}, {"about": {"sex": "M"}}, "sex"),
    ],
)
def test_one_identifier_of_two_people_is_warned_and_not_used(one, two, said):
    found, choice = prior_of([study("a", image("1"), **one), study("b", image("2", hours=5), **two)], "b")
    assert found is None and said in choice.warnings[0] and "warning" in explain(choice)
    missing = {name: None for name in two if name != "about"}
    if missing and said != "issuer":  # what is not known speaks against nothing
        assert prior_of([study("a", image("1"), **one), study("b", image("2", hours=5), **missing)], "b")[0] == "a"


def test_a_study_dated_in_the_future_is_not_used():
    studies = [study("a", image("1", hours=0)), study("future", image("2", hours=900)), study("b", image("3", hours=901))]
    found, choice = prior_of(studies, "b", now=START + timedelta(hours=100))
    assert found == "a" and "future" in choice.warnings[0]


def test_corpora_without_dates_are_ordered_by_number_and_have_no_gap():
    studies = [study(f"s{n}", image(f"i{n}", hours=None), order=float(n)) for n in (2, 10, 9)]
    found, choice = prior_of(studies, "s10")
    assert found == "s9" and choice.prior[2] is None and to_record(choice)["gap_hours"] is None


def test_a_study_without_date_has_no_prior_and_is_none():
    studies = [study("a", image("1", hours=None)), study("b", image("2", hours=5))]
    assert prior_of(studies, "a")[0] is None and prior_of(studies, "b")[0] is None


def test_the_published_rule_shares_the_last_picture_of_the_day_before():
    studies = [
        study("monday", image("m1", "PA", 0), image("m2", "LATERAL", 1)),
        study("tuesday1", image("t1", "PA", 24)),
        study("tuesday2", image("t2", "PA", 30)),
    ]
    for name in ("tuesday1", "tuesday2"):
        found, choice = prior_of(studies, name, name="libra-v1")
        assert found == "monday" and choice.prior[1].image_id == "m2"  # any view, the last of the day
    assert prior_of(studies, "tuesday2")[0] == "tuesday1"
    assert prior_of(studies, "tuesday2", name="previous-study")[0] == "tuesday1"


def test_the_immediate_predecessor_or_none():
    studies = [study("a", image("1")), study("none", image("2", hours=2, usable=False)), study("c", image("3", hours=4))]
    assert prior_of(studies, "c", name="previous_study")[0] is None
    assert prior_of(studies, "c")[0] == "a"


def test_as_many_earlier_studies_are_kept_as_asked():
    studies = [study(f"s{h}", image(f"i{h}", hours=h)) for h in range(5)]
    assert len(prior_of(studies, "s4", keep_earlier=2)[1].earlier) == 2
    record = to_record(prior_of(studies, "s4")[1])
    assert [e["study_id"] for e in record["earlier"]] == ["s3", "s2", "s1", "s0"] and record["prior"] == "i3.dcm"


def test_rules_are_checked():
    with pytest.raises(ConfigError, match="Did you mean 'libra_v1'"):
        PriorRule("libra_v2")
    with pytest.raises(ConfigError, match="max_gap"):
        PriorRule(max_gap_hours=0)


@pytest.mark.parametrize("view", ["LATERAL", "LL", "XTABLE LATERAL", "lateral"])
def test_names_of_lateral_views(view):
    assert is_lateral(view) and not is_frontal(view)


@pytest.mark.parametrize("view", ["PA", "AP", "AP AXIAL", "PA LLD"])
def test_names_of_views_that_are_not_lateral(view):
    assert not is_lateral(view)
