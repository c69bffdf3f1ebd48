# SPDX-License-Identifier: Apache-2.0
"""Overlays set only ids that every workflow they are for knows, and answer one question each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libra_monai.apps.workflow import check_ids, read_layer
from libra_monai.types import decoding_from

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {name: read_layer(str(ROOT / "bundle/configs" / f"{name}.json")) for name in ("train", "evaluate", "inference")}
OVERLAYS = sorted((ROOT / "configs").rglob("*.json"))
COMMON = {
    "encoder", "connector", "language", "processor", "prompt", "datalist", "data_root", "split", "decoding", "metrics",
    "device", "amp", "parallel", "seed", "batch_size", "output_dir", "ckpt", "reading", "picture_cache",
}  # fmt: skip


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_an_overlay_fits_its_workflows_and_stays_small(path):
    text = path.read_text(encoding="utf-8")
    layer = json.loads(text)
    wanted = ["train"] if path.parent.name == "stage" else list(WORKFLOWS)
    for name in wanted:
        check_ids([WORKFLOWS[name], layer], [name, str(path)], {})
    assert text.count("\n") <= 40 and "#" not in text
    if path.parent.name != "stage":
        assert set(layer) <= COMMON


def test_the_small_models_overlay_is_what_the_workflows_use_by_themselves():
    layer = read_layer(str(ROOT / "configs/model/libra_tiny.json"))
    for name, workflow in WORKFLOWS.items():
        assert {key: workflow[key] for key in layer} == layer, name


def test_every_workflow_defines_the_ids_that_overlays_may_set():
    for name, workflow in WORKFLOWS.items():
        assert set(workflow) >= COMMON, name


def test_all_workflows_generate_alike():
    """Validation in training, evaluation, inference, the Python interface and `decode/greedy` are one decoding."""
    greedy = read_layer(str(ROOT / "configs/decode/greedy.json"))["decoding"]
    assert all(workflow["decoding"] == greedy for workflow in WORKFLOWS.values())
    assert decoding_from(greedy) == decoding_from(None)  # what `load_pretrained(...).report` does
