# SPDX-License-Identifier: Apache-2.0
"""The page of benchmarks holds what they printed, and a benchmark without a result is an error."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from libra_monai.apps.bench import BENCHMARKS
from libra_monai.apps.main import main

CLONE = Path(__file__).resolve().parents[2]
STREAMS = ("growing cache", "static cache", "compiled", "compiled, reduce-overhead")


def _clone(folder, script):
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "generation.py").write_text(script, encoding="utf-8")
    return folder


def test_every_benchmark_of_the_list_stands_in_the_clone():
    assert all((CLONE / "benchmarks" / f"{name}.py").is_file() for name in BENCHMARKS)


def test_the_page_holds_what_was_printed(tmp_path, capsys):
    clone = _clone(tmp_path, "import json\nprint('a table')\nprint(json.dumps({'ratio': 2.5}))\n")
    assert main(["bench", "--only", "generation", "--root", str(clone)]) == 0
    page = (clone / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    printed = page.split("```\n")[1].splitlines()
    assert printed[0] == "a table" and json.loads(printed[1]) == {"ratio": 2.5}
    assert "load" in page and "CPU cores" in page


def test_a_benchmark_without_a_result_is_an_error_and_leaves_the_page(tmp_path, capsys):
    clone = _clone(tmp_path, "print('no result')\n")
    (clone / "docs").mkdir()
    (clone / "docs" / "benchmarks.md").write_text("old", encoding="utf-8")
    assert main(["bench", "--only", "generation", "--root", str(clone)]) == 2
    assert "no result" in capsys.readouterr().err
    assert (clone / "docs" / "benchmarks.md").read_text(encoding="utf-8") == "old"


def test_an_unknown_benchmark_and_a_folder_that_is_no_clone_are_refused(tmp_path, capsys):
    assert main(["bench", "--only", "generatoin"]) == 2 and "generation" in capsys.readouterr().err
    assert main(["bench", "--root", str(tmp_path)]) == 2 and "clone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("generation_gpu", ["--shapes", "tiny", "7b", "--rounds", "1", "--new-tokens", "3", "--studies", "2"]),
        ("refill", ["--patients", "2", "--places", "3", "--rounds", "1", "--new-tokens", "6"]),
    ],
)
def test_scripts_for_other_machines_and_sizes_run_small(monkeypatch, capsys, name, options):
    monkeypatch.syspath_prepend(str(CLONE / "benchmarks"))
    monkeypatch.setattr(sys, "argv", [name, *options])
    threads = torch.get_num_threads()
    runpy.run_path(str(CLONE / "benchmarks" / f"{name}.py"), run_name="__main__")
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result["benchmark"] == name
    if name == "refill":
        assert all(row["same_tokens"] for row in result["results"])
    else:
        assert result["tiny"]["beams"]["ratio"] > 0 and set(result["tiny"]["single_stream"]["streams"]) == set(STREAMS)
        assert torch.cuda.is_available() or (result["7b"] == "needs a GPU" and "7b: needs a GPU" in printed)
