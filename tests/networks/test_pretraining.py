# SPDX-License-Identifier: Apache-2.0
"""The finding classifier learns what the statements of a record say, change included where it is asked to."""

from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch

from libra_monai import build
from libra_monai.errors import ConfigError
from libra_monai.networks.pretraining.finding_classifier import CHANGES, LEVELS, _even, footprint
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding, StudyBatch

from .conftest import ENCODER, IMAGE, LANGUAGE

FINDINGS, MIDLINE = ["Edema", "Pneumothorax", "Pacemaker", "Cardiomegaly"], ["Cardiomegaly"]


def _statement(finding, side, severity, change):
    return {"finding": finding, "side": side, "severity": severity, "change": change}


RECORD = {
    "study_id": "a",
    "statements": [
        _statement("Edema", "bilateral", "large", "worsened"),
        _statement("Pneumothorax", "left", None, "resolved"),
        _statement("Pacemaker", "left", None, "stable"),
        _statement("Cardiomegaly", None, "small", None),
    ],
}


def _classifier(changes, before=False):
    torch.manual_seed(0)
    return build(
        kind="language", name="finding_classifier", hidden_size=16, num_tokens=4, findings=FINDINGS, midline=MIDLINE,
        changes=changes, before=before,
    )  # fmt: skip


def _batch(record=RECORD):
    one = torch.zeros(1, dtype=torch.long)
    return StudyBatch(torch.zeros(1, 1, 4, 4), {"current": one}, one[None], one[None].bool(), None, ["a"], [record])


def _by_heart(part, record, slots):
    """Learn one study."""
    optimizer = torch.optim.Adam(part.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        part(_batch(record), slots).loss_sum.backward()
        optimizer.step()


def test_statements_become_classes_of_severity_and_change():
    part = _classifier(True)
    wanted = dict(zip(part.classes, part.wanted(RECORD), strict=True))
    assert wanted["Edema", "right"] == wanted["Edema", "left"] == (LEVELS.index("large"), CHANGES.index("worsened"))
    assert wanted["Pneumothorax", "left"] == (0, CHANGES.index("gone"))
    assert wanted["Pneumothorax", "right"] == (0, 0)
    assert wanted["Pacemaker", "left"] == (LEVELS.index("moderate"), CHANGES.index("stable"))
    assert wanted["Cardiomegaly", None] == (LEVELS.index("small"), 0)


@pytest.mark.parametrize("changes", [False, True])
def test_the_loss_is_that_of_uniform_guesses_where_all_weights_are_zero(changes):
    part = _classifier(changes)
    for parameter in part.parameters():
        torch.nn.init.zeros_(parameter)
    output = part(_batch(), {"image": torch.randn(1, 4, 16)})
    pairs = len(part.classes)
    classes = (len(LEVELS), len(CHANGES)) if changes else (len(LEVELS),)
    assert float(output.loss_sum) == pytest.approx(pairs * sum(math.log(n) for n in classes), rel=1e-5)


def test_it_learns_one_study_by_heart_and_says_what_is_there():
    part = _classifier(True)
    tokens = torch.randn(1, 4, 16)
    _by_heart(part, RECORD, {"image": tokens})
    assert float(part(_batch(), {"image": tokens}).loss_sum) < 0.1
    said = part.generate(_batch(), {"image": tokens}, Decoding())[0].text
    assert said == "Large bilateral edema. Moderate left pacemaker. Small cardiomegaly."


def test_cells_become_tokens_a_both_sided_finding_half_by_half():
    corner, all_of_it = "8000", "ffff"  # 4 x 4 cells: the one at the top left; every one
    assert footprint(corner, 2).tolist() == [[1, 0], [0, 0]]
    assert footprint(None, 2).sum() == 0
    part = _classifier(True)
    cells = [all_of_it, corner, None, corner]
    record = {"study_id": "a", "statements": [s | {"cells": c} for s, c in zip(RECORD["statements"], cells, strict=True)]}
    seen = {pair: part._seen(record["statements"], 2)[:, :, number].flatten().tolist() for number, pair in enumerate(part.classes)}
    assert seen["Edema", "right"] == [1, 0, 1, 0]  # the right half of the body is the left half of the picture
    assert seen["Edema", "left"] == [0, 1, 0, 1]
    assert seen["Pneumothorax", "left"] == seen["Cardiomegaly", None] == [1, 0, 0, 0]
    assert seen["Pneumothorax", "right"] == seen["Pacemaker", "left"] == [0, 0, 0, 0]


def test_where_cells_are_known_tokens_learn_to_say_what_they_show():
    part = _classifier(False)
    cells = [s | {"cells": "8000"} for s in RECORD["statements"]]
    record = {"study_id": "a", "statements": [cells[3], cells[2] | {"cells": "0001"}]}
    slots = {"image": torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(1))}
    _by_heart(part, record, slots)
    said = part.read_here(slots)[0].argmax(dim=-1)  # [T,K]
    heart, pacemaker = part.classes.index(("Cardiomegaly", None)), part.classes.index(("Pacemaker", "left"))
    assert said[:, heart].tolist() == [LEVELS.index("small"), 0, 0, 0]
    assert said[:, pacemaker].tolist() == [0, 0, 0, LEVELS.index("moderate")]
    quarters = (part.read_outline(slots)[0] > 0).long()  # [T,K,4]; a cell is a quarter of a token here
    assert quarters[:, heart].tolist() == [[1, 0, 0, 0], *[[0, 0, 0, 0]] * 3]
    assert quarters[:, pacemaker].tolist() == [*[[0, 0, 0, 0]] * 3, [0, 0, 0, 1]]


def test_what_the_prior_shows_is_learned_from_its_statements_where_they_are_known():
    part = _classifier(True, before=True)
    now = [{**_statement("Cardiomegaly", None, "large", "worsened"), "cells": "8000"}]
    earlier = [{**_statement("Cardiomegaly", None, "small", None), "cells": "0001"}, {**_statement("Edema", "left", None, "resolved"), "cells": None}]
    record = {"study_id": "a", "statements": now, "prior_statements": earlier}
    slots = {"image": torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(1))}
    _by_heart(part, record, slots)
    heart, edema = part.classes.index(("Cardiomegaly", None)), part.classes.index(("Edema", "left"))
    for logits in part.read(slots):
        level, change, before = (one.argmax(dim=-1)[0] for one in logits.split(part.sizes, dim=-1))
        assert [int(one[heart]) for one in (level, change, before)] == [LEVELS.index("large"), CHANGES.index("worsened"), LEVELS.index("small")]
        assert int(before[edema]) == 0  # it had gone by then
    here = part.read_here(slots)[0, :, heart].split(part.sizes, dim=-1)
    assert here[0].argmax(dim=-1).tolist() == [LEVELS.index("large"), 0, 0, 0]
    assert here[2].argmax(dim=-1).tolist() == [0, 0, 0, LEVELS.index("small")]
    part.zero_grad()
    part(_batch({"study_id": "a", "statements": now}), slots).loss_sum.backward()
    assert part.outline.weight.grad.abs().sum() > 0 and part.outline_before.weight.grad.abs().sum() == 0
    assert part.here.weight.grad.unflatten(0, (len(part.classes), -1))[:, -len(LEVELS) :].abs().sum() == 0


def test_what_was_before_is_not_asked_without_what_changed():
    with pytest.raises(ConfigError, match="`changes`"):
        _classifier(False, before=True)


def test_a_finding_weighs_the_same_however_few_places_show_it():
    seen = torch.zeros(1, 16, 3)
    seen[0, :2, 0] = seen[0, :4, 1] = seen[0, :, 2] = 1
    weight = _even(seen, (1,), 4)
    assert (weight * seen).sum(dim=1).tolist() == [[4, 4, 8]]  # what covers everything weighs half in each place
    assert bool((weight[seen == 0] == 1).all())


def test_a_record_without_statements_is_refused():
    with pytest.raises(ValueError, match="no `statements`"):
        _classifier(False)(_batch({"study_id": "a"}), {"image": torch.randn(1, 4, 16)})


def test_the_connector_may_start_from_the_last_layer():
    torch.manual_seed(0)
    tac = build(kind="connector", name="tac", width=8, hidden_size=16, num_layers=5, num_heads=2, start="last_layer")
    weights = tac.extractor.weights(torch.randn(3, 5, 6, 8))
    assert weights.shape == (3, 5)
    assert bool((weights[:, -1] > 0.5).all()) and bool((weights[:, :-1].abs() < 0.3 * weights[:, -1:]).all())
    published = build(kind="connector", name="tac", width=8, hidden_size=16, num_layers=5, num_heads=2)
    assert float(published.extractor.weights(torch.randn(3, 5, 6, 8)).abs().max()) < 0.3


def _fact_model():
    torch.manual_seed(1)
    connector = build(
        kind="connector", name="fact_tokens", hidden_size=24, findings=FINDINGS, num_tokens=12, copies=2, noise=0.3
    )
    encoder = build(kind="encoder", name="dinov2", config=ENCODER)
    language = build(kind="language", name="causal_lm", config=LANGUAGE)
    return ReportModel(encoder, connector, language, {"connector": True, "language": True})


def test_fact_tokens_show_each_side_of_each_statement_and_run_no_encoder():
    model = _fact_model().eval()
    batch = _batch()
    batch.input_ids, batch.images = torch.tensor([[1, IMAGE, 5]]), torch.zeros(0, 3, 28, 28)
    batch.attention_mask = torch.ones(1, 3, dtype=torch.bool)
    with patch.object(model.encoder, "forward", side_effect=AssertionError("the encoder ran")):
        tokens = model.slots(batch)["image"]
    assert tokens.shape == (1, 12, 24)
    filled = (tokens[0] != 0).any(dim=1)
    assert len(tokens[0][filled].unique(dim=0)) == 5  # edema on two sides, three others on one
    assert 5 <= int(filled.sum()) <= 10


def test_a_language_model_learns_to_read_fact_tokens_wherever_they_stand():
    model = _fact_model()
    left, right = (
        {"study_id": s, "statements": [_statement("Pneumothorax", s, "small", "new")]} for s in ("left", "right")
    )
    both = _batch()
    both.input_ids = torch.tensor([[1, IMAGE, 5]] * 2)
    both.attention_mask = torch.ones(2, 3, dtype=torch.bool)
    both.index = {name: torch.tensor([-1, -1]) for name in ("current", "prior", "lateral")}
    both.images, both.study_ids, both.records = torch.zeros(0, 3, 28, 28), ["left", "right"], [left, right]
    both.target_ids = torch.tensor([[7, 2], [9, 2]])
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        model(both).loss_sum.backward()
        optimizer.step()
    model.eval()
    for _ in range(5):  # every call draws other places
        assert [g.token_ids for g in model.generate(both, Decoding(max_new_tokens=2))] == [[7], [9]]
