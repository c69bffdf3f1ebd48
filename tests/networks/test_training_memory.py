# SPDX-License-Identifier: Apache-2.0
"""What saves memory in training changes no number: chunked loss, recomputed blocks, compiled blocks."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from libra_monai import build
from libra_monai.errors import ConfigError
from libra_monai.networks.language.token_loss import KNOWN_HEADS
from libra_monai.types import IGNORE, Decoding

from .conftest import ENCODER, LANGUAGE, PRIORS, PROMPTS, TARGETS, make_batch, make_model
from .test_families import BASE, FAMILIES
from .test_families import PRIORS as LONG_PRIORS
from .test_families import PROMPTS as LONG_PROMPTS
from .test_families import TARGETS as LONG_TARGETS
from .test_families import _model as family_model

OTHER_HEADS = {
    "cohere": {"model_type": "cohere", "logit_scale": 0.25},
    "granite": {"model_type": "granite", "logits_scaling": 3.0},
}


def _step(model, batch, seed=0):
    """Loss and all gradients of one step."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss = model(batch).loss_sum
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_equal_steps(ours, theirs, rtol=1e-6):
    """Equal loss; gradients equal as a whole to `rtol`, and each tensor of them to what cancelling sums leave."""
    assert torch.allclose(ours[0], theirs[0], rtol=rtol)
    assert ours[1].keys() == theirs[1].keys() and ours[1]
    squares = [((ours[1][name] - g).square().sum(), g.square().sum()) for name, g in theirs[1].items()]
    assert sum(d for d, _ in squares) <= rtol**2 * sum(g for _, g in squares)
    for name, gradient in theirs[1].items():
        assert (ours[1][name] - gradient).abs().max() <= 1e2 * rtol * gradient.abs().max() + 1e-9, name


def _saved(model, batch):
    """Every tensor that one forward keeps for its backward."""
    kept = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss = model(batch).loss_sum
    loss.backward()
    return {t.untyped_storage().data_ptr(): t for t in kept}.values()


@pytest.mark.parametrize("chunk", [1, 3, 256])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_chunked_loss_and_its_gradients_equal_the_plain_ones(family, chunk):
    model = family_model(family)
    model.set_trainable({"connector": True, "language": True})
    batch = make_batch(LONG_PROMPTS, LONG_PRIORS, LONG_TARGETS)
    model.language.keep_logits = True
    plain = _step(model, batch)
    model.language.keep_logits, model.language.chunk = False, chunk
    _assert_equal_steps(_step(model, batch), plain)


def test_all_families_of_the_tests_are_known_and_gemma2_is_capped():
    assert {family["model_type"] for family in FAMILIES.values()} == KNOWN_HEADS
    model = family_model("gemma2")
    batch = make_batch(LONG_PROMPTS, LONG_PRIORS, LONG_TARGETS)
    capped = model(batch).loss_sum
    model.language.model.config.final_logit_softcapping = 2.0
    assert not torch.allclose(model(batch).loss_sum, capped)


@pytest.mark.parametrize("family", OTHER_HEADS)
def test_a_family_that_scales_its_logits_keeps_its_own_head(family):
    torch.manual_seed(3)
    language = build(kind="language", name="causal_lm", config={**BASE, **OTHER_HEADS[family]})
    batch = make_batch([[1, 5, 6]], [False], [[7, 8, 2]])
    ids = torch.tensor([[1, 5, 6, 7, 8, 2]])
    own = language.model(input_ids=ids, labels=ids.where(torch.arange(6) > 2, IGNORE)).loss * 3
    assert torch.allclose(language(batch, {}).loss_sum, own, rtol=1e-6)


def test_nothing_with_a_column_for_every_word_is_kept_but_the_heads_weight():
    vocabulary = 997
    model = make_model()
    model.language = build(kind="language", name="causal_lm", config={**LANGUAGE, "vocab_size": vocabulary})
    model.set_trainable({"connector": True, "language": True})
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    head = model.language.model.lm_head.weight

    def wide():
        kept = [t for t in _saved(model, batch) if vocabulary in t.shape or t.numel() % vocabulary == 0]
        return [t for t in kept if t.data_ptr() != head.data_ptr()]

    assert wide() == []
    model.language.keep_logits = True
    assert wide()  # the plain path does keep them, so the count can fail


def test_a_batch_in_which_nothing_is_learned_has_a_loss_of_zero_and_gradients():
    model = make_model(trainable={"connector": True})
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    batch.target_ids = torch.full_like(batch.target_ids, IGNORE)
    loss, gradients = _step(model, batch)
    assert loss == 0.0 and all(not g.any() for g in gradients.values())


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="chunk is 0"):
        build(kind="language", name="causal_lm", config=LANGUAGE, chunk=0)


TRAINABLE = [{"connector": True}, {"language": "lora"}, {"connector": True, "language": True}]


@pytest.mark.parametrize("trainable", TRAINABLE, ids=["frozen language", "lora over a frozen base", "all"])
def test_recomputed_blocks_give_the_same_loss_and_gradients_and_keep_less(trainable):
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    steps, sizes = [], []
    for switch in (False, True):
        model = make_model(trainable=trainable, lora={"r": 4, "lora_dropout": 0.2}).train()
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                torch.manual_seed(len(name))
                torch.nn.init.normal_(parameter, std=0.3)
        model.language.gradient_checkpointing = switch
        steps.append(_step(model, batch))  # dropout of the adapters included: the same noise when computed again
        sizes.append(sum(t.numel() for t in _saved(model, batch)))
    _assert_equal_steps(steps[1], steps[0])
    assert sizes[1] < 0.6 * sizes[0]


def test_recomputed_blocks_of_a_trained_encoder_give_the_same_gradients():
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    model = make_model(trainable={"encoder": True, "connector": True})
    plain, kept = _step(model, batch), len(_saved(model, batch))
    model.encoder.gradient_checkpointing = True
    _assert_equal_steps(_step(model, batch), plain)
    assert len(_saved(model, batch)) < kept


def test_a_copied_model_recomputes_with_its_own_weights():
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    model = make_model(trainable={"connector": True})
    model.language.gradient_checkpointing = True
    before = _step(model, batch)[0]
    copied = deepcopy(model)
    for parameter in copied.language.parameters():
        torch.nn.init.zeros_(parameter)
    assert _step(copied, batch)[0] != before and _step(model, batch)[0] == before


@pytest.mark.parametrize("name", ["dinov2", "clip", "siglip"])
def test_every_encoder_takes_the_switch(name):
    config = {**ENCODER, **({} if name == "dinov2" else {"intermediate_size": 32})}
    encoder = build(kind="encoder", name=name, config=config, gradient_checkpointing=True)
    images = torch.randn(1, 3, 28, 28)
    encoder(images).layers.sum().backward()
    assert encoder.gradient_checkpointing and next(encoder.blocks[0].parameters()).grad is not None


def test_generation_is_the_same_with_the_switches_on():
    batch, decoding = make_batch(PROMPTS, PRIORS), Decoding(max_new_tokens=6)
    model = make_model()
    said = [g.token_ids for g in model.generate(batch, decoding)]
    model.language.gradient_checkpointing = True
    model(make_batch(PROMPTS, PRIORS, TARGETS))  # wraps the blocks
    model.language.compiled = True
    assert [g.token_ids for g in model.generate(batch, decoding)] == said


def test_compiling_is_off_by_default_and_only_where_gradients_are_computed(monkeypatch):
    calls = []
    monkeypatch.setattr("libra_monai.networks.language.causal_lm._compiled_call", lambda: calls.append(1) or _call)
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    make_model()(batch)
    model = make_model()
    model.language = build(kind="language", name="causal_lm", config=LANGUAGE, compile=True)
    with torch.no_grad():
        model(batch)
    assert not calls
    model(batch)
    assert len(calls) == 1


def _call(model, inputs):
    return model(**inputs)


@pytest.mark.slow
def test_a_compiled_step_has_the_same_loss():
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    model = make_model(trainable={"connector": True, "language": "lora"}).train(False)
    plain = _step(model, batch)
    model.language.compiled = True
    try:
        compiled = _step(model, batch)
    except RuntimeError as error:
        pytest.skip(f"torch.compile does not work here ({str(error).splitlines()[0][:80]}); install a C++ compiler")
    _assert_equal_steps(compiled, plain, rtol=1e-4)
