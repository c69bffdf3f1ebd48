# SPDX-License-Identifier: Apache-2.0
"""Each control changes what it says and nothing that would tell the answer; the suite knows a model that looks."""

from __future__ import annotations

import json

import pytest
import torch

from libra_monai.data.schema import FIELDS
from libra_monai.errors import ConfigError
from libra_monai.evaluation.answers import answers
from libra_monai.evaluation.claims import compare_claims
from libra_monai.evaluation.constant import best_constant
from libra_monai.evaluation.controls import (
    CONTROLS,
    blank,
    donors,
    duplicate_current,
    exposed,
    other_prior,
    shifted,
    shuffle_pictures,
    swap_pictures,
    withhold_prior,
)
from libra_monai.evaluation.drafting import Drafter
from libra_monai.evaluation.suite import find_controls, run_controls
from libra_monai.metrics import FindingF1

PRIOR_TEXTS = ("prior_findings", "prior_impression", "earlier")


@pytest.fixture(scope="module")
def known(records):
    return {r["study_id"]: r for r in records}


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: c.name)
def test_a_control_keeps_schema_study_and_reference(records, known, control):
    changed = control.records(records, known, 0)
    assert len(changed) == len(records) and any(changed)
    for before, after in zip(records, changed, strict=True):
        if after is not None:
            assert set(after) == set(FIELDS) == set(before)
            for name in ("study_id", "patient_id", "findings", "impression", "indication", "history", "statements"):
                assert after[name] == before[name], name
            assert after["current"]


def test_a_withheld_prior_leaves_no_trace_in_the_texts(records, known):
    for before, after in zip(records, withhold_prior(records, known, 0), strict=True):
        assert (after is not None) == bool(before["prior"])
        if after is not None:
            names = ("prior", "comparison", "gap_hours", "prior_study_id", *PRIOR_TEXTS)
            assert not any(after[name] for name in names) and after["current"] == before["current"]


def test_swapped_pictures_take_view_and_technique_with_them_and_hide_the_report(records, known):
    for before, after in zip(records, swap_pictures(records, known, 0), strict=True):
        if after is not None:
            prior = known[before["prior_study_id"]]
            assert (after["current"], after["prior"]) == (before["prior"], before["current"])
            assert (after["view"], after["technique"]) == (prior["view"], prior["technique"])
            assert not any(after[name] for name in PRIOR_TEXTS) and after["comparison"] == before["comparison"]


def test_a_duplicated_current_has_no_report_of_a_prior(records, known):
    changed = [r for r in duplicate_current(records, known, 0) if r is not None]
    assert all(r["prior"] == r["current"] and not any(r[name] for name in PRIOR_TEXTS) for r in changed)


def test_another_patients_prior_comes_with_that_patients_texts(records, known):
    of_picture = {r["prior"]: r for r in records if r["prior"]}
    for before, after in zip(records, other_prior(records, known, 0), strict=True):
        if after is not None:
            donor = of_picture[after["prior"]]
            assert donor["patient_id"] != before["patient_id"] and after["current"] == before["current"]
            assert after["prior_findings"] == donor["prior_findings"] and after["comparison"] == before["comparison"]


def test_shuffled_pictures_move_as_one_study_between_patients(records, known):
    of_picture = {r["current"]: r for r in records}
    taken = []
    for before, after in zip(records, shuffle_pictures(records, known, 0), strict=True):
        if after is not None:
            donor = of_picture[after["current"]]
            taken.append(donor["study_id"])
            assert donor["patient_id"] != before["patient_id"]
            for name in ("prior", "view", "technique", "prior_findings"):
                assert after[name] == donor[name]
            assert bool(after["prior"]) == bool(before["prior"])
    assert len(set(taken)) == len(taken) > 0


@pytest.mark.parametrize("sizes", [[1, 1], [3, 2, 1], [4, 4], [5, 1], [9], [2, 2, 2, 7]])
def test_donors_are_always_of_another_patient(sizes):
    records = [{"study_id": f"{p}{i}", "patient_id": p} for p, n in zip("abcd", sizes, strict=False) for i in range(n)]
    found = donors(records, range(len(records)), 3)
    assert all(records[a]["patient_id"] != records[b]["patient_id"] for a, b in found.items())
    assert len(found) == (len(records) if len(sizes) > 1 else 0)
    if max(sizes) * 2 <= len(records):
        assert sorted(found.values()) == list(range(len(records)))  # each gives once


def test_pixels_of_the_harmless_variants():
    picture = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 4
    assert exposed(1.1)(picture).max() == 255 and exposed(0.9)(picture)[0, 3, 3] == round(27 * 4 * 0.9)
    moved = shifted(picture)
    assert torch.equal(moved[:, 2:, 2:], picture[:, :-2, :-2]) and moved[0, 0, 0] == picture[0, 0, 0]
    assert blank(picture).unique().tolist() == [128] and moved.dtype == torch.uint8


def test_a_changed_picture_does_not_stand_in_for_the_file_in_the_same_batch(phantom, records, tiny):
    """The prior of one study is the current picture of another: only the current one may be changed."""
    pair = next([r, next(p for p in records if p["study_id"] == r["prior_study_id"])] for r in records if r["prior"])
    drafter = Drafter(tiny, str(phantom), shown=False)
    control = next(c for c in CONTROLS if c.name == "brighter")
    pictures = drafter._pictures(control)
    batch = tiny.processor.collate([{**pictures(r), "record": r} for r in pair])
    assert len(batch.images) == 3  # the current of the first; its prior as it is; the same file brighter
    assert batch.index["prior"][0] != batch.index["current"][1]


def test_claims_that_flip_are_counted_by_finding_and_side():
    before = [{("E", "left", "improved"), ("P", None, "stable")}, {("E", "right", "worsened")}, set()]
    after = [{("E", "left", "worsened"), ("P", None, "stable")}, {("E", "left", "improved")}, set()]
    moved = compare_claims(before, after)
    assert moved == {"before": 3, "after": 3, "directed": 2, "flipped": 0.5, "kept": pytest.approx(1 / 3),
                     "stable": pytest.approx(1 / 3), "drafts_with_claims": pytest.approx(2 / 3)}  # fmt: skip
    assert compare_claims([set()], [set()])["flipped"] is None


@pytest.fixture(scope="module")
def suite(phantom, records, tiny):
    drafter = Drafter(tiny, str(phantom), batch_size=18, shown=False)
    return run_controls(drafter, records[:18], lambda: [FindingF1()], resamples=100)[0]


def test_the_suite_compares_every_control_on_the_studies_it_touches(suite, records):
    with_prior = sum(bool(r["prior"]) for r in records[:18])
    assert suite["studies"] == 18 and suite["with_prior"] == with_prior
    assert {name: row["n"] for name, row in suite["controls"].items()} == {
        "no_prior": with_prior, "swapped": with_prior, "duplicated": with_prior, "other_prior": with_prior,
        **dict.fromkeys(("shuffled", "blank", "brighter", "darker", "moved", "png"), 18),
    }  # fmt: skip
    for row in suite["controls"].values():
        for moved in row["metrics"].values():
            assert moved["low"] <= moved["difference"] <= moved["high"] and 0 < moved["p"] <= 1
    json.dumps(suite, allow_nan=False)


def test_the_shipped_model_looks_at_the_picture_and_does_not_mind_png(suite):
    assert suite["answers"]["picture"]["answer"] in ("yes", "partly")
    png = suite["controls"]["png"]
    assert png["drafts_changed"] == 0 and png["claims"]["kept"] == 1
    assert suite["controls"]["blank"]["drafts_changed"] > 0.9


def test_a_model_that_does_not_look_is_found_out(phantom, records, tiny):
    """The same weights with a processor that gives every study one picture."""

    class Blind(Drafter):
        def _pictures(self, control):
            inner = super()._pictures(control)
            first = records[0]["current"]

            def same(record):
                return inner({**record, "current": first, "prior": None, "technique": None})

            return same

    result, _ = run_controls(Blind(tiny, str(phantom), 12, shown=False), records[:18], lambda: [FindingF1()],
                             ["swapped", "duplicated", "shuffled"], resamples=50)  # fmt: skip
    assert result["answers"]["prior"]["answer"] == "no"
    shuffled = result["controls"]["shuffled"]
    assert shuffled["drafts_changed"] < 0.6 and result["answers"]["picture"]["answer"] in ("no", "cannot tell")


def test_answers_need_enough_claims():
    claims = {"before": 3, "after": 3, "directed": 3, "flipped": 1.0, "stable": 1.0}
    table = {"with_prior": 4, "controls": {"swapped": {"claims": claims}, "duplicated": {"claims": claims}}}
    assert answers(table)["prior"]["answer"] == "cannot tell"
    table["controls"]["swapped"]["claims"] = {**claims, "directed": 20}
    assert answers(table)["prior"]["answer"] == "yes"
    assert answers({"with_prior": 0, "controls": {}})["picture"]["answer"] == "cannot tell"


def test_a_constant_report_is_the_best_one_and_change_is_scored(suite):
    assert 0 < suite["constant"]["finding_side_micro_f1"] < 0.7
    assert 0 < suite["baseline"]["change_micro_f1"]["value"] <= 1


def test_an_unknown_control_is_named():
    with pytest.raises(ConfigError, match="control 'swaped'.*Did you mean 'swapped'"):
        find_controls(["swaped"])
    assert [c.name for c in find_controls(["blank", "no_prior"])] == ["no_prior", "blank"]


def test_the_constant_report_is_scored_against_text_or_truth():
    edema = {"finding": "Edema", "side": "bilateral", "severity": None, "change": None}
    records = [{"study_id": str(i), "findings": text, "statements": [edema]}
               for i, text in enumerate(["Pulmonary edema.", "Left effusion.", "Left effusion."])]  # fmt: skip
    assert best_constant(records) == {"text": "Left effusion.", "finding_side_micro_f1": pytest.approx(2 / 3)}
    assert best_constant(records, truth=True) == {"text": "Pulmonary edema.", "finding_side_micro_f1": 1.0}
