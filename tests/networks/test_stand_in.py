# SPDX-License-Identifier: Apache-2.0
"""A process without studies or pictures computes all parts, and learns nothing from the blank study it lends itself."""

from __future__ import annotations

import pytest
import torch

from libra_monai.networks import report_model
from libra_monai.networks.stand_in import runs_all_parts, with_stand_in

from .conftest import PRIORS, PROMPTS, TARGETS, make_batch


def _without_pictures(batch):
    batch.images = batch.images[:0]
    batch.index = {view: torch.full_like(rows, -1) for view, rows in batch.index.items()}
    return batch


@pytest.fixture
def counted(model, monkeypatch):
    """A training model that takes itself for sharded, and how often each part ran."""
    monkeypatch.setattr(report_model, "is_sharded", lambda network: True)
    ran = {"encoder": 0, "connector": 0, "language": 0}
    for name in ran:
        getattr(model, name).register_forward_hook(lambda *_, name=name: ran.__setitem__(name, ran[name] + 1))
    model.set_trainable({"encoder": True, "connector": True, "language": True})
    return model.train(), ran


def test_an_emptied_batch_runs_every_part_and_gives_gradients_of_zero(counted):
    model, ran = counted
    output = model(make_batch(PROMPTS, PRIORS, TARGETS).emptied())
    output.loss_sum.backward()
    assert ran == {"encoder": 1, "connector": 1, "language": 1}
    assert output.loss_sum.item() == 0 and int(output.num_tokens) == 0
    gradients = [p.grad for p in model.language.parameters() if p.grad is not None]
    assert gradients and all(not gradient.any() for gradient in gradients)


def test_words_without_pictures_run_every_part_once_and_keep_their_loss(counted):
    model, ran = counted
    words = _without_pictures(make_batch([[1, 5, 6]], [False], [[7, 2]]))
    wanted = model.eval()(words)
    assert ran == {"encoder": 0, "connector": 0, "language": 1}
    output = model.train()(words)
    assert ran == {"encoder": 1, "connector": 1, "language": 2}
    assert torch.allclose(output.loss_sum, wanted.loss_sum, atol=1e-4) and output.num_tokens == wanted.num_tokens


def test_a_batch_with_pictures_gets_no_stand_in(counted):
    model, _ = counted
    rows = []
    model.encoder.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    batch = make_batch([PROMPTS[0]], [True], [TARGETS[0]])
    assert runs_all_parts(batch)
    model(batch)
    assert rows == [2]


def test_a_stand_in_adds_one_row_to_everything():
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    more = with_stand_in(batch)
    assert len(more) == len(batch) + 1 and len(more.images) == len(batch.images) + 1
    assert int(more.index["current"][-1]) == len(batch.images) and int(more.index["prior"][-1]) == -1
    assert torch.equal(more.input_ids[:-1], batch.input_ids) and torch.equal(more.target_ids[:-1], batch.target_ids)
