# SPDX-License-Identifier: Apache-2.0
"""Adapters over a base in fewer bits: what is quantised, how far the loss moves, and that saving gives float weights."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from libra_monai import build
from libra_monai.errors import ConfigError
from libra_monai.networks import parameter_table
from libra_monai.networks.adapters import linear_names
from libra_monai.networks.quantize import float_weight, is_quantized, quantize_linears, stored
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding

from .conftest import ENCODER, PRIORS, PROMPTS, TARGETS, make_batch

# widths that 4-bit blocks of 64 divide
LANGUAGE = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
CLOSE = {"int8": 0.02, "nf4": 0.15}  # of the loss, for random weights, which amplify what they are given


def _needs(kind):
    packages = {"int8": ("torchao", "bitsandbytes"), "nf4": ("bitsandbytes",)}[kind]
    there = any(map(find_spec, packages))
    return pytest.param(kind, marks=pytest.mark.skipif(not there, reason="pip install 'libra-monai[quantize]'"))


KINDS = [_needs("int8"), _needs("nf4")]


def _model(**options):
    torch.manual_seed(0)
    language = build(kind="language", name="causal_lm", config=LANGUAGE, **options)
    for parameter in language.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    encoder = build(kind="encoder", name="dinov2", config=ENCODER)
    connector = build(kind="connector", name="tac", width=16, hidden_size=64, num_layers=3, num_heads=2)
    return ReportModel(encoder, connector, language, lora=LORA)


@pytest.fixture
def batch():
    """Three studies with answers."""
    return make_batch(PROMPTS, PRIORS, TARGETS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_stays_near_and_gradients_flow_to_adapters_and_connector(kind, batch):
    plain, model = _model(), _model(quantize=kind)
    float_names = linear_names(model.language)
    model.set_trainable({"language": "lora", "connector": True})
    quantised = [name for name, module in model.language.named_modules() if is_quantized(module)]
    assert len(quantised) == len(float_names) == 14
    for untouched in (model.language.model.lm_head, model.language.embed):
        assert untouched.weight.dtype == torch.float32
    assert not any(is_quantized(m) for part in (model.encoder, model.connector) for m in part.modules())
    wanted, loss = plain(batch).loss_sum.detach(), model(batch).loss_sum
    assert loss != wanted and abs(loss - wanted) < CLOSE[kind] * wanted
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained.values())
    assert all(p.grad.any() for name, p in trained.items() if ".lora_B" in name)  # A follows when B has left zero
    assert model.connector.output_mlp[0].weight.grad.any()
    assert f"lora over {kind}" in parameter_table(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_lowers_the_loss_and_changes_no_weight_of_the_base(kind, batch):
    model = _model(quantize=kind, gradient_checkpointing=True)
    model.set_trainable({"language": "lora"})
    base = {name: float_weight(m) for name, m in model.language.named_modules() if is_quantized(m)}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = model.train()(batch).loss_sum
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(float_weight(model.language.get_submodule(name)), weight) for name, weight in base.items())
    model.eval().generate(make_batch(PROMPTS, PRIORS), Decoding(max_new_tokens=3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_part_gives_float_weights_to_its_state_under_the_usual_names(kind):
    plain, model = _model(), _model(quantize=kind)
    model.set_trainable({"connector": True})  # frozen and quantised, without adapters
    before, after = plain.language.state_dict(), model.language.state_dict()
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert after[name].is_floating_point() and type(after[name]) is torch.Tensor
        assert (after[name] - weight).abs().max() <= {"int8": 0.01, "nf4": 0.2}[kind] * weight.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_qlora_model_says_in_float_what_it_said_in_few_bits(kind, batch):
    from libra_monai.checkpoints.folder import merged_state

    model = _model(quantize=kind)
    model.set_trainable({"language": "lora"})
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    merged = _model()
    merged.language.model.load_state_dict(merged_state(model.language.model))
    assert torch.allclose(merged(batch).loss_sum, model(batch).loss_sum, rtol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_weights_take_the_bytes_that_are_counted(kind):
    layer = torch.nn.ModuleDict({"a": torch.nn.Linear(256, 256, bias=False)})
    assert stored(layer["a"].weight) == (65536, 4 * 65536)
    assert quantize_linears(layer, ["a"], kind) == quantize_linears(layer, ["a"], kind) == 1
    numbers, size = stored(layer["a"].weight)
    share = {"int8": 1.0, "nf4": 0.5}[kind]
    assert numbers == 65536 and share * 65536 <= size < (share + 0.05) * 65536


def test_nothing_is_quantised_before_it_is_said_what_is_trained():
    model = _model(quantize="int8")
    assert not any(is_quantized(module) for module in model.modules())


def test_a_kind_that_does_not_exist_a_missing_package_and_full_training_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean 'nf4'"):
        _model(quantize="nf5")
    with pytest.raises(ConfigError, match="Use 'nf4'"):
        _model(quantize="int4")
    with pytest.raises(ConfigError, match="cannot be trained fully"):
        _model(quantize="int8").set_trainable({"language": True})
    monkeypatch.setattr("libra_monai.networks.quantize.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes. Run: pip install 'libra-monai\[quantize\]'"):
        _model(quantize="nf4").set_trainable({"language": "lora"})
