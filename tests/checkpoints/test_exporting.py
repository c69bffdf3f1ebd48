# SPDX-License-Identifier: Apache-2.0
"""What is exported comes back identical, and foreign libraries read it."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained, save_model
from libra_monai.checkpoints.published.exporting import export_weights
from libra_monai.checkpoints.published.importing import import_weights
from libra_monai.checkpoints.published.lora import lora_pair
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.errors import ConfigError, ModelError

from .published import CONNECTOR, LANGUAGE, TOWER, projector, write, write_tower


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """The encoder as a folder of its own."""
    return str(write_tower(tmp_path_factory.mktemp("tower") / "rad-dino"))


@pytest.fixture
def model(tmp_path, tower):
    """An imported model folder."""
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR})
    return import_weights(source, tmp_path / "model", encoder=tower).folder


def _state(folder):
    return load_pretrained(folder).model.state_dict()


def _equal(one, two):
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_originals_layout_comes_back_identical(tmp_path, model):
    out = export_weights(model, tmp_path / "out", "original")
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "libra" and config["mm_projector_type"] == "TAC"
    files = WeightFiles(weight_files(out))
    assert {n for n in files if "mm_projector" in n} == set(CONNECTOR)
    assert {n for n in files if "vision_tower" in n} == set(TOWER)
    assert torch.equal(files.tensor("model.mm_projector.LFE.0.fc1.weight"), CONNECTOR["model.mm_projector.LFE.0.fc1.weight"])
    again = import_weights(out, tmp_path / "again")
    _equal(_state(model), _state(again.folder))
    kept = json.loads((model / "processor.json").read_text()), json.loads((tmp_path / "again/processor.json").read_text())
    assert kept[0] == kept[1]


@pytest.mark.parametrize("kind", ["linear", "mlp2x_gelu"])
def test_other_connectors_come_back_identical(tmp_path, tower, kind):
    source = write(tmp_path / "source", {**LANGUAGE, **projector(kind)}, mm_projector_type=kind, mm_vision_select_layer=-2)
    model = import_weights(source, tmp_path / "model", encoder=tower).folder
    again = import_weights(export_weights(model, tmp_path / "out"), tmp_path / "again").folder
    _equal(_state(model), _state(again))


def test_the_projector_alone_goes_back_onto_its_base(tmp_path, model, tower):
    out = export_weights(model, tmp_path / "out", "projector")
    assert set(torch.load(out / "mm_projector.bin", weights_only=True)) == set(CONNECTOR)
    again = import_weights(out, tmp_path / "again", base=write(tmp_path / "base", LANGUAGE), encoder=tower)
    _equal(_state(model), _state(again.folder))


def test_transformers_reads_the_language_model(tmp_path, model):
    out = export_weights(model, tmp_path / "out", "transformers")
    read = AutoModelForCausalLM.from_pretrained(out).state_dict()
    own = {n.removeprefix("language.model."): v for n, v in _state(model).items() if n.startswith("language.")}
    _equal(own, read)


def test_peft_reads_the_adapter_and_the_sum_is_the_model(tmp_path, model, tower):
    loaded = load_pretrained(model)
    torch.manual_seed(1)
    changed = {f"model.layers.{i}.self_attn.{n}_proj.weight": 2 + i for i in (0, 1) for n in "qv"}
    with torch.no_grad():
        for name, rank in changed.items():
            weight = loaded.model.language.model.get_parameter(name)
            weight += torch.randn(weight.shape[0], rank) @ torch.randn(rank, weight.shape[1])
    trained = save_model(loaded.model, loaded.processor, tmp_path / "trained", loaded.card)
    base = export_weights(model, tmp_path / "base", "transformers")
    out = export_weights(trained, tmp_path / "adapter", "peft", base=base)
    joined = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(out)).merge_and_unload().state_dict()
    want = loaded.model.language.model.state_dict()
    assert max(float((joined[n] - want[n]).abs().max()) for n in want) < 1e-4
    assert {n.split(".lora_")[0] for n in load_file(str(out / "adapter_model.safetensors"))} == {
        f"base_model.model.{name.removesuffix('.weight')}" for name in changed
    }
    whole = export_weights(model, tmp_path / "whole", "original")
    again = load_pretrained(import_weights(out, tmp_path / "again", base=whole).folder).model.language.model.state_dict()
    assert max(float((again[n] - want[n]).abs().max()) for n in want) < 1e-4


def test_card_settings_and_options_come_back_too(tmp_path, tower):
    scaling = {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, rope_theta=5e5, rope_scaling=scaling)
    own = {"fill": 135, "template": "libra_llama_3_as_trained", "aspect": "crop", "prompt": "impression", "num_bos": 1}
    model = import_weights(source, tmp_path / "model", encoder=tower, settings=own).folder
    path = model / "report_model.json"
    content = json.loads(path.read_text())
    content["card"] = {"name": "toy", "version": "3", "training_data": "synthetic"}
    path.write_text(json.dumps(content))
    out = export_weights(model, tmp_path / "renamed")
    config = json.loads((out / "config.json").read_text())
    assert (config["rope_theta"], config["rope_scaling"]) == (5e5, scaling)  # as Transformers 4, the original's, reads it
    again = import_weights(out, tmp_path / "again").folder
    for file in ("report_model.json", "processor.json", "language/config.json"):
        assert json.loads((model / file).read_text()) == json.loads((again / file).read_text()), file
    assert load_pretrained(out).card["training_data"] == "synthetic"
    assert import_weights(out, tmp_path / "other", settings={"fill": 0}).settings["fill"] == 0


def test_files_of_an_export_can_be_read_by_others(tmp_path, model):
    for layout in ("original", "projector", "transformers"):
        for path in export_weights(model, tmp_path / layout, layout).iterdir():
            assert path.stat().st_mode & 0o077 == (model / "report_model.json").stat().st_mode & 0o077, path.name


def test_an_adapter_carries_the_connector_so_that_any_base_will_do(tmp_path, model, tower):
    loaded = load_pretrained(model)
    torch.manual_seed(2)
    name = "model.layers.1.mlp.down_proj.weight"
    with torch.no_grad():
        weight = loaded.model.language.model.get_parameter(name)
        weight += 0.1 * torch.randn(weight.shape[0], 3) @ torch.randn(3, weight.shape[1])
        loaded.model.connector.prior_bias.fill_(0.5)
    trained = save_model(loaded.model, loaded.processor, tmp_path / "trained", loaded.card)
    base = export_weights(model, tmp_path / "base", "transformers")
    out = export_weights(trained, tmp_path / "adapter", "peft", base=base)
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 3
    again = load_pretrained(import_weights(out, tmp_path / "again", encoder=tower).folder)
    have, want = again.model.state_dict(), loaded.model.state_dict()
    assert max(float((have[n] - want[n]).abs().max()) for n in want) < 1e-5
    assert all(torch.equal(have[n], want[n]) for n in want if n != f"language.model.{name}")
    assert again.processor.settings == loaded.processor.settings


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(96, 64), (400, 600)])
def test_the_rank_of_a_change_is_found_in_any_type_and_size(dtype, shape):
    """The second size is large enough for the quick decomposition."""
    torch.manual_seed(3)
    old = (0.02 * torch.randn(shape)).to(dtype)
    change = 0.02 * torch.randn(shape[0], 5) @ torch.randn(5, shape[1])
    new = (old.float() + change).to(dtype)
    down, up = lora_pair(new, old, 8)
    assert down.shape == (5, shape[1]) and up.shape == (shape[0], 5)
    rounding = torch.finfo(dtype).eps * float(new.float().abs().max())
    assert float((old.float() + up.float() @ down.float() - new.float()).abs().max()) < max(4 * rounding, 1e-6)
    assert lora_pair(new, old, 4) is None
    assert torch.equal(torch.cat(lora_pair(new, old, 8)[:1]), down)  # the same every time


def test_what_has_no_form_elsewhere_is_refused(tmp_path, model):
    with pytest.raises(ConfigError, match="Did you mean 'original'"):
        export_weights(model, tmp_path / "out", "orignal")
    with pytest.raises(ModelError, match="--base"):
        export_weights(model, tmp_path / "out", "peft")
    with pytest.raises(ModelError, match="4 heads, the original takes the language model's 6"):
        export_weights(paths.tiny_model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tac_of_another_number_of_layers_has_no_form_in_the_originals_layout(model, tmp_path):
    path = model / "report_model.json"
    content = json.loads(path.read_text())
    content["parts"]["connector"]["num_layers"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="takes 7 layers, the original's 12"):
        export_weights(model, tmp_path / "out")


def test_the_adapter_of_a_trained_model_goes_back_onto_its_base_bit_for_bit(tmp_path, model):
    base = export_weights(model, tmp_path / "base", "original")
    loaded = load_pretrained(model)
    loaded.model.lora = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
    loaded.model.set_trainable({"language": "lora"})
    torch.manual_seed(2)
    with torch.no_grad():
        for name, value in loaded.model.language.named_parameters():
            if ".lora_B" in name:
                value.normal_(std=0.1)
    trained = save_model(loaded.model, loaded.processor, tmp_path / "trained", loaded.card)
    out = export_weights(trained, tmp_path / "adapter", "peft", base=base)
    again = import_weights(out, tmp_path / "again").folder
    _equal(_state(trained), _state(again))
    changed = sum(not torch.equal(v, _state(model)[n]) for n, v in _state(trained).items())
    assert changed == len(load_file(str(trained / "adapter/adapter_model.safetensors"))) // 2 == 14
    plain = AutoModelForCausalLM.from_pretrained(export_weights(model, tmp_path / "plain", "transformers"))
    joined = PeftModel.from_pretrained(plain, str(trained / "adapter")).merge_and_unload().state_dict()
    want = {n.removeprefix("language.model."): v for n, v in _state(trained).items() if n.startswith("language.")}
    assert all(torch.equal(joined[n], want[n]) for n in want)
