# SPDX-License-Identifier: Apache-2.0
"""The same numbers, prompts, ids and tokens as the original, by the function behind `verify-parity`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from libra_monai.apps.main import main
from libra_monai.checkpoints.parity import CASES, verify_parity

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="module")
def comparisons():
    """All comparisons of the shipped reference files."""
    return verify_parity(REFERENCE)[0]


def test_every_kind_of_case_is_among_the_reference_files(comparisons):
    ran = {c.case for c in comparisons}
    for pattern in CASES:
        assert any(Path(name).match(pattern) for name in ran), pattern


def test_every_comparison_is_equal(comparisons):
    missed = [c for c in comparisons if not c.equal]
    assert not missed
    assert len(comparisons) >= 25


def test_gradients_and_tokens_are_among_the_comparisons(comparisons):
    said = " ".join(c.what for c in comparisons)
    assert "gradients" in said and "greedy" in said and "beam" in said and "training loss" in said


def _copy(names, folder):
    for name in names:
        shutil.copyfile(REFERENCE / name, folder / name)


def test_the_command_prints_every_error_and_exits_0(tmp_path, capsys):
    _copy(["sections.json", "temporal_f1.json"], tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert main(["verify-parity", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "sections.json: reports: 0 (allowed 0)" in said and "notes.txt: not a parity case" in said
    assert said.rstrip().endswith("0 missed: the same")


def test_one_changed_word_is_a_miss_and_exits_1(tmp_path, capsys):
    content = json.loads((REFERENCE / "prompts.json").read_text())
    content["templates"]["libra_v1"]["generation"] += " "
    (tmp_path / "prompts.json").write_text(json.dumps(content))
    assert main(["verify-parity", str(tmp_path)]) == 1
    assert "MISS   prompts.json: generation" in capsys.readouterr().out


def test_one_changed_number_is_a_miss(tmp_path):
    _copy(["tac_config.json"], tmp_path)
    tensors = load_file(str(REFERENCE / "tac_real_b2.safetensors"))
    tensors["output"][0, 0, 0] += 1e-5
    save_file(tensors, str(tmp_path / "tac_real_b2.safetensors"))
    output, *gradients = verify_parity(tmp_path)[0]
    assert not output.equal and len(gradients) == 2 and all(c.equal for c in gradients)


def test_a_case_without_its_companions_is_a_miss_that_says_why(tmp_path):
    _copy(["tac_real_b2.safetensors"], tmp_path)
    (found,), _ = verify_parity(tmp_path)
    assert not found.equal and "tac_config.json" in found.reason


def test_a_damaged_file_is_a_miss_and_the_others_go_on(tmp_path):
    _copy(["sections.json"], tmp_path)
    (tmp_path / "temporal_f1.json").write_text("{")
    by_case = {c.case: c for c in verify_parity(tmp_path)[0]}
    assert by_case["sections.json"].equal and not by_case["temporal_f1.json"].equal


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_cases_is_refused(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert main(["verify-parity", str(tmp_path / folder)]) == 2
    assert folder in capsys.readouterr().err
