# SPDX-License-Identifier: Apache-2.0
"""`libra-monai zoo`: built, checked, unpacked into an empty folder, run from another directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "model-zoo.md"


def test_the_archive_drafts_from_another_directory_what_the_clone_drafts(phantom, records, tiny, tmp_path):
    made = [sys.executable, "-m", "libra_monai", "zoo", "--out", str(tmp_path / "made")]
    done = subprocess.run(made, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()[2:]
    assert lines.pop() == "All checks passed"
    assert all(line.startswith(("ok ", "skip ")) for line in lines)
    names = re.findall(r"^ok +([\w ]+):", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line[6:].split(":")[0] for line in lines] == names

    with zipfile.ZipFile(next((tmp_path / "made").glob("*.zip"))) as archive:
        archive.extractall(tmp_path / "empty")
    (root,) = (tmp_path / "empty").iterdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    record = next(r for r in records if r["prior"])
    files = {"current": str(phantom / record["current"]), "prior": str(phantom / record["prior"])}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(root / "configs" / "inference.json")]
    for name, value in files.items():
        command += [f"--{name}", value]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    line = json.loads((elsewhere / "runs/inference/predictions.jsonl").read_text())
    assert line["prediction"] == tiny.report(**files).text and line["prior_used"]
    assert [path.name for path in elsewhere.iterdir()] == ["runs"]
