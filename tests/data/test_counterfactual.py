# SPDX-License-Identifier: Apache-2.0
"""Pairs turned round in time, pairs with another study, and pairs of one picture: the report says what is then true."""

from __future__ import annotations

import pytest
import torch

from libra_monai.data import StudyDataset, load_records
from libra_monai.data.phantom.counterfactual import RandCounterfactualPrior, compared, turned, unchanged
from libra_monai.metrics.labelers.changes import change_claims


def _said(finding, side, severity, change, cells="0"):
    return {"finding": finding, "side": side, "severity": severity, "change": change, "cells": cells}


BEFORE = [
    _said("Pleural Effusion", "left", "small", "new", "1"),
    _said("Edema", "bilateral", "large", "worsened", "2"),
    _said("Pneumothorax", "right", "small", "stable", "3"),
    _said("Central Line", "right", None, None, "4"),
    _said("Atelectasis", "left", None, "resolved", "5"),
]
NOW = [
    _said("Pleural Effusion", "left", "large", "worsened", "6"),
    _said("Edema", "bilateral", "large", "stable", "7"),
    _said("Pneumothorax", "right", None, "resolved", "3"),
    _said("Central Line", "right", None, "removed", "4"),
    _said("Gastric Tube", None, None, "new", "8"),
    _said("Consolidation", "left", "small", "new", "9"),
]


def test_time_turned_round_turns_every_change():
    assert turned(NOW, BEFORE) == [
        _said("Pleural Effusion", "left", "small", "improved", "1"),
        _said("Edema", "bilateral", "large", "stable", "2"),
        _said("Pneumothorax", "right", "small", "new", "3"),
        _said("Central Line", "right", None, "new", "4"),
        _said("Gastric Tube", None, None, "removed", "8"),
        _said("Consolidation", "left", None, "resolved", "9"),
    ]


def test_one_picture_for_both_says_that_nothing_changed():
    said = unchanged(NOW)
    assert [(s["finding"], s["change"]) for s in said] == [
        (name, "stable") for name in ("Pleural Effusion", "Edema", "Gastric Tube", "Consolidation")
    ]


def test_comparing_two_studies_says_what_the_generator_says_of_neighbours(records):
    known = {r["study_id"]: r["statements"] for r in records}
    pairs = [(r["statements"], known[r["prior_study_id"]]) for r in records if r["prior_study_id"]]
    assert len(pairs) > 5

    def lines(statements):
        return sorted((s["finding"], str(s["side"]), str(s["severity"]), s["change"]) for s in statements)

    for now, before in pairs:
        assert lines(compared(now, before)) == lines(now)
        assert lines(compared(before, now)) == lines(turned(now, before))


def test_a_finding_on_another_side_does_not_compare():
    assert compared([_said("Edema", "left", "small", None)], [_said("Edema", "right", "small", None)]) is None
    assert compared([_said("Edema", "left", None, "resolved")], [_said("Edema", "right", "small", None)]) == [
        _said("Edema", "right", None, "resolved")
    ]


def test_another_study_of_the_patient_becomes_the_prior(phantom, tiny):
    records = load_records(phantom / "datalist.json", "training")
    pictures = tiny.processor.pictures(str(phantom))
    change = RandCounterfactualPrior(records, 0.0, 0.0, other=1.0, pictures=pictures)
    change.set_random_state(seed=3)
    items = [item for item in StudyDataset(records, pictures) if item["prior"] is not None]
    made = [(item, change({key: value for key, value in item.items() if key != "record"})) for item in items]
    changed = [(item, new) for item, new in made if new["prior_study_id"] != item["prior_study_id"]]
    assert changed
    for item, new in changed:
        chosen = next(r for r in records if r["study_id"] == new["prior_study_id"])
        assert chosen["patient_id"] == item["patient_id"] and chosen["study_id"] != item["study_id"]
        assert torch.equal(new["current"], item["current"]) and torch.equal(new["prior"], pictures(chosen)["current"])
        assert new["picture_paths"]["prior"].endswith(chosen["current"]) or chosen["current"] in new["picture_paths"]["prior"]
        wanted = compared(item["statements"], chosen["statements"])
        assert change_claims(new["findings"]) == {(s["finding"], s["side"], s["change"]) for s in wanted}
        assert new["record"]["prior_study_id"] == chosen["study_id"] and new["record"]["prior_findings"] is None
        assert new["record"]["prior_statements"] == chosen["statements"]


@pytest.mark.parametrize(("turn", "same"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_pictures_texts_and_labels_change_together(phantom, tiny, turn, same):
    records = load_records(phantom / "datalist.json", "training")
    change = RandCounterfactualPrior(records, turn, same)
    change.set_random_state(seed=3)
    plain = StudyDataset(records, tiny.processor.pictures(str(phantom)))
    item = next(item for item in plain if item["prior"] is not None and item["prior_study_id"] in change.known)
    made = change({key: value for key, value in item.items() if key != "record"})
    shown = change.known[item["prior_study_id"]] if not turn and not same else item["statements"]
    assert made["record"]["prior_statements"] == made["prior_statements"] == shown
    if not turn and not same:
        assert made["findings"] == made["record"]["findings"] == item["findings"]
        return
    assert torch.equal(made["prior"], item["current"])
    assert torch.equal(made["current"], item["prior" if turn else "current"])
    wanted = turned(item["statements"], change.known[item["prior_study_id"]]) if turn else unchanged(item["statements"])
    assert change_claims(made["findings"]) == {(s["finding"], s["side"], s["change"]) for s in wanted}
    assert made["record"]["statements"] == made["statements"] == wanted
    batch = tiny.processor.collate_for_training([{**made}])
    assert batch.records[0]["findings"] == made["findings"]
    assert len(batch.images) == (2 if turn else 1)  # one picture for both views is one picture
    assert isinstance(batch.target_ids, torch.Tensor)
