# SPDX-License-Identifier: Apache-2.0
"""Encoders hand out exactly the library's hidden states, and run no block they do not need."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from libra_monai import build
from libra_monai.errors import ConfigError, ModelError

TINY = {"image_size": 28, "patch_size": 14, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
CONFIGS = {
    "dinov2": TINY,
    "clip": {**TINY, "intermediate_size": 20},
    "siglip": {**TINY, "intermediate_size": 20},
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
PICTURES = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def _encoder(name, **options):
    torch.manual_seed(0)
    return build(kind="encoder", name=name, config=CONFIGS[name], **options).eval()


def _blocks_run(encoder):
    ran = []
    for number, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    return ran


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layer", [-4, -2, -1, 0, 1, 3])
def test_one_layer_is_the_librarys_hidden_state_of_that_number_and_later_blocks_do_not_run(name, layer):
    encoder = _encoder(name, layer=layer)
    with torch.no_grad():
        states = encoder.model(pixel_values=PICTURES, output_hidden_states=True).hidden_states
        ran = _blocks_run(encoder)
        output = encoder(PICTURES)
    first = 0 if name == "siglip" else 1
    assert torch.equal(output.layers[:, 0], states[layer][:, first:])
    assert len(ran) == layer % 4  # 3 blocks make 4 hidden states
    assert encoder.num_layers == 1 and output.layers.shape == (2, 1, encoder.num_tokens, 16)


@pytest.mark.parametrize("name", CONFIGS)
def test_all_layers_are_the_raw_outputs_of_all_blocks(name):
    encoder = _encoder(name, layer="all")
    with torch.no_grad():
        states = encoder.model(pixel_values=PICTURES, output_hidden_states=True).hidden_states
        layers = encoder(PICTURES).layers
    first = 0 if name == "siglip" else 1
    assert torch.equal(layers, torch.stack(states[1:], dim=1)[:, :, first:])
    assert encoder.num_layers == 3 and encoder.num_tokens == 4 and encoder.grid == (2, 2)


def test_the_final_norm_gives_the_last_hidden_state_whatever_the_number():
    for layer in (-1, 1):
        encoder = _encoder("dinov2", layer=layer, final_norm=True)
        torch.nn.init.normal_(encoder.model.layernorm.weight)
        with torch.no_grad():
            wanted = encoder.model(pixel_values=PICTURES).last_hidden_state
            assert torch.equal(encoder(PICTURES).layers[:, 0], wanted[:, 1:])


@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_the_class_token_can_be_kept_as_the_first(name):
    plain, kept = _encoder(name), _encoder(name, keep_cls=True)
    with torch.no_grad():
        without, output = plain(PICTURES), kept(PICTURES)
    assert kept.num_tokens == 5 and output.cls_index == 0 and without.cls_index is None
    assert torch.equal(output.layers[:, :, 1:], without.layers)
    assert torch.equal(output.layers[:, -1, 0], output.pooled)


def test_siglip_keeps_every_patch_unless_the_originals_loss_is_asked_for():
    whole, lost = _encoder("siglip"), _encoder("siglip", lost_patch=True)
    with torch.no_grad():
        a, b = whole(PICTURES), lost(PICTURES)
    assert whole.num_tokens == 4 and lost.num_tokens == 3 and b.grid is None and a.pooled is None
    assert torch.equal(a.layers[:, :, 1:], b.layers)


@pytest.mark.parametrize(("name", "kind", "config"), [("clip", CLIPModel, CLIPConfig), ("siglip", SiglipModel, SiglipConfig)])
def test_a_whole_two_tower_checkpoint_gives_its_vision_tower_exactly(tmp_path, name, kind, config):
    torch.manual_seed(0)
    both = kind(config(vision_config=CONFIGS[name], text_config={**TEXT, "projection_size": 16})).eval()
    both.save_pretrained(tmp_path)
    encoder = build(kind="encoder", name=name, weights=str(tmp_path)).eval()
    with torch.no_grad():
        wanted = both.vision_model(pixel_values=PICTURES, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(encoder(PICTURES).layers[:, 0], wanted[:, int(name == "clip") :])


def _earlier_name(name, key):
    """The name a tensor has in files written before release 5 of the library, as the published ones were."""
    if name == "dinov2":
        for letter, word in {"q": "query", "k": "key", "v": "value"}.items():
            key = key.replace(f"attention.{letter}_proj.", f"attention.attention.{word}.")
        key = key.replace("attention.o_proj.", "attention.output.dense.")
        return key
    return key if key.startswith("vision_model.") else f"vision_model.{key}"


@pytest.mark.parametrize("name", CONFIGS)
def test_files_of_earlier_library_releases_load_exactly(tmp_path, name):
    before = _encoder(name, layer=-1)
    before.model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {_earlier_name(name, key): value.clone() for key, value in load_file(path).items()}
    mark = "attention.attention.query" if name == "dinov2" else "vision_model.encoder"
    assert any(mark in key for key in tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    after = build(kind="encoder", name=name, weights=str(tmp_path), layer=-1).eval()
    with torch.no_grad():
        assert torch.equal(after(PICTURES).layers, before(PICTURES).layers)


def test_a_checkpoint_with_missing_tensors_is_refused(tmp_path):
    _encoder("clip").model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(ModelError, match="missing keys"):
        build(kind="encoder", name="clip", weights=str(tmp_path))


def test_clip_expects_openais_three_channels_and_rad_dino_one_grey_level():
    assert tuple(_encoder("clip").mean) == (0.48145466, 0.4578275, 0.40821073)
    assert tuple(_encoder("clip").std) == (0.26862954, 0.26130258, 0.27577711)
    assert (_encoder("dinov2").mean, _encoder("dinov2").std) == (0.5307, 0.2583)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layer", [4, -5, "last", 1.5, True])
def test_a_layer_that_does_not_exist_is_refused(name, layer):
    with pytest.raises(ConfigError, match="does not exist"):
        _encoder(name, layer=layer)


def test_the_final_norm_of_all_layers_is_refused():
    with pytest.raises(ConfigError, match="final_norm"):
        _encoder("dinov2", final_norm=True)


@pytest.mark.parametrize("shape", [(1, 3, 42, 42), (1, 1, 28, 28)])
def test_pictures_of_another_shape_are_refused_in_words(shape):
    with pytest.raises(ConfigError, match=r"encoder 'dinov2' takes \(3, 28, 28\)"):
        _encoder("dinov2")(torch.zeros(shape))
