# SPDX-License-Identifier: Apache-2.0
"""Tiny real models with random weights."""

from __future__ import annotations

import pytest
import torch

from libra_monai import build
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import IGNORE, SLOT_IDS, StudyBatch

ENCODER = {"image_size": 28, "patch_size": 14, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
LANGUAGE = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def make_model(seed=0, **options):
    """A report model of three tiny parts."""
    torch.manual_seed(seed)
    encoder = build(kind="encoder", name="dinov2", config=ENCODER)
    connector = build(kind="connector", name="tac", width=16, hidden_size=24, num_layers=3, num_heads=2)
    language = build(kind="language", name="causal_lm", config=LANGUAGE)
    torch.nn.init.normal_(connector.prior_bias)
    return ReportModel(encoder, connector, language, **options).eval()


def make_batch(prompts, priors, targets=None, seed=1):
    """A batch of studies; `priors[i]` says whether study i has a prior of its own."""
    generator = torch.Generator().manual_seed(seed)
    pictures, current, prior = [], [], []
    for has_prior in priors:
        current.append(len(pictures))
        pictures.append(torch.randn(3, 28, 28, generator=generator))
        prior.append(len(pictures) if has_prior else -1)
        if has_prior:
            pictures.append(torch.randn(3, 28, 28, generator=generator))
    width = max(len(p) for p in prompts)
    ids, mask = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = True
    target_ids = None
    if targets:
        target_ids = torch.full((len(targets), max(map(len, targets))), IGNORE)
        for row, target in enumerate(targets):
            target_ids[row, : len(target)] = torch.tensor(target)
    index = {"current": torch.tensor(current), "prior": torch.tensor(prior)}
    index["lateral"] = torch.full_like(index["prior"], -1)
    return StudyBatch(torch.stack(pictures), index, ids, mask, target_ids, [str(i) for i in range(len(prompts))])


IMAGE = SLOT_IDS["image"]
PROMPTS = [[1, 5, 6, IMAGE, 7], [1, IMAGE, 9, 9, 9, 9, 11, 12], [1, 8, IMAGE, 13, 14]]
PRIORS = [True, False, True]
TARGETS = [[5, 6, 2], [7, 8, 9, 10, 2], [3, 2]]


@pytest.fixture
def model():
    """A tiny report model."""
    return make_model()


@pytest.fixture
def batch():
    """Three studies, prompts and answers of different lengths, with and without prior."""
    return make_batch(PROMPTS, PRIORS, TARGETS)
