# SPDX-License-Identifier: Apache-2.0
"""`import-weights` and `export-weights` say what they found, what they chose, and what is wrong."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from libra_monai.apps.main import main
from libra_monai.checkpoints import load_pretrained

from ..checkpoints.published import CONNECTOR, LANGUAGE, write, write_tower


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A published folder and its encoder."""
    folder = tmp_path_factory.mktemp("place")
    return write(folder / "source", {**LANGUAGE, **CONNECTOR}, vocab_size=32_017), str(write_tower(folder / "rad-dino"))


def test_import_prints_kind_rule_settings_and_counts(place, tmp_path, capsys):
    source, tower = place
    words = ["import-weights", str(source), "--out", str(tmp_path / "model"), "--encoder", tower, "--fill", "135"]
    assert main([*words, "--num-bos", "1", "--template", "v1"]) == 0
    said = capsys.readouterr().out
    assert f"{source}: whole" in said and "rule: TAC on a Llama 2 vocabulary (Libra-7B)" in said
    for line in ("fill 135  (given)", "num_bos 1  (given)", "template v1  (given)", "aspect pad\n"):
        assert line in said
    assert "connector: 54 tensors, all of them found and used" in said
    saved = json.loads((tmp_path / "model/processor.json").read_text())
    assert (saved["fill"], saved["num_bos"], saved["template"]) == (135, 1, "v1")


def test_out_and_in_again_is_the_same_model_and_it_reports(place, tmp_path, capsys):
    source, tower = place
    one, out, two = (str(tmp_path / name) for name in ("one", "out", "two"))
    assert main(["import-weights", str(source), "--out", one, "--encoder", tower]) == 0
    assert main(["export-weights", one, "--out", out]) == 0
    assert "original, " in capsys.readouterr().out
    assert main(["import-weights", out, "--out", two]) == 0
    assert "rule: none needed, the export kept the settings" in capsys.readouterr().out
    first, second = (load_pretrained(folder).model.state_dict() for folder in (one, two))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    Image.linear_gradient("L").save(tmp_path / "x.png")
    drafts = [load_pretrained(folder).report(tmp_path / "x.png").text for folder in (one, out, two)]
    assert drafts[0] == drafts[1] == drafts[2]


def test_mistakes_end_in_one_line_and_status_2(place, tmp_path, capsys):
    source, tower = place
    assert main(["import-weights", str(tmp_path / "none"), "--out", str(tmp_path / "m")]) == 2
    assert "none does not exist" in capsys.readouterr().err
    assert main(["import-weights", str(source), "--out", str(tmp_path / "m"), "--encoder", tower, "--template", "libra_v2"]) == 2
    assert "Did you mean 'libra_v" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    assert main(["import-weights", str(source), "--out", str(tmp_path / "m"), "--encoder", tower]) == 0
    assert main(["export-weights", str(tmp_path / "m"), "--out", str(tmp_path / "m")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export-weights", str(tmp_path / "m"), "--out", str(tmp_path / "o"), "--layout", "pfet"]) == 2
    assert "Did you mean 'peft'" in capsys.readouterr().err
    assert main(["export-weights", str(tmp_path / "m"), "--out", str(tmp_path / "o"), "--layout", "peft"]) == 2
    said = capsys.readouterr().err
    assert "--base" in said and "Traceback" not in said
