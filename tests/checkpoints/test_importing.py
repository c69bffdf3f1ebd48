# SPDX-License-Identifier: Apache-2.0
"""Published folders of every layout become the same model, and what does not fit is refused by name."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from libra_monai.checkpoints import load_pretrained, save_model
from libra_monai.checkpoints.published import readers, shards
from libra_monai.checkpoints.published.building import model_from_published
from libra_monai.checkpoints.published.importing import import_weights
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.errors import ConfigError, ModelError

from .published import CONFIG, CONNECTOR, LANGUAGE, STATE, TOWER, clip_tower, projector, resized, write, write_tower


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """The encoder as a folder of its own."""
    return str(write_tower(tmp_path_factory.mktemp("tower") / "rad-dino"))


@pytest.fixture(scope="module")
def expected():
    """The same model built in memory from the original's tensors."""
    state = {n: resized(v, 420) if n.endswith(("embed_tokens.weight", "lm_head.weight")) else v for n, v in STATE.items()}
    config = {"model_type": "libra", **CONFIG["llm"], **CONFIG["mm"], "vocab_size": 420}
    return model_from_published(config, state, CONFIG["vision"]).state_dict()


def _same(folder, expected):
    have = load_pretrained(folder).model.state_dict()
    assert set(have) == set(expected)
    assert all(torch.equal(have[name], expected[name]) for name in have)


@pytest.mark.parametrize("shape", ["safetensors", "bin", "sharded", "sharded_bin"])
def test_a_whole_checkpoint_in_any_file_form(tmp_path, tower, expected, shape):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, shape)
    done = import_weights(source, tmp_path / "model", encoder=tower)
    assert done.kind == "whole" and done.counts["connector"] == 54 and done.settings["template"] == "libra_v1"
    _same(tmp_path / "model", expected)


def test_an_adapted_encoder_in_the_checkpoint_wins(tmp_path, tower, expected):
    changed = {name: value + 0.5 for name, value in TOWER.items()}
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR, **changed})
    import_weights(source, tmp_path / "model", encoder=tower)
    have = load_pretrained(tmp_path / "model").model.state_dict()
    for name, value in expected.items():
        assert torch.equal(have[name], value + 0.5 if name.startswith("encoder.") else value), name


def test_a_projector_with_its_base(tmp_path, tower, expected):
    base = write(tmp_path / "base", LANGUAGE, model_type="llama")
    source = write(tmp_path / "source", {})
    (source / "model.safetensors").unlink()
    torch.save(CONNECTOR, source / "anything.bin")
    assert import_weights(source, tmp_path / "model", base=base, encoder=tower).kind == "projector"
    _same(tmp_path / "model", expected)


@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
def test_lora_with_its_base_and_the_trained_rest(tmp_path, tower, expected, prefix):
    base = write(tmp_path / "base", {**LANGUAGE, **CONNECTOR})
    source = tmp_path / "source"
    source.mkdir()
    torch.manual_seed(0)
    down, up = torch.randn(4, 64), torch.randn(64, 4)
    layer = "model.layers.0.self_attn.q_proj"
    pair = {f"{prefix}{layer}.lora_A.weight": down, f"{prefix}{layer}.lora_B.weight": up}
    save_file(pair, str(source / "adapter_model.safetensors"))
    bias = {f"{prefix}model.mm_projector.LFE_prior_bias": torch.tensor(0.25)}
    torch.save(bias, source / "non_lora_trainables.bin")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(base)}
    (source / "adapter_config.json").write_text(json.dumps(config))
    assert import_weights(source, tmp_path / "model", encoder=tower).kind == "lora"
    have = load_pretrained(tmp_path / "model").model.state_dict()
    name = f"language.model.{layer}.weight"
    assert torch.allclose(have[name], expected[name] + 2.0 * up @ down, atol=1e-6)
    assert float(have["connector.prior_bias"]) == 0.25
    others = set(have) - {name, "connector.prior_bias"}
    assert all(torch.equal(have[key], expected[key]) for key in others)


def _lora(folder, tensors, rest=None, **config):
    """A LoRA folder as training leaves it."""
    folder.mkdir()
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    if rest:
        torch.save(rest, folder / "non_lora_trainables.bin")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}))
    return folder


def _pair(layer, rank=4):
    torch.manual_seed(rank)
    return {f"{layer}.lora_A.weight": torch.randn(rank, 64), f"{layer}.lora_B.weight": torch.randn(64, rank)}


def test_lora_scales_by_layer_as_peft_does(tmp_path, tower, expected):
    base = write(tmp_path / "base", {**LANGUAGE, **CONNECTOR})
    q, o = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.o_proj"
    pairs = {**_pair(f"base_model.model.{q}"), **_pair(f"base_model.model.{o}", rank=2)}
    patterns = {"rank_pattern": {"1.self_attn.o_proj": 2}, "alpha_pattern": {r"layers\.1\..*o_proj": 6}}
    source = _lora(tmp_path / "source", pairs, target_modules=["q_proj", "o_proj"], use_rslora=True, **patterns)
    have = load_pretrained(import_weights(source, tmp_path / "model", base=base, encoder=tower).folder).model.state_dict()
    for layer, scale in ((q, 8 / 4**0.5), (o, 6 / 2**0.5)):
        down, up = (pairs[f"base_model.model.{layer}.lora_{x}.weight"] for x in "AB")
        name = f"language.model.{layer}.weight"
        assert torch.allclose(have[name], expected[name] + scale * up @ down, atol=1e-6)


def test_lora_that_cannot_be_folded_in_is_refused_and_not_left_out(tmp_path, tower):
    base = write(tmp_path / "base", {**LANGUAGE, **CONNECTOR})
    pair = _pair("base_model.model.model.layers.0.self_attn.q_proj")
    rows = {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(4, 420)}
    bias = {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias": torch.zeros(64)}
    for number, (more, config, said) in enumerate(
        [(rows, {}, "lora_embedding_A is no LoRA"), (bias, {}, "lora_B.bias is no LoRA"), ({}, {"use_dora": True}, "plain LoRA")]
    ):
        source = _lora(tmp_path / str(number), {**pair, **more}, **config)
        with pytest.raises(ModelError, match=said):
            import_weights(source, tmp_path / "model", base=base, encoder=tower)
    half = _lora(tmp_path / "half", dict([next(iter(pair.items()))]))
    with pytest.raises(ModelError, match="lacks one of its two matrices"):
        import_weights(half, tmp_path / "model", base=base, encoder=tower)


def test_lora_on_a_bare_language_model_says_where_the_projector_goes(tmp_path, tower, expected):
    base = write(tmp_path / "base", LANGUAGE)
    source = _lora(tmp_path / "source", _pair("base_model.model.model.layers.0.self_attn.q_proj"))
    with pytest.raises(ModelError, match="connector: tensors missing.*Put its mm_projector.bin into the folder"):
        import_weights(source, tmp_path / "model", base=base, encoder=tower)
    torch.save(CONNECTOR, source / "mm_projector.bin")
    have = load_pretrained(import_weights(source, tmp_path / "model", base=base, encoder=tower).folder).model.state_dict()
    assert all(torch.equal(have[name], v) for name, v in expected.items() if name.startswith("connector."))


@pytest.mark.parametrize("kind", ["linear", "mlp2x_gelu", "mlp4x_gelu"])
def test_other_projectors_of_one_layer(tmp_path, tower, kind):
    state = {**LANGUAGE, **projector(kind)}
    source = write(tmp_path / "source", state, mm_projector_type=kind, mm_vision_select_layer=-2)
    done = import_weights(source, tmp_path / "model", encoder=tower)
    loaded = load_pretrained(tmp_path / "model")
    assert loaded.model.encoder.num_layers == 1
    own = {name.rpartition("projector.")[2]: value for name, value in projector(kind).items()}
    assert {n.removeprefix("projection."): v for n, v in loaded.model.connector.state_dict().items()}.keys() == own.keys()
    assert done.settings["template"] == ("maira_2" if kind == "mlp4x_gelu" else "libra_v1")


def test_clip_on_mistral_is_llava_med(tmp_path):
    folder, state = clip_tower(tmp_path / "clip")
    mistral = {"model_type": "llava_mistral", "sliding_window": 64, "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    config = {**mistral, "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2, "image_aspect_ratio": "pad"}
    llava = {name.replace("projector.projector.", "projector."): v for name, v in projector("mlp2x_gelu").items()}
    source = write(tmp_path / "source", {**LANGUAGE, **llava, **state}, **config)
    done = import_weights(source, tmp_path / "model", encoder=str(folder))
    assert done.settings["template"] == "llava_med_v1_5_mistral_7b" and len(done.settings["mean"]) == 3
    loaded = load_pretrained(tmp_path / "model")
    assert type(loaded.model.language.model).__name__ == "MistralForCausalLM"
    picture = torch.rand(1, 3, 28, 28)
    from transformers import CLIPVisionModel

    states = CLIPVisionModel.from_pretrained(folder)(picture, output_hidden_states=True).hidden_states
    assert torch.allclose(loaded.model.encoder(picture).layers[0, 0], states[-2][0, 1:], atol=1e-6)


def test_a_llama_3_vocabulary_gets_the_settings_of_the_3b_model(tmp_path, tower):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, vocab_size=128_256)
    done = import_weights(source, tmp_path / "model", encoder=tower)
    assert {k: done.settings[k] for k in ("template", "num_bos", "fill")} == {
        "template": "libra_llama_3", "num_bos": 1, "fill": 135,
    }  # fmt: skip
    given = import_weights(source, tmp_path / "other", encoder=tower, settings={"fill": 0, "template": None})
    assert given.settings["fill"] == 0 and given.settings["template"] == "libra_llama_3"


def test_the_name_of_a_folder_says_nothing(tmp_path, tower, expected):
    source = write(tmp_path / "llava-med-lora-mistral-3b", {**LANGUAGE, **CONNECTOR})
    done = import_weights(source, tmp_path / "model", encoder=tower)
    assert done.kind == "whole" and done.settings["template"] == "libra_v1"


def test_a_published_folder_loads_directly(tmp_path, tower, expected):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR})
    have = load_pretrained(source, encoder=tower, dtype=torch.bfloat16).model.state_dict()
    assert all(torch.equal(have[name], value.bfloat16()) for name, value in expected.items() if value.is_floating_point())


def test_a_published_folder_in_memory_is_the_imported_one_and_nothing_is_written(tmp_path, tower, monkeypatch):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "sharded_bin", eos_token_id=[2, 7])
    imported = load_pretrained(import_weights(source, tmp_path / "model", encoder=tower).folder)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no scratch folder here"))
    direct = load_pretrained(source, encoder=tower)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    one, two = imported.model.state_dict(), direct.model.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert direct.processor.settings == imported.processor.settings
    assert direct.model.language.model.generation_config.eos_token_id == [2, 7]
    assert direct.card == {**imported.card, "name": "source"}


def test_what_was_loaded_in_memory_can_be_saved(tmp_path, tower, expected):
    direct = load_pretrained(write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}), encoder=tower)
    save_model(direct.model, direct.processor, tmp_path / "model", direct.card)
    _same(tmp_path / "model", expected)


def test_lora_without_a_configuration_of_its_own_loads_directly(tmp_path, tower, expected):
    base = write(tmp_path / "base", {**LANGUAGE, **CONNECTOR})
    layer = "model.layers.0.self_attn.q_proj"
    pair = _pair(layer)
    source = _lora(tmp_path / "source", pair, base_model_name_or_path=str(base))
    have = load_pretrained(source, encoder=tower).model.language.model.get_parameter(f"{layer}.weight")
    want = expected[f"language.model.{layer}.weight"] + 2.0 * pair[f"{layer}.lora_B.weight"] @ pair[f"{layer}.lora_A.weight"]
    assert torch.allclose(have, want, atol=1e-6)


def test_a_large_language_model_is_written_in_shards(tmp_path, tower, expected, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100_000)
    waiting = []
    write_shard = shards.ShardWriter._write
    monkeypatch.setattr(shards.ShardWriter, "_write", lambda self: (waiting.append(self.size), write_shard(self)))
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "sharded")
    import_weights(source, tmp_path / "model", encoder=tower)
    names = {path.name for path in (tmp_path / "model/language").glob("model*")}
    assert "model.safetensors.index.json" in names and len(names) > 3
    largest = max(value.numel() * 4 for value in expected.values())  # the embedding, with rows for the tokenizer
    assert max(size for size in waiting[1:]) <= max(100_000, largest)  # the first is the connector, one file
    _same(tmp_path / "model", expected)


def test_the_rotary_positions_of_the_3b_model_arrive(tmp_path, tower):
    scaling = {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, rope_theta=500_000.0, rope_scaling=scaling)
    import_weights(source, tmp_path / "model", encoder=tower)
    for folder, given in ((tmp_path / "model", None), (source, tower)):
        config = load_pretrained(folder, encoder=given).model.language.model.config
        assert config.rope_parameters == {**scaling, "rope_theta": 500_000.0}


def test_tied_embeddings_may_be_written_once_or_twice_but_not_differently(tmp_path, tower):
    embed = LANGUAGE["model.embed_tokens.weight"]
    once = {name: value for name, value in LANGUAGE.items() if name != "lm_head.weight"}
    for number, head in enumerate(({}, {"lm_head.weight": embed.clone()})):
        source = write(tmp_path / f"source{number}", {**once, **head, **CONNECTOR}, tie_word_embeddings=True)
        for folder, given in ((import_weights(source, tmp_path / f"m{number}", encoder=tower).folder, None), (source, tower)):
            model = load_pretrained(folder, encoder=given).model.language.model
            assert model.lm_head.weight is model.model.embed_tokens.weight
    source = write(tmp_path / "other", {**LANGUAGE, **CONNECTOR}, tie_word_embeddings=True)
    with pytest.raises(ModelError, match="lm_head.weight and model.embed_tokens.weight differ"):
        import_weights(source, tmp_path / "model", encoder=tower)


@pytest.mark.parametrize(("said", "aspect"), [("pad", "pad"), ("square", "crop"), (None, "crop")])
def test_pictures_are_padded_or_cropped_as_the_configuration_says(tmp_path, tower, said, aspect):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, image_aspect_ratio=said)
    assert import_weights(source, tmp_path / "model", encoder=tower).settings["aspect"] == aspect
    assert import_weights(source, tmp_path / "model", encoder=tower, settings={"aspect": "pad"}).settings["aspect"] == "pad"


def test_a_tokenizer_without_padding_works_since_padding_is_masked(tmp_path, tower):
    loaded = load_pretrained(write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}), encoder=tower)
    processor = loaded.processor
    assert processor.tokenizer.pad_token_id is None
    batches = [
        processor.collate([{"study_id": str(n), "record": {"study_id": str(n)}, **fields} for n, fields in rows])
        for rows in ([(0, {}), (1, {"indication": "cough for two weeks"})], [(0, {})])
    ]
    for batch in batches:
        batch.images = torch.zeros(1, 3, 56, 56)
        batch.index["current"] = torch.zeros(len(batch), dtype=torch.long)
    assert not batches[0].attention_mask[0].all()
    with torch.no_grad():
        both, one = (loaded.model.generate(batch, loaded.decoding) for batch in batches)
    assert both[0].token_ids == one[0].token_ids


def test_tensors_keep_their_type_in_the_model_folder(tmp_path, tower):
    half = {name: value.half() for name, value in {**LANGUAGE, **CONNECTOR}.items()}
    import_weights(write(tmp_path / "source", half), tmp_path / "model", encoder=tower)
    for file in ("language/model.safetensors", "connector.safetensors"):
        assert {v.dtype for v in load_file(str(tmp_path / "model" / file)).values()} == {torch.float16}


@pytest.mark.parametrize(
    ("drop", "add", "said"),
    [
        ("model.mm_projector.norm1.bias", None, "connector: tensors missing: current_norm.bias"),
        ("model.layers.1.mlp.up_proj.weight", None, "language model: tensors missing: model.layers.1.mlp.up_proj.weight"),
        (None, "model.layers.7.extra.weight", "language model: tensors unexpected: model.layers.7.extra.weight"),
        (None, "model.mm_projector.strange", "strange belongs to no known connector"),
    ],
)
def test_missing_and_unexpected_tensors_are_listed(tmp_path, tower, drop, add, said):
    state = {name: value for name, value in {**LANGUAGE, **CONNECTOR}.items() if name != drop}
    if add:
        state[add] = torch.zeros(2)
    with pytest.raises(ModelError, match=said):
        import_weights(write(tmp_path / "source", state), tmp_path / "model", encoder=tower)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"mm_projector_type": "TAX"}, ConfigError, "'TAX' is unknown"),
        ({"num_attention_heads": 5, "num_key_value_heads": 5, "hidden_size": 60}, ConfigError, "not divisible"),
        ({"intermediate_size": 96}, ModelError, "config.json makes it"),
        ({"mm_hidden_size": None}, ConfigError, "mm_hidden_size"),
        ({"model_type": "libra_weird"}, ConfigError, "model_type 'libra_weird' is unknown"),
        ({"mm_vision_select_layer": "some"}, ConfigError, "mm_vision_select_layer is 'some'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, tower, config, error, said):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, **config)
    if config.get("mm_hidden_size", 1) is None:
        fields = json.loads((source / "config.json").read_text())
        del fields["mm_hidden_size"]
        (source / "config.json").write_text(json.dumps(fields))
    with pytest.raises(error, match=said):
        import_weights(source, tmp_path / "model", encoder=tower)


def test_quantised_tensors_are_refused_by_name(tmp_path, tower):
    name = "model.layers.0.self_attn.q_proj.weight"
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR, name: LANGUAGE[name].to(torch.int8)})
    with pytest.raises(ModelError, match=rf"{name} is quantised \(int8\)"):
        import_weights(source, tmp_path / "model", encoder=tower)


class _Code:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_with_code_is_refused(tmp_path, tower, capsys):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "bin")
    torch.save({"model.embed_tokens.weight": _Code()}, source / "pytorch_model.bin")
    with pytest.raises(ModelError, match="may hold code"):
        import_weights(source, tmp_path / "model", encoder=tower)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(ModelError, match="refused|damaged"):
        import_weights(source, tmp_path / "model", encoder=tower)
    assert "never run" not in capsys.readouterr().out


def test_folders_that_are_no_checkpoints_are_refused(tmp_path, tower):
    (tmp_path / "empty").mkdir()
    for source, said in ((tmp_path / "missing", "does not exist"), (tmp_path / "empty", "holds no weights")):
        with pytest.raises(ModelError, match=said):
            import_weights(source, tmp_path / "model")
    other = tmp_path / "other"
    other.mkdir()
    save_file({"conv.weight": torch.zeros(3)}, str(other / "model.safetensors"))
    with pytest.raises(ModelError, match="no checkpoint of a report model"):
        import_weights(other, tmp_path / "model")
    with pytest.raises(ModelError, match="is a file. Give the folder"):
        import_weights(other / "model.safetensors", tmp_path / "model")
    language = write(tmp_path / "language", LANGUAGE)
    with pytest.raises(ModelError, match="language model alone"):
        import_weights(language, tmp_path / "model", encoder=tower)


def test_a_missing_encoder_says_which_folder_to_put_where(tmp_path):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, mm_vision_tower="nowhere/rad-dino")
    with pytest.raises(ModelError, match="nowhere/rad-dino") as error:
        import_weights(source, tmp_path / "model")
    assert "--encoder" in str(error.value)


def test_an_index_that_names_a_missing_shard_is_refused(tmp_path, tower):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "sharded")
    (source / "part-2.safetensors").unlink()
    with pytest.raises(ModelError, match="part-2.safetensors does not exist"):
        import_weights(source, tmp_path / "model", encoder=tower)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/elsewhere.bin"])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, tower, name):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "sharded")
    (source / "any.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelError, match="outside its folder"):
        import_weights(source, tmp_path / "model", encoder=tower)


def test_files_beside_an_index_are_not_read(tmp_path, tower, expected):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR}, "sharded")
    torch.save({name: value + 1 for name, value in CONNECTOR.items()}, source / "mm_tac_projector.bin")
    import_weights(source, tmp_path / "model", encoder=tower)
    _same(tmp_path / "model", expected)


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"weight_map": {"a": ["b"]}})])
def test_a_damaged_index_is_refused_by_name(tmp_path, content):
    (tmp_path / "any.bin.index.json").write_text(content)
    with pytest.raises(ModelError, match="any.bin.index.json is damaged"):
        weight_files(tmp_path)


def test_of_several_pickles_one_is_open_at_a_time(tmp_path, monkeypatch):
    for number in range(3):
        torch.save({f"t{number}": torch.full((2,), float(number))}, tmp_path / f"{number}.bin")
    files = WeightFiles(weight_files(tmp_path))
    held = []
    unpickle = readers._unpickle
    monkeypatch.setattr(readers, "_unpickle", lambda path: (held.append(files._pickle), unpickle(path))[1])
    assert [float(files.tensor(f"t{number}")[0]) for number in (0, 1, 2, 2)] == [0.0, 1.0, 2.0, 2.0]
    assert held == [None, None, None]


def test_one_name_in_two_files_must_have_one_value(tmp_path):
    save_file({"a": torch.zeros(2)}, str(tmp_path / "1.safetensors"))
    torch.save({"a": torch.ones(2)}, tmp_path / "2.bin")
    with pytest.raises(ModelError, match="tensor a stands in"):
        WeightFiles(weight_files(tmp_path))


def test_a_folder_of_other_things_is_never_replaced(tmp_path, tower):
    source = write(tmp_path / "source", {**LANGUAGE, **CONNECTOR})
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.png").write_text("x")
    with pytest.raises(ConfigError, match="is no model folder"):
        import_weights(source, tmp_path / "pictures", encoder=tower)
    assert (tmp_path / "pictures/1.png").read_text() == "x"
    for _ in range(2):  # a model folder is replaced
        import_weights(source, tmp_path / "model", encoder=tower)
