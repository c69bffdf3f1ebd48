# SPDX-License-Identifier: Apache-2.0
"""The shape of the house: imports go one way, files stay small, the wheel lists every room."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "libra_monai"
ROOMS = (
    "errors ranks precision paths files types registry text transforms data metrics losses networks inferers outputs checkpoints "
    "evaluation handlers engines apps"
).split()
# inside networks, the same order
NETWORK_ROOMS = "sharding pretrained quantize recompute summary encoders connectors language stand_in pretraining adapters report_model".split()
MODULES = sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "libra_monai" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{room} imports {parts[1]}, which is below it"
        if parts[:2] == ["libra_monai", "networks"] and room == "networks" and len(path.relative_to(PACKAGE).parts) > 1:
            own = path.relative_to(PACKAGE).parts[1].removesuffix(".py")
            if own in NETWORK_ROOMS and len(parts) > 2 and parts[2] in NETWORK_ROOMS:
                assert NETWORK_ROOMS.index(parts[2]) <= NETWORK_ROOMS.index(own), f"{own} imports {parts[2]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_under_400_lines_and_library_code_does_not_print(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0")
    if "apps" not in path.parts:
        calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert "print" not in {call.func.id for call in calls}


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = {name for name in config["options"]["packages"].split() if not name.startswith("#")}
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert listed - {"libra_monai._bundle", "libra_monai._configs"} == found


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, libra_monai, libra_monai.apps.main; print([m for m in ('torch', 'monai', 'transformers') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


def _strings(value, where=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{where}#{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _strings(item, f"{where}#{number}")
    elif isinstance(value, str):
        yield where, value


CONFIGS = sorted([*(ROOT / "bundle" / "configs").glob("*.json"), *(ROOT / "configs").rglob("*.json")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT)))
def test_configs_hold_no_free_text_and_expressions_are_one_call(path):
    for where, text in _strings(json.loads(path.read_text(encoding="utf-8"))):
        if path.name != "metadata.json":
            assert "#" not in re.sub(r"@[\w#]+", "", text), f"{where}: MONAI rewrites every # in {text!r}"
        if text.startswith("$") and not text.startswith("$import"):
            tree = ast.parse(text[1:].replace("@", "ref_").replace("#", "_"), mode="eval")
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            loops = (ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.Lambda, ast.IfExp)
            assert len(calls) <= 1 and not any(isinstance(n, loops) for n in ast.walk(tree)), where


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.json")), ids=lambda p: p.stem)
def test_overlays_are_short_and_set_only_ids_of_a_workflow(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    known = {
        key for name in ("train", "evaluate", "inference")
        for key in json.loads((ROOT / "bundle" / "configs" / f"{name}.json").read_text(encoding="utf-8"))
    }
    assert {key.removeprefix("+") for key in json.loads(text)} <= known  # "+id" adds to what a layer before said


def test_every_workflow_defines_the_ids_overlays_may_set():
    ids = (
        "encoder connector language processor prompt datalist data_root split decoding metrics device amp seed "
        "batch_size output_dir ckpt reading picture_cache"
    ).split()
    for name in ("train", "evaluate", "inference"):
        content = json.loads((ROOT / "bundle" / "configs" / f"{name}.json").read_text(encoding="utf-8"))
        text = json.dumps(content)
        for key in ids:
            assert key in content, f"{name}.json lacks {key}"
            assert f'"@{key}"' in text or f"@{key}." in text or f"@{key})" in text or f"@{key}," in text, f"{name}.json does not use {key}"
