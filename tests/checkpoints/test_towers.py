# SPDX-License-Identifier: Apache-2.0
"""Encoders of published checkpoints: found by their tensors, in every spelling, with the normalisation they expect."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from libra_monai import registry
from libra_monai.checkpoints import load_pretrained
from libra_monai.checkpoints.published.exporting import export_weights
from libra_monai.checkpoints.published.importing import import_weights
from libra_monai.checkpoints.published.rules import choose_rule
from libra_monai.errors import ModelError
from libra_monai.networks.encoders.clip import CLIP_MEAN

from .published import CONNECTOR, LANGUAGE, TOWER, clip_tower, projector, write, write_tower

RAD = {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2, "mm_vision_tower": "biomedclip_cxr_518"}
MARK = "model.vision_tower.vision_tower."


def _timm(width=128, depth=3, image=28, patch=14):
    """A DINOv2 under timm's names with random weights."""
    torch.manual_seed(7)
    tokens = (image // patch) ** 2 + 1
    shapes = {
        "cls_token": (1, 1, width), "pos_embed": (1, tokens, width), "norm.weight": (width,), "norm.bias": (width,),
        "patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,),
    }  # fmt: skip
    block = {
        "norm1": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm2": (width,),
        "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
    }  # fmt: skip
    for number in range(depth):
        for name, shape in block.items():
            shapes[f"blocks.{number}.{name}.weight"], shapes[f"blocks.{number}.{name}.bias"] = shape, shape[:1]
        shapes[f"blocks.{number}.ls1.gamma"] = shapes[f"blocks.{number}.ls2.gamma"] = (width,)
    return {name: torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.3) for name, shape in shapes.items()}


def _timm_states(state, pictures, heads, patch=14):
    """What timm's transformer computes, written out: the output of every block."""
    x = F.conv2d(pictures, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1) + state["pos_embed"]
    states, width = [x], x.shape[-1]
    for number in range(sum(name.endswith("ls1.gamma") for name in state)):
        w = {n.removeprefix(f"blocks.{number}."): v for n, v in state.items() if n.startswith(f"blocks.{number}.")}
        y = F.layer_norm(x, (width,), w["norm1.weight"], w["norm1.bias"], 1e-6)
        q, k, v = F.linear(y, w["attn.qkv.weight"], w["attn.qkv.bias"]).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1) @ v
        y = F.linear(y.transpose(1, 2).flatten(2), w["attn.proj.weight"], w["attn.proj.bias"])
        x = x + w["ls1.gamma"] * y
        y = F.gelu(F.linear(F.layer_norm(x, (width,), w["norm2.weight"], w["norm2.bias"], 1e-6), w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
        x = x + w["ls2.gamma"] * F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
        states.append(x)
    return states


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """The reference encoder as a folder of its own."""
    return str(write_tower(tmp_path_factory.mktemp("tower") / "rad-dino"))


@pytest.mark.parametrize("level", ["vit.", "trunk."])
def test_llava_rads_timm_tower_is_the_built_in_dinov2(tmp_path, level):
    state = _timm()
    own = {f"{MARK}{level}{name}": value for name, value in state.items()}
    source = write(tmp_path / "source", {**LANGUAGE, **projector("mlp2x_gelu", width=128), **own}, **RAD, mm_hidden_size=128)
    done = import_weights(source, tmp_path / "model")
    assert done.settings["template"] == "v1" and done.settings["mean"] == list(CLIP_MEAN)
    loaded = load_pretrained(tmp_path / "model")
    assert loaded.model.encoder.image_size == 28 and loaded.model.encoder.mean == list(CLIP_MEAN)
    pictures = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        have = loaded.model.encoder(pictures).layers[:, 0]
    assert torch.allclose(have, _timm_states(state, pictures, heads=2)[-2][:, 1:], atol=1e-5)
    again = import_weights(export_weights(tmp_path / "model", tmp_path / "out"), tmp_path / "again")
    assert again.settings == done.settings
    one, two = (load_pretrained(tmp_path / name).model.state_dict() for name in ("model", "again"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_tower_of_open_clip_without_layer_scales_asks_for_a_plugin(tmp_path):
    own = {f"{MARK}trunk.{name}": value for name, value in _timm().items() if ".ls" not in name}
    source = write(tmp_path / "source", {**LANGUAGE, **projector("mlp2x_gelu", width=128), **own}, **RAD, mm_hidden_size=128)
    with pytest.raises(ModelError, match="registers an encoder 'open_clip'"):
        import_weights(source, tmp_path / "model")


class _Plugin(nn.Module):
    """The least an encoder from outside is."""

    def __init__(self, config, layer=-1, mean=0.5, std=0.5):
        super().__init__()
        self.model = nn.ModuleDict({"trunk": nn.Linear(config["inputs"], 48)})
        self.image_size, self.channels, self.mean, self.std, self.num_layers = 28, 3, mean, std, 1
        self.width = 48


def test_a_plugin_takes_a_tower_of_open_clip_under_its_own_names(tmp_path, monkeypatch):
    monkeypatch.setattr(registry.ENCODERS, "components", dict(registry.ENCODERS.components))
    registry.register("encoder", "open_clip")(_Plugin)
    own = {f"{MARK}trunk.weight": torch.randn(48, 5), f"{MARK}trunk.bias": torch.randn(48)}
    source = write(tmp_path / "source", {**LANGUAGE, **projector("mlp2x_gelu"), **own}, **RAD)
    (source / "open_clip_config.json").write_text(json.dumps({"inputs": 5}))
    import_weights(source, tmp_path / "model")
    for folder in (source, tmp_path / "model"):
        loaded = load_pretrained(folder)
        assert torch.equal(loaded.model.encoder.model["trunk"].weight, own[f"{MARK}trunk.weight"])


def test_a_tower_from_the_hubs_biomedclip_that_is_not_here_says_so(tmp_path):
    source = write(tmp_path / "source", {**LANGUAGE, **projector("mlp2x_gelu")}, **{**RAD, "mm_vision_tower": "hf-hub:x/y"})
    with pytest.raises(ModelError, match="hf-hub:x/y is one of open_clip"):
        import_weights(source, tmp_path / "model")


def test_fields_that_older_releases_wrote_are_not_in_the_way(tmp_path, tower):
    older = tmp_path / "older"
    shutil.copytree(tower, older)
    config = json.loads((older / "config.json").read_text())
    extra = {"torchscript": False, "num_beams": 1, "bad_words_ids": None, "torch_dtype": "float32"}
    (older / "config.json").write_text(json.dumps({**config, **extra}))
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR, **TOWER})
    assert import_weights(source, tmp_path / "model", encoder=str(older)).counts["encoder"] == len(TOWER)


def test_normalisation_comes_from_the_encoders_folder(tmp_path, tower):
    other = tmp_path / "other"
    shutil.copytree(tower, other)
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR})
    for mean, want in (([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), ([0.4] * 3, 0.4)):
        (other / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": [0.5] * 3}))
        done = import_weights(source, tmp_path / "model", encoder=str(other))
        assert (done.settings["mean"], done.settings["std"]) == (want, 0.5)
        assert load_pretrained(tmp_path / "model").model.encoder.mean == want
        assert load_pretrained(source, encoder=str(other)).processor.settings == done.settings


def test_an_adapted_tower_of_unknown_shape_asks_for_its_configuration(tmp_path):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR, **TOWER}, mm_vision_tower="/somewhere/tower")
    with pytest.raises(ModelError, match="shape of the encoder '/somewhere/tower' is not known.*--encoder"):
        import_weights(source, tmp_path / "model")


def test_the_published_shape_is_taken_for_an_adapted_tower_and_must_fit(tmp_path):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR, **TOWER})  # RAD-DINO by name, much smaller in truth
    with pytest.raises(ModelError, match=r"embeddings.* has shape \[.*48\], config.json makes it \[.*768\]"):
        import_weights(source, tmp_path / "model")


@pytest.mark.parametrize(
    ("tower", "connector", "family", "words", "template"),
    [
        ("dinov2", "TAC", "llama", 32_017, "libra_v1"),
        ("dinov2", "TAC", "llama", 32_000, "libra_v1"),
        ("dinov2", "TAC", "llama", 128_256, "libra_llama_3"),
        ("dinov2", "TAC", "llama", 128_264, "libra_llama_3"),
        ("clip", "mlp2x_gelu", "mistral", 32_000, "llava_med_v1_5_mistral_7b"),
        ("clip", "mlp2x_gelu", "llama", 32_000, "libra_v0"),
        ("timm", "mlp2x_gelu", "llama", 32_000, "v1"),
        ("open_clip", "mlp2x_gelu", "llama", 32_000, "v1"),
        ("dinov2", "mlp4x_gelu", "llama", 32_000, "maira_2"),
    ],
)
def test_the_rule_of_every_published_checkpoint(tower, connector, family, words, template, caplog):
    rule = choose_rule({"mm_projector_type": connector, "vocab_size": words}, family, tower)
    assert rule.settings["template"] == template and not caplog.records
    registry.find("template", template)


@pytest.mark.parametrize(
    ("tower", "connector", "family", "words"),
    [("dinov2", "TAC", "qwen2", 151_936), ("siglip", "mlp2x_gelu", "llama", 32_000), ("clip", "linear", "llama", 32_000)],
)
def test_anything_else_gets_libras_settings_with_a_warning(tower, connector, family, words, caplog):
    rule = choose_rule({"mm_projector_type": connector, "vocab_size": words}, family, tower)
    assert rule.settings["template"] == "libra_v1" and "check --template" in caplog.text


def test_the_rule_looks_at_the_tower_itself_and_not_at_its_name(tmp_path):
    folder, state = clip_tower(tmp_path / "tower-of-rad-dino")
    source = write(
        tmp_path / "source", {**LANGUAGE, **projector("mlp2x_gelu"), **state},
        mm_vision_tower="models/rad-dino-biomedclip", mm_projector_type="mlp2x_gelu", mm_vision_select_layer=-2,
    )  # fmt: skip
    assert import_weights(source, tmp_path / "model", encoder=str(folder)).settings["template"] == "libra_v0"
