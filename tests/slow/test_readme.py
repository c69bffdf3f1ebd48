# SPDX-License-Identifier: Apache-2.0
"""The commands of the README and the guides work as they are printed, in an empty directory."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..checkpoints.published import CONNECTOR, LANGUAGE, write, write_tower

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the bundle, the overlays, the tests and two pictures, and the environment under `.venv`."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("bundle", "configs", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    rng = np.random.default_rng(0)
    for name in ("current", "prior"):
        Image.fromarray(rng.integers(0, 256, (90, 80), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def _shell(command, cwd):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


COMMANDS = [
    line for block in _blocks(README, "bash") for line in block.splitlines() if line and not line.startswith("make ")
]


def _serves(command, cwd):
    """Start the server of the README on a free port, see it answer, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(Path(sys.executable).parent / "libra-monai"), *shlex.split(command)[1:], "--port", str(port)]
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/libra/worklist") as answer:
                return json.load(answer)["studies"]
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            time.sleep(0.5)
        raise AssertionError(f"{command} did not answer")
    finally:
        process.terminate()
        process.wait(60)


def test_the_readme_commands_work_in_their_order(place):
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        if "libra-monai label " not in command:
            _shell(command, place)
        elif importlib.util.find_spec("monailabel"):  # `make label` brings it
            assert _serves(command, place)
    assert (place / "runs" / "draft" / "report.html").is_file()
    assert (place / "runs" / "score" / "metrics.json").is_file()
    assert (place / "runs" / "one" / "predictions.jsonl").is_file()


def test_the_readme_python_works(place):
    _shell(next(command for command in COMMANDS if " phantom " in command), place)
    code = _blocks(README, "python")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "NOT REVIEWED" in done.stdout.splitlines()[0]


def test_the_guide_to_published_weights_works_on_tiny_ones(place):
    guide = (ROOT / "docs" / "published-weights.md").read_text(encoding="utf-8")
    downloads, commands = [], []
    for line in _blocks(guide, "")[0].splitlines():
        (downloads if line.startswith("hf download") else commands).append(line)
    assert len(downloads) == 2 and len(commands) == 2
    folders = [line.split()[-1] for line in downloads]
    write(place / folders[0], {**LANGUAGE, **CONNECTOR})
    write_tower(place / folders[1])
    for command in commands:
        _shell(command.replace("--dtype float16", "--dtype bfloat16"), place)  # what CPUs compute
    assert (place / "runs" / "libra" / "report.html").is_file()
    assert "the same" in _shell(f"libra-monai verify-parity {ROOT}/tests/parity/reference", place)


@pytest.mark.parametrize("mix", [False, True], ids=["one", "mix"])
def test_the_metric_of_the_guide_decides_what_is_best(place, tmp_path, mix):
    guide = (ROOT / "docs" / "custom-metric.md").read_text(encoding="utf-8")
    (tmp_path / "my_metrics.py").write_text(_blocks(guide, "python")[0])
    overlay, mixed = (json.loads(block) for block in _blocks(guide, "json"))
    if mix:
        overlay["metrics"].append({"_target_": "libra_monai.build", "kind": "metric", "name": "change_f1"})
        overlay |= mixed
    (tmp_path / "my_metric.json").write_text(json.dumps(overlay))
    command = (
        "libra-monai run train stage/align my_metric.json --max_epochs 1 --train_limit 4 --val_limit 4 --output_dir runs/mine "
        f"--save_interval null --data_root {place}/runs/phantom 2>&1"
    )
    assert re.search(r"saved runs/mine/best: \d\.\d+ by " + ("a mix" if mix else "side_recall"), _shell(command, tmp_path))


def test_the_plugin_of_the_guide_trains(place, tmp_path):
    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    (tmp_path / "mean_pool_plugin.py").write_text(_blocks(guide, "python")[0])
    (tmp_path / "mine.json").write_text(_blocks(guide, "json")[0])
    info = tmp_path / "mean_pool_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-pool-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[libra_monai.plugins]\nmean_pool = mean_pool_plugin\n")
    (tmp_path / "bundle").symlink_to(ROOT / "bundle")
    command = (
        f"PYTHONPATH={tmp_path} libra-monai run train mine.json --max_epochs 1 --train_limit 4 --val_limit 2 "
        f"--data_root {place}/runs/phantom"
    )
    _shell(command, tmp_path)
    assert '"mean_pool"' in (tmp_path / "runs" / "train" / "last" / "report_model.json").read_text()
