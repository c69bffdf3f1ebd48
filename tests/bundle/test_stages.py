# SPDX-License-Identifier: Apache-2.0
"""Stages train what they say, with the original's numbers where they are called published."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from libra_monai.apps.workflow import LibraWorkflow, read_layer
from libra_monai.checkpoints import load_pretrained
from libra_monai.networks.adapters import LORA
from libra_monai.networks.sharding import layers_of

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ("align_published", "finetune_lora_published", "finetune_full_published")
# id -> value, from `scripts/pretrain.sh`, `finetune_lora.sh` and `finetune.sh` of the original
SAME = {
    "batch_size": 16, "learning_rate": 2e-5, "max_grad_norm": None, "amp": True, "augment": [], "num_workers": 4,
    "+language": {"gradient_checkpointing": True},
}  # fmt: skip
EPOCHS = {"align_published": 1, "finetune_lora_published": 3, "finetune_full_published": 3, "finetune_qlora": 3}
SHORT = {
    "max_epochs": 1, "train_limit": 4, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 8}, "num_workers": 0,
}  # fmt: skip


def _layer(name):
    return read_layer(str(ROOT / "configs/stage" / f"{name}.json"))


def _workflow(phantom, out, overlays, **more):
    given = {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out), **SHORT, **more}
    return LibraWorkflow("train", overlays, given)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_stages_have_the_originals_numbers(name):
    layer = _layer(name)
    assert {key: layer[key] for key in SAME} == SAME and layer["max_epochs"] == EPOCHS[name]


@pytest.mark.parametrize("name", ["finetune_lora_published", "finetune_qlora"])
def test_published_adapters_are_the_packages_own_defaults(name):
    layer = _layer(name)
    assert layer["lora"] == {key: value for key, value in LORA.items() if key != "bias"}
    assert layer["max_epochs"] == EPOCHS[name]


def test_the_optimiser_is_adamw_without_decay_and_warms_up_three_per_cent(phantom, tmp_path):
    workflow = _workflow(phantom, tmp_path, ["stage/align_published"], amp=False)
    workflow.initialize()
    optimizer = workflow.parser.get_parsed_content("optimizer_def")
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.0)


def test_muon_goes_with_a_stage_that_trains_encoder_and_connector(phantom, tmp_path):
    workflow = _workflow(phantom, tmp_path, ["stage/pretrain_encoder", "stage/muon"], **{"optimizer_def#matrix_lr": 0.004})
    workflow.initialize()
    optimizer = workflow.parser.get_parsed_content("optimizer_def")
    hidden = [group for group in optimizer.param_groups if group["muon"]]
    assert {group["name"] for group in hidden} == {"encoder matrices, hidden", "connector matrices, hidden"}
    assert {group["lr"] for group in hidden} == {0.004}
    network = workflow.parser.get_parsed_content("network")
    assert sum(len(group["params"]) for group in hidden) == 6 * len(layers_of(network.encoder)) + 1  # attention, MLP; the connector here is linear


@pytest.mark.parametrize(
    ("overlays", "trained"),
    [
        (["stage/align_published"], {"connector"}),
        (["stage/finetune_lora_published"], {"language"}),
        (["stage/finetune_full_published"], {"language"}),
        (["stage/finetune_full"], {"language"}),
        (["stage/align", "stage/mixed_tasks"], {"connector"}),
        pytest.param(
            ["stage/finetune_qlora"],
            {"language"},
            marks=pytest.mark.skipif(not find_spec("bitsandbytes"), reason="pip install 'libra-monai[quantize]'"),
        ),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else None,
)
def test_a_stage_runs_and_changes_only_what_it_trains(phantom, tmp_path, overlays, trained):
    workflow = _workflow(phantom, tmp_path, overlays)
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    workflow.run()
    workflow.finalize()
    changed = {name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == trained
    assert load_pretrained(tmp_path / "last").card["training_data"] == "synthetic"


def test_mixed_tasks_learn_the_answers_of_a_datalist_that_has_questions(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    asked = {"question": "Is there a pleural effusion?", "answer": "No."}
    content["training"] = [{**item, **asked} for item in content["training"][:2]]
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    workflow = _workflow(phantom, tmp_path / "out", ["stage/align", "stage/mixed_tasks"], datalist=str(tmp_path / "datalist.json"))
    workflow.initialize()
    dataset = workflow.parser.get_parsed_content("train#dataset")
    assert [item["prompt"] for item in dataset.data] == ["findings", "impression", "question"] * 2
    workflow.run()
    workflow.finalize()
    assert (tmp_path / "out/last/report_model.json").is_file()


def test_an_overlay_adds_to_the_language_model_of_the_overlay_before_it():
    workflow = LibraWorkflow("train", ["model/libra_7b", "stage/finetune_qlora"], {})
    language = workflow.parser.get()["language"]
    assert language["config"]["hidden_size"] == 4096 and language["meta"]
    assert language["quantize"] == "nf4" and language["gradient_checkpointing"]


def test_a_mixture_is_said_as_the_guide_says_it(phantom, tmp_path):
    guide = (ROOT / "docs/training.md").read_text()
    text = guide.split("```json\n")[1].split("```")[0]
    for corpus in ("mimic_cxr", "chexpert_plus"):
        text = text.replace(f"runs/{corpus}/datalist.json", str(phantom / "datalist.json")).replace(f"data/{corpus}", str(phantom))
    (tmp_path / "mixture.json").write_text(text)
    workflow = _workflow(phantom, tmp_path / "out", [str(tmp_path / "mixture.json")])
    workflow.initialize()
    batch = next(iter(workflow.parser.get_parsed_content("train#dataloader")))
    dataset = workflow.parser.get_parsed_content("train#dataset")
    assert dataset.weights == [0.75, 0.25] and len(dataset.groups) == 2 and len(dataset) == len(dataset.data)
    assert len(batch) == 2 and not batch.failures
