# SPDX-License-Identifier: Apache-2.0
"""The Temporal Alignment Connector equals a plain transcription of its definition, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from libra_monai.errors import ConfigError
from libra_monai.networks.connectors.tac import LayerwiseFeatureExtractor, TemporalAlignmentConnector
from libra_monai.types import EncoderOutput


def _plain_extractor(extractor, x):
    """The published sequence: gates and 1x1 convolutions over layers, one after the other."""
    for gate, mix in zip(extractor.gates, extractor.mixes, strict=True):
        pooled = x.mean(dim=(2, 3))
        g = torch.sigmoid(F.linear(F.gelu(F.linear(pooled, gate.reduce.weight, gate.reduce.bias)),
                                   gate.expand.weight, gate.expand.bias))
        x = F.conv2d(x * g[:, :, None, None], mix.weight[:, :, None, None])
    return x.squeeze(1)


def _torch_attention(ours, width, heads):
    """torch's own multi-head attention with the same weights and its bias key and value."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True, add_bias_kv=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.in_projection.weight, ours.in_projection.bias
    theirs.bias_k = nn.Parameter(ours.extra_key.data.view(1, 1, -1))
    theirs.bias_v = nn.Parameter(ours.extra_value.data.view(1, 1, -1))
    theirs.out_proj = ours.out_projection
    return theirs


def _plain_tac(tac, current, prior, heads):
    width = current.shape[-1]
    c, p = _plain_extractor(tac.extractor, current), _plain_extractor(tac.extractor, prior)
    a, b = (x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (c, p))
    s = ((F.cosine_similarity(a, b) + 1) / 2) ** 8
    p = p + s[:, None, None] * tac.prior_bias
    attend = {n: _torch_attention(getattr(tac, f"{n}_attention"), width, heads) for n in ("current", "prior", "cross")}
    c1 = tac.current_norm(c + attend["current"](c, c, c)[0])
    p1 = tac.prior_norm(p + attend["prior"](p, p, p)[0])
    x = tac.cross_norm(c1 + attend["cross"](c1, p1, p1)[0])
    return tac.output_mlp(tac.fused_norm(c + tac.attention_mlp(x)))


def _connector(width=24, heads=3, layers=12, hidden=20):
    torch.manual_seed(0)
    tac = TemporalAlignmentConnector(width, hidden, layers, heads).eval()
    nn.init.normal_(tac.prior_bias)
    for name, parameter in tac.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return tac


@pytest.mark.parametrize(("width", "heads", "layers"), [(24, 3, 12), (16, 4, 7), (32, 2, 1), (24, 8, 5)])
def test_tac_equals_its_definition_with_gradients(width, heads, layers):
    tac = _connector(width, heads, layers)
    features = torch.randn(4, layers, 9, width, requires_grad=True)
    index = {"current": torch.tensor([0, 2]), "prior": torch.tensor([1, 3])}
    ours = tac(EncoderOutput(features), index, None)["image"]
    plain = _plain_tac(tac, features[[0, 2]], features[[1, 3]], heads)
    assert torch.allclose(ours, plain, atol=2e-6)
    cotangent = torch.randn_like(ours)
    wanted = [features, *[p for n, p in tac.named_parameters() if "extra" not in n]]
    for a, b in zip(torch.autograd.grad((ours * cotangent).sum(), wanted, retain_graph=True),
                    torch.autograd.grad((plain * cotangent).sum(), wanted), strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def test_the_extractor_is_one_weighted_sum_and_equals_the_sequence():
    torch.manual_seed(1)
    extractor = LayerwiseFeatureExtractor(12)
    x = torch.randn(3, 12, 5, 8)
    assert torch.allclose(extractor(x), _plain_extractor(extractor, x), atol=1e-6)


def test_a_missing_prior_equals_the_current_picture_as_prior():
    tac = _connector()
    features = torch.randn(1, 12, 9, 24)
    absent = tac(EncoderOutput(features), {"current": torch.tensor([0]), "prior": torch.tensor([-1])}, None)["image"]
    both = torch.cat([features, features])
    dummy = tac(EncoderOutput(both), {"current": torch.tensor([0]), "prior": torch.tensor([1])}, None)["image"]
    assert torch.allclose(absent, dummy, atol=1e-6)
    assert torch.allclose(tac.similarity(features[:, 0], features[:, 0]), torch.ones(1, 1, 1), atol=1e-5)


def test_zero_features_give_numbers():
    tac = _connector()
    rows = {"current": torch.tensor([0]), "prior": torch.tensor([1])}
    features = torch.zeros(2, 12, 9, 24, requires_grad=True)
    out = tac(EncoderOutput(features), rows, None)["image"]
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(features.grad).all()


def test_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        sizes = {h: TemporalAlignmentConnector(768, h, 12, n) for h, n in ((4096, 32), (3072, 24))}
    counts = {h: sum(p.numel() for p in tac.parameters()) for h, tac in sizes.items()}
    assert counts == {4096: 61_773_111, 3072: 38_962_487}  # arXiv 2411.19378 and its 3B checkpoint


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="num_heads 5"):
        TemporalAlignmentConnector(24, 8, 12, 5)
