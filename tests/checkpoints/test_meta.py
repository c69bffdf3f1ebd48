# SPDX-License-Identifier: Apache-2.0
"""A published-size language model is built without memory and filled from its files."""

from __future__ import annotations

import pytest
import torch

from libra_monai import build
from libra_monai.checkpoints import assemble, save_model
from libra_monai.errors import ModelError

from ..helpers import make_processor
from ..networks.conftest import ENCODER, LANGUAGE, PRIORS, PROMPTS, TARGETS, make_batch, make_model

CARD = {"name": "toy", "version": "1", "training_data": "synthetic"}


def _parts(**changes):
    return (
        build(kind="encoder", name="dinov2", config=ENCODER),
        build(kind="connector", name="tac", width=16, hidden_size=24, num_layers=3, num_heads=2),
        build(kind="language", name="causal_lm", config={**LANGUAGE, **changes}, meta=True),
    )


def test_it_is_the_saved_model_in_the_type_of_its_files(tmp_path):
    model = make_model()
    folder = str(save_model(model, make_processor(tmp_path / "t"), tmp_path / "model", CARD))
    parts = _parts()
    assert all(p.is_meta for p in parts[2].parameters())
    filled = assemble(*parts, weights=folder).eval()
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    assert torch.equal(filled(batch).loss_sum, model(batch).loss_sum)
    half = str(save_model(model, make_processor(tmp_path / "t2"), tmp_path / "half", CARD, half=True))
    assert assemble(*_parts(), weights=half).language.model.dtype == torch.float16


def test_another_shape_is_refused(tmp_path):
    folder = str(save_model(make_model(), make_processor(tmp_path / "t"), tmp_path / "model", CARD))
    with pytest.raises(ModelError, match="another shape"):
        assemble(*_parts(intermediate_size=64), weights=folder)
