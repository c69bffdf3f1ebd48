# SPDX-License-Identifier: Apache-2.0
"""A folder that holds only what was trained is the same model as one that holds all, as long as its base is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from libra_monai import build, paths
from libra_monai.apps.main import main
from libra_monai.checkpoints import assemble, load_pretrained, read_card, save_model
from libra_monai.checkpoints.published.exporting import export_weights
from libra_monai.errors import ModelError
from libra_monai.networks.report_model import ReportModel

from ..networks.conftest import LANGUAGE, make_model
from .runs import CARD, LORA, assert_same_model, edit_model_file, entries_of, files_of, loss_of, make_parts, make_trained


@pytest.mark.parametrize(
    ("trainable", "written"),
    [
        ({"connector": True}, ["connector.safetensors"]),
        ({"language": "lora"}, ["adapter/adapter_model.safetensors"]),
        ({"encoder": "lora"}, ["encoder_adapter/adapter_model.safetensors"]),
        ({"encoder": True, "language": "lora"}, ["adapter/adapter_model.safetensors", "encoder/model.safetensors"]),
        ({}, []),
    ],
)
def test_only_what_was_trained_is_written_and_the_model_is_the_same(tmp_path, base, processor, trainable, written):
    model = make_trained(str(base), trainable)
    full = save_model(model, processor, tmp_path / "full", CARD)
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    assert files_of(small) == written
    for loaded in (load_pretrained(small).model, assemble(*make_parts(), weights=str(small)).eval()):
        assert_same_model(loaded, load_pretrained(full).model)
        assert torch.allclose(loss_of(loaded), loss_of(model), rtol=1e-5)
    assert not any("lora" in name for name, _ in load_pretrained(small).model.named_parameters())
    for name, entry in entries_of(small).items():  # the folder that holds all says the same without its pointers
        assert {k: v for k, v in entry.items() if k not in ("base", "adapter")} == entries_of(full)[name]


def test_a_linear_connector_trained_by_lora_is_an_adapter(tmp_path, processor):
    torch.manual_seed(0)
    base = save_model(ReportModel(*make_parts(linear=True)), processor, tmp_path / "base", CARD)
    model = make_trained(str(base), {"connector": "lora"}, linear=True)
    full = save_model(model, processor, tmp_path / "full", CARD)
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    assert files_of(small) == ["connector_adapter/adapter_model.safetensors"]
    assert_same_model(load_pretrained(small).model, load_pretrained(full).model)
    whole = export_weights(small, tmp_path / "whole", "full")
    assert not (whole / "connector_adapter").exists()
    assert_same_model(load_pretrained(whole).model, load_pretrained(full).model)


def test_a_model_built_without_memory_takes_base_and_adapter(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "small", CARD, base=str(base))
    assert_same_model(assemble(*make_parts(meta=True), weights=str(small)).eval(), load_pretrained(small).model)
    again = make_trained(str(small), {"connector": True}, meta=True)
    assert files_of(save_model(again, processor, tmp_path / "again", CARD, base=str(small))) == ["connector.safetensors"]


def test_a_base_by_part_leaves_the_other_parts_whole(tmp_path, base, processor):
    model = make_trained({"encoder": str(base), "language": str(base)}, {"language": "lora"})
    small = save_model(model, processor, tmp_path / "small", CARD, base={"encoder": str(base), "language": str(base)})
    assert files_of(small) == ["adapter/adapter_model.safetensors", "connector.safetensors"]
    assert torch.equal(load_pretrained(small).model.connector.prior_bias, model.connector.prior_bias)


def test_lora_on_the_shipped_model_takes_under_15_percent_and_says_the_same(tmp_path):
    loaded = load_pretrained(paths.tiny_model())
    loaded.model.lora = {**LORA, "r": 8}
    loaded.model.set_trainable({"language": "lora"})
    torch.manual_seed(0)
    with torch.no_grad():
        [value.normal_(std=0.05) for name, value in loaded.model.named_parameters() if ".lora_B" in name]
    sizes, states = [], []
    for name, base in (("full", None), ("small", paths.tiny_model())):
        out = save_model(loaded.model, loaded.processor, tmp_path / name, CARD, base=base)
        weights = [out / file for file in files_of(out) if name == "small" or not file.startswith("adapter")]
        sizes.append(sum(path.stat().st_size for path in weights))
        states.append(load_pretrained(out).model.state_dict())
    assert sizes[1] < 0.15 * sizes[0]
    assert all(torch.allclose(states[1][key], value, atol=1e-6) for key, value in states[0].items())
    changed = load_pretrained(paths.tiny_model()).model.state_dict()
    assert sum(not torch.equal(changed[key], value) for key, value in states[1].items()) == 5 * 7  # linear layers of 5 blocks


def test_the_configuration_is_the_runs_own_and_the_weights_the_bases(tmp_path, base, processor):
    """A run may set what no tensor shows, such as the epsilon of a norm."""
    encoder, connector, _ = make_parts()
    language = build(kind="language", name="causal_lm", config={**LANGUAGE, "rms_norm_eps": 0.5})
    model = assemble(encoder, connector, language, weights=str(base)).eval()
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    assert files_of(small) == [] and not torch.allclose(loss_of(model), loss_of(load_pretrained(base).model), rtol=1e-4)
    assert torch.equal(loss_of(load_pretrained(small).model), loss_of(model))


# pointers


def test_a_frozen_part_points_at_the_folder_that_holds_it(tmp_path, base, processor):
    one = save_model(make_trained(str(base), {"connector": True}), processor, tmp_path / "one", CARD, base=str(base))
    two = save_model(make_trained(str(one), {"connector": True}), processor, tmp_path / "two", CARD, base=str(one))
    three = save_model(make_trained(str(two), {}), processor, tmp_path / "three", CARD, base=str(two))
    folders = {name: entry["base"]["folder"] for name, entry in entries_of(three).items()}
    assert folders == {"encoder": "../base", "connector": "../two", "language": "../base"}
    shutil.rmtree(one)
    assert_same_model(load_pretrained(three).model, load_pretrained(two).model)


def test_adapters_may_stand_on_adapters(tmp_path, base, processor):
    one = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "one", CARD, base=str(base))
    model = make_trained(str(one), {"language": "lora"}, seed=4)
    two = save_model(model, processor, tmp_path / "two", CARD, base=str(one))
    full = save_model(model, processor, tmp_path / "full", CARD)
    assert entries_of(two)["language"]["base"]["folder"] == "../one"
    assert entries_of(two)["encoder"]["base"]["folder"] == "../base"
    assert_same_model(load_pretrained(two).model, load_pretrained(full).model)
    assert_same_model(load_pretrained(export_weights(two, tmp_path / "whole", "full")).model, load_pretrained(full).model)
    frozen = save_model(make_trained(str(two), {"connector": True}), processor, tmp_path / "frozen", CARD, base=str(two))
    assert files_of(frozen) == ["connector.safetensors"] and entries_of(frozen)["language"]["base"]["folder"] == "../two"


@pytest.mark.parametrize("where", ["base", "base/inner"])
def test_a_folder_never_points_at_itself(tmp_path, base, processor, where):
    """It is replaced, and its own weights with it."""
    source = base if where == "base" else Path(shutil.copytree(base, base / "inner"))
    model = make_trained(str(source), {"language": "lora"})
    out = save_model(model, processor, base, CARD, base=str(source))
    assert all("base" not in entry for entry in entries_of(out).values())
    assert torch.allclose(loss_of(load_pretrained(out).model), loss_of(model), rtol=1e-5)


def test_a_folder_that_a_base_stands_on_is_not_pointed_at_through_it(tmp_path, base, processor):
    one = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "one", CARD, base=str(base))
    out = save_model(make_trained(str(one), {"language": "lora"}), processor, base, CARD, base=str(one))
    assert all("base" not in entry for entry in entries_of(out).values())


def test_a_base_that_changed_during_the_run_is_not_pointed_at(tmp_path, base, processor):
    """A run that goes on from its own `best` replaces it; `last` must not lean on the new one."""
    model = make_trained(str(base), {"language": "lora", "connector": True})
    save_model(model, processor, base, CARD, base=str(base))
    last = save_model(model, processor, tmp_path / "last", CARD, base=str(base))
    assert "base" not in entries_of(last)["language"] and "base" in entries_of(last)["encoder"]
    assert torch.allclose(loss_of(load_pretrained(last).model), loss_of(model), rtol=1e-5)


def test_a_base_that_is_no_model_folder_is_written_in_full(tmp_path, processor, caplog):
    published = tmp_path / "published"
    published.mkdir()
    (published / "config.json").write_text("{}")
    with caplog.at_level("INFO"):
        out = save_model(make_model(), processor, tmp_path / "out", CARD, base=str(published))
    assert "saved in full" in caplog.text and "is no model folder" in caplog.text
    assert len(files_of(out)) == 3 and json.loads((out / "report_model.json").read_text())["format"] == 1


def test_lora_that_its_files_cannot_say_is_written_in_full(tmp_path, base, processor):
    model = assemble(*make_parts(), weights=str(base), trainable={"language": "lora"}, lora={**LORA, "use_rslora": True}).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        [value.normal_(std=0.3) for name, value in model.named_parameters() if ".lora_B" in name]
    out = save_model(model, processor, tmp_path / "out", CARD, base=str(base))
    assert "base" not in entries_of(out)["language"]
    assert torch.allclose(loss_of(load_pretrained(out).model), loss_of(model), rtol=1e-5)


def test_half_precision_halves_what_is_written(tmp_path, base, processor):
    model = make_trained(str(base), {"connector": True, "language": "lora"})
    small, half = (save_model(model, processor, tmp_path / str(h), CARD, half=h, base=str(base)) for h in (False, True))
    for file in files_of(small):
        assert {v.dtype for v in load_file(half / file).values()} == {torch.float16}
    assert torch.allclose(loss_of(load_pretrained(half).model), loss_of(model), rtol=1e-2)


# bases that move, change and vanish


def test_run_and_base_move_together_or_apart(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "runs/a/last", CARD, base=str(base))
    want = load_pretrained(small).model
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("base", "runs"):
        (tmp_path / name).rename(moved / name)
    assert_same_model(load_pretrained(moved / "runs/a/last").model, want)  # by the relative path
    (moved / "base").rename(tmp_path / "base")
    assert_same_model(load_pretrained(moved / "runs/a/last").model, want)  # by the absolute path
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        load_pretrained(moved / "runs/a/last")
    assert str(tmp_path / "base") in caught.value.what and str(moved / "base") in caught.value.what
    assert "base=DIR" in caught.value.remedy and "--base DIR" in caught.value.remedy
    elsewhere = str(tmp_path / "elsewhere")
    assert_same_model(load_pretrained(moved / "runs/a/last", base=elsewhere).model, want)
    assert_same_model(load_pretrained(moved / "runs/a/last", base=dict.fromkeys(("encoder", "connector", "language"), elsewhere)).model, want)
    assert_same_model(assemble(*make_parts(), weights=str(moved / "runs/a/last"), base=elsewhere).eval(), want)


def test_the_end_of_a_chain_can_be_given_anew(tmp_path, base, processor):
    one = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "one", CARD, base=str(base))
    two = save_model(make_trained(str(one), {"language": "lora"}, seed=4), processor, tmp_path / "two", CARD, base=str(one))
    want = load_pretrained(two).model
    base.rename(tmp_path / "elsewhere")
    assert_same_model(load_pretrained(two, base=tmp_path / "elsewhere").model, want)


def test_a_base_that_changed_is_refused_by_name(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "small", CARD, base=str(base))
    tensors = load_file(base / "language/model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, base / "language/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"base/language/model.safetensors has changed \(sha256") as caught:
        load_pretrained(small)
    assert "`full`" in caught.value.remedy
    with pytest.raises(ModelError, match="has changed"):
        assemble(*make_parts(), weights=str(small))


def test_the_settings_of_an_adapter_are_part_of_its_hash(tmp_path, base, processor):
    one = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "one", CARD, base=str(base))
    two = save_model(make_trained(str(one), {}), processor, tmp_path / "two", CARD, base=str(one))
    path = one / "adapter/adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 6', '"lora_alpha": 60'))
    with pytest.raises(ModelError, match="has changed"):
        load_pretrained(two)


def test_another_architecture_behind_a_pointer_is_refused(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "small", CARD, base=str(base))
    torch.manual_seed(0)
    other = save_model(ReportModel(*make_parts(linear=True)), processor, tmp_path / "other", CARD)
    edit_model_file(small, lambda content: content["parts"]["connector"]["base"].update(folder="../other", absolute=str(other)))
    with pytest.raises(ModelError, match="other holds connector 'linear', and not 'tac'"):
        load_pretrained(small)


def test_a_base_of_other_sizes_is_refused_even_with_its_hash(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {}), processor, tmp_path / "small", CARD, base=str(base))
    encoder, connector, _ = make_parts()
    language = build(kind="language", name="causal_lm", config={**LANGUAGE, "intermediate_size": 64})
    other = save_model(ReportModel(encoder, connector, language), processor, tmp_path / "other", CARD)
    sha = hashlib.sha256((other / "language/model.safetensors").read_bytes()).hexdigest()
    edit_model_file(small, lambda content: content["parts"]["language"]["base"].update(folder="../other", absolute=str(other), sha256=sha))
    with pytest.raises(ModelError, match="other/language"):
        load_pretrained(small)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: edit_model_file(f, lambda c: c["parts"]["language"].update(base="../base")), "`base` of language is no pointer"),
        (lambda f: edit_model_file(f, lambda c: c["parts"]["language"]["base"].update(folder=".", absolute=".")), "circle"),
        (lambda f: edit_model_file(f, lambda c: c.update(format=9)), "format 9"),
        (lambda f: (f / "adapter/adapter_config.json").unlink(), "adapter_config.json does not exist"),
        (lambda f: (f / "adapter/adapter_model.safetensors").write_bytes(b"x"), "is damaged"),
        (lambda f: shutil.rmtree(f.parent / "base" / "encoder"), "encoder.* is missing|does not exist"),
    ],
)
def test_a_damaged_pointer_folder_is_refused_by_name(tmp_path, base, processor, damage, says):
    small = save_model(make_trained(str(base), {"language": "lora"}), processor, tmp_path / "small", CARD, base=str(base))
    damage(small)
    with pytest.raises(ModelError, match=says) as caught:
        load_pretrained(small)
    assert caught.value.remedy


def test_an_adapter_of_another_part_is_refused(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {"encoder": "lora"}), processor, tmp_path / "small", CARD, base=str(base))
    path = small / "encoder_adapter/adapter_model.safetensors"
    save_file({key.replace(".layer.0.", ".layer.8."): value for key, value in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="adapter changes encoder.layer.8"):
        load_pretrained(small)


def test_a_base_is_read_and_never_written(tmp_path, base, processor):
    model = make_trained(str(base), {"language": "lora"})
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in base.rglob("*") if p.is_file()}
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    load_pretrained(small)
    for layout in ("transformers", "full"):
        export_weights(small, tmp_path / layout, layout)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in base.rglob("*") if p.is_file()}


def test_the_card_of_a_pointer_folder_marks_its_descendants(tmp_path, base, processor):
    small = save_model(make_trained(str(base), {}), processor, tmp_path / "small", CARD, base=str(base))
    assert read_card(str(small))["training_data"] == "synthetic"


# whole again


def test_a_folder_made_whole_needs_no_base(tmp_path, base, processor):
    model = make_trained(str(base), {"language": "lora", "encoder": "lora"})
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    full = save_model(model, processor, tmp_path / "full", CARD)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="cannot be used"):
        export_weights(small, tmp_path / "whole", "full")
    assert not (tmp_path / "whole").exists()
    whole = export_weights(small, tmp_path / "whole", "full", base=tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere")
    assert files_of(whole) == files_of(full) and entries_of(whole) == entries_of(full)
    assert not any(path.is_symlink() for path in whole.rglob("*"))
    assert_same_model(load_pretrained(whole).model, load_pretrained(full).model)


def test_an_export_of_a_pointer_folder_is_that_of_the_whole(tmp_path, base, processor):
    model = make_trained(str(base), {"language": "lora", "connector": True})
    plain = export_weights(base, tmp_path / "plain", "transformers")
    for layout, file in (("transformers", "model.safetensors"), ("peft", "adapter_model.safetensors")):
        tensors = []
        for name, given in (("small", str(base)), ("full", None)):
            folder = save_model(model, processor, tmp_path / name, CARD, base=given)
            tensors.append(load_file(export_weights(folder, tmp_path / f"{name}-{layout}", layout, base=plain) / file))
        one, two = tensors
        assert set(one) == set(two) and all(torch.allclose(one[key], two[key], atol=1e-7) for key in one)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_command_line_makes_a_folder_whole(tmp_path, base, processor, capsys):
    model = make_trained(str(base), {"language": "lora"})
    small = str(save_model(model, processor, tmp_path / "small", CARD, base=str(base)))
    base.rename(tmp_path / "elsewhere")
    command = ["export-weights", small, "--layout", "full", "--out", str(tmp_path / "whole")]
    assert main(command) == 2
    assert f"{base} does not exist" in capsys.readouterr().err
    assert main([*command, "--base", str(tmp_path / "elsewhere")]) == 0
    assert torch.allclose(loss_of(load_pretrained(tmp_path / "whole").model), loss_of(model), rtol=1e-5)


def test_the_command_line_reports_with_a_base_given_anew(tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)).save(tmp_path / "a.png")
    base = Path(shutil.copytree(paths.tiny_model(), tmp_path / "base"))
    loaded = load_pretrained(base)
    loaded.model.lora = LORA
    loaded.model.set_trainable({"language": "lora"})
    torch.manual_seed(0)
    with torch.no_grad():
        [value.normal_(std=0.05) for name, value in loaded.model.named_parameters() if ".lora_B" in name]
    full = save_model(loaded.model, loaded.processor, tmp_path / "full", CARD)
    small = save_model(loaded.model, loaded.processor, tmp_path / "small", CARD, base=base)
    base.rename(tmp_path / "elsewhere")
    said = []
    for name, more in (("full", ["--model", str(full)]), ("small", ["--model", str(small), "--base", str(tmp_path / "elsewhere")])):
        assert main(["report", "--current", str(tmp_path / "a.png"), "--out", str(tmp_path / f"out-{name}"), *more]) == 0
        said.append((tmp_path / f"out-{name}" / "a.txt").read_text())
    assert said[0] == said[1] and "NOT REVIEWED" in said[0]
    assert main(["report", "--current", str(tmp_path / "a.png"), "--out", str(tmp_path / "none"), "--model", str(small)]) == 2
    assert "--base DIR" in capsys.readouterr().err
