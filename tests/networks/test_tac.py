# SPDX-License-Identifier: Apache-2.0
"""The Temporal Alignment Connector equals a plain transcription of its definition, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
    return tac.output_mlp(tac.fused_norm(c + tac.attention_mlp(x))), attend


def _connector(width=24, heads=3, layers=12, hidden=20):
    torch.manual_seed(0)
    tac = TemporalAlignmentConnector(width, hidden, layers, heads).eval()
    nn.init.normal_(tac.prior_bias)
    for name, parameter in tac.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return tac


PAIRS = {"current": torch.tensor([0, 2]), "prior": torch.tensor([1, 3])}


def _gradients(output, wanted, cotangent):
    return torch.autograd.grad((output * cotangent).sum(), wanted, retain_graph=True)


@pytest.mark.parametrize(("width", "heads", "layers"), [(24, 3, 12), (16, 4, 7), (32, 2, 1), (24, 8, 5)])
def test_tac_equals_its_definition_with_all_gradients(width, heads, layers):
    tac = _connector(width, heads, layers)
    features = torch.randn(4, layers, 9, width, requires_grad=True)
    ours = tac(EncoderOutput(features), PAIRS, None)["image"]
    plain, attention = _plain_tac(tac, features[[0, 2]], features[[1, 3]], heads)
    assert torch.allclose(ours, plain, atol=2e-6, rtol=0)
    cotangent = torch.randn_like(ours)
    names = [name for name, _ in tac.named_parameters() if "extra" not in name]
    own = [features, *[tac.get_parameter(name) for name in names]]
    own += [getattr(tac, f"{n}_attention").get_parameter(f"extra_{e}") for n in attention for e in ("key", "value")]
    other = [*own[: 1 + len(names)], *[extra for a in attention.values() for extra in (a.bias_k, a.bias_v)]]
    for a, b in zip(_gradients(ours, own, cotangent), _gradients(plain, other, cotangent), strict=True):
        assert (a.flatten() - b.flatten()).abs().max() <= 1e-5 * b.abs().max().clamp(min=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single(dtype):
    tac = _connector()
    features = torch.randn(4, 12, 9, 24)
    full = tac(EncoderOutput(features), PAIRS, None)["image"]
    half = tac.to(dtype)(EncoderOutput(features.to(dtype)), PAIRS, None)["image"]
    assert half.dtype == dtype and (half.float() - full).abs().max() < 5e-2


def test_the_similarity_of_large_maps_does_not_overflow_in_half_precision():
    torch.manual_seed(0)
    a, b = torch.randn(1, 600, 768) * 8, torch.randn(1, 600, 768) * 8  # the sum of squares is 3e7, float16 ends at 65504
    mixed = 0.9 * a + 0.1 * b
    half = TemporalAlignmentConnector.similarity(a.half(), mixed.half()).float()
    assert torch.allclose(half, TemporalAlignmentConnector.similarity(a, mixed), atol=2e-3)


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


def test_a_missing_prior_gives_the_gradients_of_the_current_picture_as_prior():
    tac = _connector()
    single = torch.randn(1, 12, 9, 24, requires_grad=True)
    double = single.detach().repeat(2, 1, 1, 1).requires_grad_()
    absent = tac(EncoderOutput(single), {"current": torch.tensor([0]), "prior": torch.tensor([-1])}, None)["image"]
    plain, _ = _plain_tac(tac, double[:1], double[1:], 3)
    cotangent = torch.randn_like(absent)
    shared = [p for name, p in tac.named_parameters() if "extra" not in name]  # the plain one has copies of these
    ours = _gradients(absent, [single, *shared], cotangent)
    first, *others = _gradients(plain, [double, *shared], cotangent)
    for a, b in zip(ours, [first.sum(dim=0, keepdim=True), *others], strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max().clamp(min=1e-3)


class _LargestTensor(TorchDispatchMode):
    """Remembers how many numbers the largest tensor holds that any operation makes, backward included."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return result


def test_no_tensor_of_tokens_by_tokens_is_made_forward_or_backward():
    heads, tokens = 4, 128
    tac = _connector(width=8, heads=heads, layers=2)
    features = torch.randn(2, 2, tokens, 8, requires_grad=True)
    rows = {"current": torch.tensor([0]), "prior": torch.tensor([1])}
    with _LargestTensor() as ours:
        tac(EncoderOutput(features), rows, None)["image"].sum().backward()
    with _LargestTensor() as plain:
        _plain_tac(tac, features[:1], features[1:], heads)[0].sum().backward()
    assert ours.numbers < tokens * tokens and plain.numbers >= heads * tokens * tokens


def test_a_batch_with_and_without_priors_extracts_every_picture_once():
    tac = _connector()
    seen = []
    tac.extractor.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    features = torch.randn(4, 12, 9, 24)
    index = {"current": torch.tensor([0, 1, 3]), "prior": torch.tensor([-1, 2, -1])}
    together = tac(EncoderOutput(features), index, None)["image"]
    assert seen == [4]
    for row, pictures in enumerate(([0], [1, 2], [3])):
        prior = torch.tensor([1 if len(pictures) == 2 else -1])
        alone = tac(EncoderOutput(features[pictures]), {"current": torch.tensor([0]), "prior": prior}, None)["image"]
        assert torch.allclose(alone[0], together[row], atol=1e-6)


@pytest.mark.parametrize("zero", [(True, True), (True, False), (False, True)])
def test_zero_features_give_numbers_and_small_gradients(zero):
    tac = _connector()
    keep = torch.tensor([not z for z in zero])[:, None, None, None].float()
    features = (torch.randn(2, 12, 9, 24) * keep).requires_grad_()
    out = tac(EncoderOutput(features), {"current": torch.tensor([0]), "prior": torch.tensor([1])}, None)["image"]
    out.sum().backward()
    gradients = [features.grad, *[p.grad for p in tac.parameters()]]
    assert torch.isfinite(out).all() and all(g.abs().max() < 1e4 for g in gradients)


def test_a_missing_prior_of_a_black_picture_still_gets_the_whole_bias():
    zero = torch.zeros(1, 9, 24)
    assert TemporalAlignmentConnector.similarity(zero, zero).item() == 1


def test_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        sizes = {h: TemporalAlignmentConnector(768, h, 12, n) for h, n in ((4096, 32), (3072, 24))}
    counts = {h: sum(p.numel() for p in tac.parameters()) for h, tac in sizes.items()}
    assert counts == {4096: 61_773_111, 3072: 38_962_487}  # arXiv 2411.19378 and its 3B checkpoint


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"num_heads": 5}, "width 24 is not divisible by num_heads 5"),
        ({}, "num_heads is missing"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": 4, "num_layers": 0}, "num_layers is 0"),
    ],
)
def test_sizes_that_make_no_connector_are_refused(sizes, says):
    with pytest.raises(ConfigError, match=says):
        TemporalAlignmentConnector(24, 8, **sizes)


@pytest.mark.parametrize(
    ("shape", "says"),
    [((1, 11, 9, 24), "num_layers is 12, but the features have 11"), ((1, 12, 9, 16), "width is 24, but the features have 16")],
)
def test_features_of_another_shape_are_refused_in_words(shape, says):
    rows = {"current": torch.tensor([0]), "prior": torch.tensor([-1])}
    with pytest.raises(ConfigError, match=says):
        _connector()(EncoderOutput(torch.zeros(shape)), rows, None)
