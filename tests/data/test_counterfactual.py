# SPDX-License-Identifier: Apache-2.0
"""Pairs turned round in time, and pairs of one picture: the report says what is then true."""

from __future__ import annotations

import pytest
import torch

from libra_monai.data import StudyDataset, load_records
from libra_monai.data.phantom.counterfactual import RandCounterfactualPrior, turned, unchanged
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


@pytest.mark.parametrize(("turn", "same"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_pictures_texts_and_labels_change_together(phantom, tiny, turn, same):
    records = load_records(phantom / "datalist.json", "training")
    change = RandCounterfactualPrior(records, turn, same)
    change.set_random_state(seed=3)
    plain = StudyDataset(records, tiny.processor.pictures(str(phantom)))
    item = next(item for item in plain if item["prior"] is not None and item["prior_study_id"] in change.known)
    made = change({key: value for key, value in item.items() if key != "record"})
    if not turn and not same:
        assert made["findings"] == item["findings"] and "record" not in made
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
