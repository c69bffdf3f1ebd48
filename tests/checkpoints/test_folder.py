# SPDX-License-Identifier: Apache-2.0
"""A model folder gives back the same model, and what does not fit is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from libra_monai import build
from libra_monai.checkpoints import assemble, load_pretrained, read_card, save_model
from libra_monai.errors import ConfigError, ModelError

from ..helpers import make_processor
from ..networks.conftest import ENCODER, LANGUAGE, PRIORS, PROMPTS, TARGETS, make_batch, make_model

CARD = {"name": "toy", "version": "1", "training_data": "synthetic"}


@pytest.fixture
def saved(tmp_path):
    """A saved tiny model and the model itself."""
    model = make_model()
    processor = make_processor(tmp_path / "tokenizer")
    return save_model(model, processor, tmp_path / "model", CARD), model


def _loss(model):
    return model(make_batch(PROMPTS, PRIORS, TARGETS)).loss_sum


def _parts():
    return (
        build(kind="encoder", name="dinov2", config=ENCODER),
        build(kind="connector", name="tac", width=16, hidden_size=24, num_layers=3, num_heads=2),
        build(kind="language", name="causal_lm", config=LANGUAGE),
    )


def test_a_saved_model_comes_back_equal(saved):
    folder, model = saved
    loaded = load_pretrained(folder)
    assert torch.equal(_loss(loaded.model), _loss(model))
    assert loaded.card == CARD and loaded.processor.image_size == 28
    own, back = model.state_dict(), loaded.model.state_dict()
    assert set(own) == set(back) and all(torch.equal(own[key], back[key]) for key in own)


def test_a_configured_model_takes_the_weights_of_a_folder(saved):
    folder, model = saved
    assert torch.equal(_loss(assemble(*_parts(), weights=str(folder)).eval()), _loss(model))


def test_parts_can_come_from_different_folders(saved, tmp_path):
    folder, model = saved
    other = save_model(make_model(seed=9), make_processor(tmp_path / "t2"), tmp_path / "other", CARD)
    mixed = assemble(*_parts(), weights={"encoder": str(folder), "connector": str(other), "language": str(folder)})
    assert torch.equal(mixed.encoder.model.layernorm.weight, model.encoder.model.layernorm.weight)
    assert torch.equal(mixed.connector.prior_bias, make_model(seed=9).connector.prior_bias)


def test_loading_what_was_saved_twice_changes_nothing(saved, tmp_path):
    folder, model = saved
    loaded = load_pretrained(folder)
    again = save_model(loaded.model, loaded.processor, tmp_path / "again", loaded.card)
    assert torch.equal(_loss(load_pretrained(again).model), _loss(model))
    assert json.loads((again / "report_model.json").read_text()) == json.loads((folder / "report_model.json").read_text())


def test_adapters_are_folded_into_the_saved_weights(tmp_path):
    model = make_model()
    model.lora = {"r": 4, "lora_alpha": 8}
    model.set_trainable({"language": "lora"})
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = save_model(model.eval(), make_processor(tmp_path / "t"), tmp_path / "model", CARD)
    loaded = load_pretrained(folder)
    assert torch.allclose(_loss(loaded.model), _loss(model), rtol=1e-5)
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    assert any("lora" in name for name, _ in model.named_parameters())  # saving leaves the model in training alone


def test_half_precision_halves_the_files_and_loads_as_float(saved, tmp_path):
    folder, model = saved
    half = save_model(model, make_processor(tmp_path / "t"), tmp_path / "half", CARD, half=True)
    loaded = load_pretrained(half)
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert torch.allclose(_loss(loaded.model), _loss(model), rtol=1e-2)
    sizes = [(f / "connector.safetensors").stat().st_size for f in (half, folder)]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_replaced_folder_holds_nothing_of_the_old_one(saved, tmp_path):
    folder, model = saved
    (folder / "stray").write_text("x")
    save_model(model, make_processor(tmp_path / "t"), folder, CARD)
    assert not (folder / "stray").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".model")]


def _drop(folder):
    tensors = load_file(folder / "connector.safetensors")
    tensors.pop("prior_bias")
    save_file(tensors, folder / "connector.safetensors")


def _add(folder):
    save_file({**load_file(folder / "connector.safetensors"), "more": torch.zeros(1)}, folder / "connector.safetensors")


def _reshape(folder):
    tensors = load_file(folder / "connector.safetensors")
    tensors["prior_norm.weight"] = torch.zeros(3)
    save_file(tensors, folder / "connector.safetensors")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop, "tensors missing: prior_bias"),
        (_add, "tensors unexpected: more"),
        (_reshape, r"of another shape: prior_norm.weight \[3\] for \[16\]"),
        (lambda f: (f / "connector.safetensors").write_bytes(b"not tensors"), "is damaged"),
        (lambda f: (f / "connector.safetensors").unlink(), "does not exist"),
        (lambda f: (f / "report_model.json").unlink(), "no model folder"),
        (lambda f: (f / "report_model.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "language" / "model.safetensors").write_bytes(b"x"), "cannot be loaded"),
        (lambda f: (f / "processor.json").unlink(), "processor.json does not exist"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(saved, damage, says):
    folder, _ = saved
    damage(folder)
    with pytest.raises(ModelError, match=says) as caught:
        load_pretrained(folder)
    assert caught.value.remedy


def test_a_tensor_missing_from_a_transformers_part_is_not_left_random(saved):
    folder, _ = saved
    tensors = load_file(folder / "encoder" / "model.safetensors")
    name = next(key for key in tensors if "layernorm.weight" in key)
    tensors.pop(name)
    save_file(tensors, folder / "encoder" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing keys: layernorm.weight"):
        load_pretrained(folder)


def test_a_folder_with_another_connector_is_refused(saved):
    folder, _ = saved
    encoder, _, language = _parts()
    linear = build(kind="connector", name="linear", width=16, hidden_size=24)
    with pytest.raises(ModelError, match="holds connector 'tac', the configuration asks for 'linear'"):
        assemble(encoder, linear, language, weights=str(folder))


def test_an_unknown_part_in_ckpt_is_refused(saved):
    with pytest.raises(ConfigError, match="'projector'"):
        assemble(*_parts(), weights={"projector": str(saved[0])})


def test_a_missing_folder_is_named():
    with pytest.raises(ModelError, match="nowhere does not exist"):
        load_pretrained("nowhere")


def test_synthetic_training_marks_every_descendant(saved):
    folder, _ = saved
    assert read_card(None)["training_data"] == "unknown"
    assert read_card(None, "synthetic")["training_data"] == "synthetic"
    assert read_card(str(folder), "de-identified")["training_data"] == "synthetic"
    assert read_card({"encoder": str(folder)})["training_data"] == "synthetic"
