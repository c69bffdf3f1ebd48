# SPDX-License-Identifier: Apache-2.0
"""One wrapper serves every family of language models: loss as the library's own, batches as single studies, LoRA by one rule."""

from __future__ import annotations

import warnings

import pytest
import torch

from libra_monai import build
from libra_monai.networks.adapters import LORA, add_lora, linear_names
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding

from .conftest import ENCODER, IMAGE, make_batch

BASE = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
FAMILIES = {
    "llama2": {"model_type": "llama", "num_key_value_heads": 4},
    "llama3": {"model_type": "llama", "tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE},
    "mistral": {"model_type": "mistral", "sliding_window": 6},
    "phi3": {"model_type": "phi3", "sliding_window": 6},
    "gemma": {"model_type": "gemma", "head_dim": 8},
    "gemma2": {"model_type": "gemma2", "head_dim": 8, "sliding_window": 6},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 8},
}
# lengths from 5 to 16, so that left padding is longer than the sliding window of 6
PROMPTS = [[1, 5, 6, IMAGE, 7], [1, IMAGE, *range(9, 23)], [1, 8, 9, 10, IMAGE, 13, 14, 15, 16], [1, IMAGE, 4, 4, 3]]
PRIORS = [True, False, False, True]
TARGETS = [[5, 6, 2], [7, 8, 9, 10, 2], [3, 2], [4, 4, 4, 2]]
GREEDY = Decoding(max_new_tokens=16)
BEAMS = Decoding(max_new_tokens=16, num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3)


def _model(family, seed=4):
    """A tiny report model whose language model is sure enough of its words that rounding decides nothing."""
    torch.manual_seed(seed)
    language = build(kind="language", name="causal_lm", config={**BASE, **FAMILIES[family]})
    for parameter in language.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    encoder = build(kind="encoder", name="dinov2", config=ENCODER)
    connector = build(kind="connector", name="tac", width=16, hidden_size=32, num_layers=3, num_heads=2)
    torch.nn.init.normal_(connector.prior_bias)
    torch.nn.init.normal_(connector.output_mlp[-1].weight)
    return ReportModel(encoder, connector, language).eval()


def _single(batch, row, target=None):
    """One study of a batch, with the same pictures."""
    single = make_batch([PROMPTS[row]], [PRIORS[row]], target and [target])
    place = int(batch.index["current"][row])
    single.images = batch.images[place : place + 1 + PRIORS[row]]
    return single


@pytest.fixture(autouse=True)
def _quiet():
    """The library warns that n-grams of the prompt do not count, which is what the original does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Passing `no_repeat_ngram_size`")
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_librarys_own_on_the_joined_embeddings_one_by_one(family):
    model = _model(family)
    batch = make_batch(PROMPTS, PRIORS, TARGETS)
    tokens, inner, embed = model.slots(batch)["image"], model.language.model, model.language.embed
    scale = BASE["hidden_size"] ** 0.5 if family.startswith("gemma") else 1.0
    total = 0.0
    for row, (prompt, target) in enumerate(zip(PROMPTS, TARGETS, strict=True)):
        place = prompt.index(IMAGE)
        before, after = (embed(torch.tensor(ids)) for ids in (prompt[:place], prompt[place + 1 :] + target))
        sequence = torch.cat([before, tokens[row] * scale, after])[None]
        labels = torch.full((1, sequence.shape[1]), -100)
        labels[0, -len(target) :] = torch.tensor(target)
        total += inner(inputs_embeds=sequence, labels=labels).loss * len(target)
    output = model(batch)
    assert int(output.num_tokens) == sum(map(len, TARGETS))
    assert torch.allclose(output.loss_sum, total, rtol=1e-6)


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
def test_gemma_scales_pictures_as_it_scales_text(family):
    language = _model(family).language
    ids = torch.tensor([[1, 5]])
    assert torch.allclose(language.embed(ids), language.embed.weight[ids] * 32**0.5)
    batch = make_batch([[1, IMAGE]], [False])
    tokens = torch.randn(1, 4, 32)
    prompt, _ = language.prompt(batch, {"image": tokens})
    assert torch.allclose(prompt[0, 1:], tokens[0] * 32**0.5)


@pytest.mark.parametrize("decoding", [GREEDY, BEAMS], ids=["greedy", "beams"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_any_lengths_with_and_without_priors_writes_what_single_studies_write(family, decoding):
    model = _model(family)
    batch = make_batch(PROMPTS, PRIORS)
    together = model.generate(batch, decoding)
    for row in range(len(PROMPTS)):
        alone = model.generate(_single(batch, row), decoding)[0]
        assert alone.token_ids == together[row].token_ids and alone.finished == together[row].finished
        assert decoding.num_beams == 1 or alone.score == pytest.approx(together[row].score, abs=1e-5)


@pytest.mark.parametrize("decoding", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_rows_that_end_early_do_not_disturb_the_others(decoding):
    model = _model("llama2", seed=5)
    head = model.language.model.lm_head.weight
    with torch.no_grad():
        head[2] = head[[3, 9, 20, 31]].mean(dim=0) * 3.0  # the end token is likely wherever these are
    batch = make_batch(PROMPTS, PRIORS)
    together = model.generate(batch, decoding)
    assert len({len(g.token_ids) for g in together}) > 1 and any(g.finished for g in together)
    for row in range(len(PROMPTS)):
        assert model.generate(_single(batch, row), decoding)[0].token_ids == together[row].token_ids


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_with_a_cache_equals_one_full_pass_a_token(family):
    model = _model(family)
    batch = _single(make_batch(PROMPTS, PRIORS), 0)
    said = model.generate(batch, GREEDY)[0]
    language = model.language
    sequence, _ = language.prompt(batch, model.slots(batch))
    wanted = []
    for _ in range(GREEDY.max_new_tokens):
        token = language.model(inputs_embeds=sequence, use_cache=False).logits[0, -1].argmax()
        if int(token) == 2:
            break
        wanted.append(int(token))
        sequence = torch.cat([sequence, language.embed(token.view(1, 1))], dim=1)
    assert said.token_ids == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_reaches_every_linear_layer_but_the_head(family):
    language = _model(family).language
    expected = 4 if family == "phi3" else 7  # Phi-3 fuses query, key and value, and gate and up
    names = linear_names(language)
    assert len(names) == expected * 3 and not any("lm_head" in name for name in names)
    assert add_lora(language) == names
    trained = {name for name, p in language.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(names) and all(".lora_" in name for name in trained)
    layer = language.get_submodule(names[0])
    assert layer.lora_A["default"].weight.shape[0] == 128 and layer.scaling["default"] == 2.0
    assert LORA == {"r": 128, "lora_alpha": 256, "lora_dropout": 0.05, "bias": "none"}
