# SPDX-License-Identifier: Apache-2.0
"""Overlays of published models have the published shapes, and say what to do where the weights are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from libra_monai import registry
from libra_monai.apps.main import main
from libra_monai.checkpoints import published_folder
from libra_monai.errors import ModelError
from libra_monai.networks.report_model import ReportModel

ROOT = Path(__file__).resolve().parents[2]
# overlay -> parameters of connector and language model, in the published checkpoints
SIZES = {
    "libra_7b": (61_773_111, 6_738_554_880),
    "libra_3b": (38_962_487, 3_212_749_824),
    "maira2_7b": (53_493_760, 6_738_415_616),
    "med_cxrgen_findings": (20_979_712, 6_738_415_616),
    "med_cxrgen_impression": (20_979_712, 6_738_415_616),
    "llava_med_7b": (20_979_712, 7_241_732_096),
    "llava_rad_7b": (19_931_136, 6_738_415_616),
}
OVERLAYS = sorted(p.stem for p in (ROOT / "configs/model").glob("*.json") if "published_folder" in p.read_text())


def _parts(name):
    layer = json.loads((ROOT / "configs/model" / f"{name}.json").read_text())
    with torch.device("meta"):
        return {key: ConfigParser({"x": layer[key]}).get_parsed_content("x") for key in ("encoder", "connector", "language")}


def test_every_published_overlay_is_counted():
    assert OVERLAYS == sorted(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_published_stack_has_the_published_number_of_parameters_and_fits_together(name):
    parts = _parts(name)
    counts = [sum(p.numel() for p in parts[key].parameters()) for key in ("connector", "language")]
    assert tuple(counts) == SIZES[name]
    model = ReportModel(**parts)
    features = model.encoder(torch.empty(2, 3, *(model.encoder.image_size,) * 2, device="meta")).layers
    assert features.shape == (2, model.encoder.num_layers, model.encoder.num_tokens, model.encoder.width)
    fused = features[:, -1]
    tac = hasattr(model.connector, "fuse")
    tokens = model.connector.output_mlp(model.connector.fuse(fused, fused)) if tac else model.connector.projection(fused)
    assert tokens.shape == (2, model.encoder.num_tokens, model.language.hidden_size)


@pytest.mark.parametrize("name", SIZES)
def test_a_published_template_and_prompt_exist(name):
    layer = json.loads((ROOT / "configs/model" / f"{name}.json").read_text())
    assert registry.find("template", layer["processor"]["template"]).stop


def test_a_missing_folder_says_what_to_download_and_how_to_import_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="X-iZhang/libra-v1.0-7b"):
        published_folder("libra_7b")
    words = ["run", "inference", "model/libra_3b", "--current", "x.png", "--output_dir", "out"]
    assert main(words) != 0
    said = capsys.readouterr().err
    assert "libra-monai import-weights" in said and "models/libra_3b" in said and "Traceback" not in said
