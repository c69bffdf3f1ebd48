# SPDX-License-Identifier: Apache-2.0
"""The report model does no work twice, batches change nothing, and frozen means frozen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from libra_monai import build
from libra_monai.errors import ConfigError
from libra_monai.networks import parameter_table
from libra_monai.networks.adapters import linear_names, merge_lora
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import IGNORE, Decoding

from .conftest import ENCODER, IMAGE, LANGUAGE, PRIORS, PROMPTS, TARGETS, make_batch, make_model


def _count_encoded(model):
    rows = []
    model.encoder.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    return rows


@pytest.mark.parametrize(("prior", "expected"), [(False, 1), (True, 2)])
def test_a_missing_prior_costs_one_encoded_picture_and_a_prior_two(model, prior, expected):
    rows = _count_encoded(model)
    model.generate(make_batch([PROMPTS[0]], [prior]), Decoding(max_new_tokens=3))
    assert rows == [expected]


def test_beams_do_not_encode_again(model):
    rows = _count_encoded(model)
    model.generate(make_batch([PROMPTS[0]], [True]), Decoding(max_new_tokens=3, num_beams=4))
    assert rows == [2]


def test_a_picture_that_no_view_of_the_connector_uses_is_not_encoded():
    torch.manual_seed(0)
    model = ReportModel(
        build(kind="encoder", name="dinov2", config=ENCODER),
        build(kind="connector", name="linear", width=16, hidden_size=24),
        build(kind="language", name="causal_lm", config=LANGUAGE),
    ).eval()
    rows = _count_encoded(model)
    both, alone = make_batch(PROMPTS, PRIORS, TARGETS), make_batch(PROMPTS, PRIORS, TARGETS)
    loss = model(both).loss_sum
    alone.images = alone.images[alone.index["current"]]
    alone.index["current"], alone.index["prior"] = torch.arange(3), torch.full((3,), -1)
    assert rows == [3] and torch.allclose(loss, model(alone).loss_sum)


def test_a_prompt_without_pictures_encodes_nothing(model):
    rows = _count_encoded(model)
    model(make_batch([[1, 5, 6]], [True], [[7, 2]]))
    assert rows == []


def test_the_loss_of_a_batch_is_the_sum_of_its_studies(model, batch):
    whole = model(batch)
    assert int(whole.num_tokens) == sum(map(len, TARGETS))
    parts = []
    for row in range(3):
        single = make_batch([PROMPTS[row]], [PRIORS[row]], [TARGETS[row]])
        place = int(batch.index["current"][row])
        single.images = batch.images[place : place + 1 + PRIORS[row]]
        parts.append(model(single).loss_sum)
    assert torch.allclose(whole.loss_sum, sum(parts), rtol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_batched_generation_equals_one_by_one(model, batch, beams):
    decoding = Decoding(max_new_tokens=8, num_beams=beams)
    together = model.generate(batch, decoding)
    for row in range(3):
        single = make_batch([PROMPTS[row]], [PRIORS[row]])
        place = int(batch.index["current"][row])
        single.images = batch.images[place : place + 1 + PRIORS[row]]
        assert model.generate(single, decoding)[0].token_ids == together[row].token_ids


def test_the_loss_equals_the_language_models_own_on_the_spliced_sequence(model):
    batch = make_batch([PROMPTS[0]], [True], [TARGETS[0]])
    tokens = model.slots(batch)["image"][0]
    inner, embed = model.language.model, model.language.embed
    before, after = embed(torch.tensor([1, 5, 6])), embed(torch.tensor([7, *TARGETS[0]]))
    sequence = torch.cat([before, tokens, after])[None]
    labels = torch.full((1, sequence.shape[1]), -100)
    labels[0, -3:] = torch.tensor(TARGETS[0])
    own = inner(inputs_embeds=sequence, labels=labels).loss
    ours = model(batch)
    assert torch.allclose(ours.loss_sum / ours.num_tokens, own, rtol=1e-5)


def test_a_plain_tensor_gives_visual_tokens(model):
    assert model(torch.randn(2, 3, 28, 28)).shape == (2, 4, 24)


def test_frozen_parts_stay_in_eval_mode_and_get_no_gradient(batch):
    model = make_model(trainable={"connector": True}).train()
    assert model.connector.training and not model.encoder.training and not model.language.training
    model(batch).loss_sum.backward()
    assert all(p.grad is None for part in (model.encoder, model.language) for p in part.parameters())
    assert all(p.grad is not None for p in model.connector.parameters())


def test_lora_trains_every_linear_layer_but_the_head(batch):
    model = make_model()
    names = linear_names(model.language)
    assert len(names) == 2 * 7 and not any("lm_head" in name for name in names)
    model.lora = {"r": 4, "lora_alpha": 8}
    model.set_trainable({"language": "lora"})
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(names) and all(".lora_" in name for name in trained)


def test_a_connector_that_adapters_would_not_reach_refuses_them():
    with pytest.raises(ConfigError, match="TemporalAlignmentConnector cannot take adapters"):
        make_model().set_trainable({"connector": "lora"})


def test_merging_lora_changes_nothing_that_is_said(batch):
    model = make_model()
    model.lora = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
    model.set_trainable({"language": "lora"})
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    before = model(batch).loss_sum.detach()
    assert merge_lora(model.language) == 14
    assert torch.allclose(model(batch).loss_sum, before, rtol=1e-5)
    assert not any("lora" in name for name, _ in model.named_parameters())
    plain = make_model()
    assert not torch.allclose(plain(batch).loss_sum, before)


@pytest.mark.parametrize(
    ("trainable", "says"),
    [({"conector": True}, "Did you mean 'connector'"), ({"language": "loar"}, "'lora'")],
)
def test_trainable_refuses_what_it_does_not_know(trainable, says):
    with pytest.raises(ConfigError, match=says):
        make_model(trainable=trainable)


def test_parts_that_do_not_fit_are_refused_in_words():
    encoder = build(kind="encoder", name="dinov2", config=ENCODER)
    language = build(kind="language", name="causal_lm", config=LANGUAGE)
    connector = build(kind="connector", name="tac", width=16, hidden_size=24, num_layers=4, num_heads=2)
    with pytest.raises(ConfigError, match="connector.num_layers is 4, but the Dinov2Encoder has 3"):
        ReportModel(encoder, connector, language)


def test_a_slot_nobody_fills_is_named(model):
    batch = make_batch([[1, -201, 5]], [False], [[7, 2]])
    with pytest.raises(ValueError, match="slot 'retrieved'"):
        model(batch)


def test_several_slots_of_one_prompt_are_all_filled(model):
    batch = make_batch([[1, IMAGE, 5, IMAGE, 6]], [True], [[7, 2]])
    assert torch.isfinite(model(batch).loss_sum)


def test_a_frozen_part_with_dropout_is_noisy_in_training_only_and_gets_no_gradient(batch):
    model = make_model(trainable={"connector": "frozen_with_dropout", "language": "lora"}, lora={"lora_dropout": 0.0}).train()
    assert model.connector.training and not model.encoder.training
    losses = {float(model(batch).loss_sum.detach()) for _ in range(3)}
    assert len(losses) == 3
    model(batch).loss_sum.backward()
    assert all(not p.requires_grad and p.grad is None for p in model.connector.parameters())
    frozen = make_model(trainable={"connector": False, "language": "lora"}, lora={"lora_dropout": 0.0}).train()
    assert len({float(frozen(batch).loss_sum.detach()) for _ in range(3)}) == 1
    assert len({float(model.eval()(batch).loss_sum.detach()) for _ in range(3)}) == 1


def test_the_table_of_parameters_counts_what_is_trained_and_how():
    model = make_model(trainable={"connector": "frozen_with_dropout", "language": "lora"}, lora={"r": 4})
    rows = {line.split()[0]: line for line in parameter_table(model).splitlines()}
    assert list(rows) == ["part", "encoder", "connector", "language", "all"]
    for name in ("encoder", "connector", "language"):
        parameters = list(getattr(model, name).parameters())
        total, trained = (sum(p.numel() for p in chosen) for chosen in (parameters, [p for p in parameters if p.requires_grad]))
        assert rows[name].split()[1:4] == [f"{total:,}", f"{trained:,}", f"{trained / total:.1%}"]
        assert rows[name].endswith(f"{4 * total / 1e6:,.1f}")
    assert "frozen, dropout on" in rows["connector"] and "lora" in rows["language"] and " frozen " in rows["encoder"]
    assert rows["all"].split()[1] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert len({len(line) for line in rows.values()}) == 1


def test_no_gradient_comes_from_answer_tokens_without_weight(batch):
    model = make_model(trainable={"language": True})
    model.language.keep_logits = True
    batch.weights = (batch.target_ids != 9).float()
    output = model(batch)
    (slope,) = torch.autograd.grad(output.loss_sum, output.logits)
    assert torch.equal(slope.abs().sum(dim=-1) > 0, (batch.weights > 0) & (batch.target_ids != IGNORE))
    assert output.num_tokens == 9
    whole = replace(batch, weights=torch.ones_like(batch.weights))
    torch.testing.assert_close(model(whole).loss_sum, model(replace(batch, weights=None)).loss_sum)


@pytest.mark.parametrize("keep_logits", [True, False])
def test_the_loss_of_an_answer_token_counts_by_its_weight(batch, keep_logits):
    model = make_model(trainable={"language": True})
    model.language.keep_logits = keep_logits
    model.language.chunk = 3
    one = torch.zeros(batch.target_ids.shape)
    one[0, 1] = 1.0
    plain, single = model(batch).loss_sum, model(replace(batch, weights=one)).loss_sum
    heavier = model(replace(batch, weights=1.0 + 2.5 * one))
    torch.testing.assert_close(heavier.loss_sum, plain + 2.5 * single)
    assert single > 0 and heavier.num_tokens == (batch.target_ids != IGNORE).sum()
