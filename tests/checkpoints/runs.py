# SPDX-License-Identifier: Apache-2.0
"""Tiny models as a run leaves them, and how two of them are compared."""

from __future__ import annotations

import json

import torch

from libra_monai import build
from libra_monai.checkpoints import assemble
from libra_monai.types import Decoding

from ..networks.conftest import ENCODER, LANGUAGE, PRIORS, PROMPTS, TARGETS, make_batch

CARD = {"name": "toy", "version": "1", "training_data": "synthetic"}
LORA = {"r": 2, "lora_alpha": 6, "lora_dropout": 0.0}


def make_parts(linear=False, meta=False):
    """Three built parts with random weights."""
    kind = {"name": "linear"} if linear else {"name": "tac", "num_layers": 3, "num_heads": 2}
    return (
        build(kind="encoder", name="dinov2", config=ENCODER),
        build(kind="connector", width=16, hidden_size=24, **kind),
        build(kind="language", name="causal_lm", config=LANGUAGE, **({"meta": True} if meta else {})),
    )


def make_trained(weights, trainable, seed=3, linear=False, meta=False):
    """A model as a run leaves it: what is trainable has changed."""
    model = assemble(*make_parts(linear, meta), weights=weights, trainable=trainable, lora=LORA).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.2 * torch.randn_like(value)
    return model


def entries_of(folder):
    """Parts of `report_model.json`."""
    return json.loads((folder / "report_model.json").read_text())["parts"]


def files_of(folder):
    """Weight files of a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix == ".safetensors")


def loss_of(model):
    """Loss of three studies."""
    return model(make_batch(PROMPTS, PRIORS, TARGETS)).loss_sum


def logits_of(model):
    """Logits of three answers."""
    model.language.keep_logits = True
    return model(make_batch(PROMPTS, PRIORS, TARGETS)).logits


def tokens_of(model):
    """What is written about three studies."""
    return [g.token_ids for g in model.generate(make_batch(PROMPTS, PRIORS), Decoding(max_new_tokens=12))]


def assert_same_model(one, two):
    """Equal logits, and the same drafts token for token."""
    assert torch.allclose(logits_of(one), logits_of(two), atol=1e-5, rtol=0)
    assert tokens_of(one) == tokens_of(two)


def edit_model_file(folder, change):
    """Change `report_model.json` by a function."""
    path = folder / "report_model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
