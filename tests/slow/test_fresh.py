# SPDX-License-Identifier: Apache-2.0
"""What a new user does, in fresh environments: the wheel in an empty directory, the demo in a fresh clone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def _run(command, cwd, **options):
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel_env(tmp_path_factory):
    """A fresh environment with the wheel and its dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    _run(["git", "clone", "--quiet", str(ROOT), str(source)], folder)
    _run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)], folder)
    shutil.rmtree(source)
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    _run([*pip, "torch"], folder)
    _run([*pip, str(next(folder.glob("*.whl")))], folder)
    return folder / "venv" / "bin"


def test_the_wheel_works_alone_in_an_empty_directory(wheel_env, tmp_path):
    _run([wheel_env / "libra-monai", "doctor"], tmp_path)
    _run([wheel_env / "libra-monai", "phantom", "--out", "p", "--patients", "2", "--seed", "8", "--size", "256"], tmp_path)
    current = next((tmp_path / "p").rglob("*.dcm"))
    said = _run([wheel_env / "libra-monai", "report", "--current", str(current), "--out", "draft"], tmp_path)
    assert "NOT REVIEWED" in said.splitlines()[0]
    assert (tmp_path / "draft" / "report.html").is_file()
    where = _run([wheel_env / "python", "-c", "from libra_monai import paths; print(paths.bundle_root())"], tmp_path)
    assert "site-packages" in where
    config = Path(where.strip()) / "configs" / "inference.json"
    _run([wheel_env / "python", "-m", "monai.bundle", "run", "--config_file", str(config), "--limit", "1"], tmp_path)
    assert (tmp_path / "runs" / "inference" / "predictions.jsonl").is_file()
    _run([wheel_env / "libra-monai", "run", "train", "stage/align", "--max_epochs", "1", "--train_limit", "4",
          "--val_limit", "2"], tmp_path)  # fmt: skip
    assert (tmp_path / "runs" / "train" / "last" / "report_model.json").is_file()


def test_monai_label_comes_beside_torch_numpy_and_pydicom_as_they_are_and_serves(wheel_env, tmp_path):
    kept = "import torch, numpy, pydicom; print(torch.__version__, numpy.__version__, pydicom.__version__)"
    before = _run([wheel_env / "python", "-c", kept], tmp_path)
    said = _run([wheel_env / "libra-monai", "label", "--install"], tmp_path)
    assert "monailabel 0.8.5" in said and "unchanged: torch" in said
    assert _run([wheel_env / "python", "-c", kept], tmp_path) == before
    absent = "import importlib.util as u; print([n for n in ('torchvision', 'itk', 'sam2', 'numpymaxflow') if u.find_spec(n)])"
    assert _run([wheel_env / "python", "-c", absent], tmp_path).strip() == "[]"
    _run([wheel_env / "libra-monai", "phantom", "--out", "p", "--patients", "1", "--seed", "8", "--size", "256"], tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [wheel_env / "libra-monai", "label", "--studies", "p", "--port", str(port), "--device", "cpu"]
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    server = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert any(f"http://127.0.0.1:{port}/libra/" in line for line in server.stdout)
        with urlopen(f"http://127.0.0.1:{port}/libra/worklist", timeout=30) as answer:
            image = json.loads(answer.read())["studies"][0]["id"]
        with urlopen(Request(f"http://127.0.0.1:{port}/infer/chest_xray_report?image={image}", method="POST"), timeout=120) as answer:
            assert json.loads(answer.read())["study_id"] == image
        with urlopen(f"http://127.0.0.1:{port}/libra/", timeout=30) as answer:
            assert b"page/app.js" in answer.read()  # the wheel carries the page
    finally:
        server.terminate()
        assert server.wait(60) == 0


def test_a_fresh_clone_runs_the_demo_and_reuses_the_installation(tmp_path):
    clone = tmp_path / "clone"
    _run(["git", "clone", "--quiet", str(ROOT), str(clone)], tmp_path)
    said = _run(["make", "demo", "PYTHON=python3"], clone)
    out = clone / "runs" / "demo"
    scores = json.loads((out / "metrics.json").read_text())
    assert scores["finding_side_micro_f1"]["value"] > 0.5
    for ending in ("sr.dcm", "basic_sr.dcm", "fhir.json", "html", "pdf.dcm", "txt"):
        assert len(list((out / "drafts").glob(f"*.{ending}"))) == 2, ending
    page = (out / "report.html").read_text()
    assert page.count("<article>") >= 10 and "95 % interval" in page and "Does the model look?" in page
    assert list((out / "tensorboard").iterdir()) and list((out / "align" / "tensorboard").iterdir())
    assert said.index("1  Drafts for two sample") < said.index("2  ") < said.index("tensorboard --logdir")
    assert "Installing" in said and "Installing" not in _run(["make", "install"], clone)


def test_the_recipe_of_the_small_model_runs_from_nothing(tmp_path):
    """Two patients' worth of every stage; the whole recipe takes over an hour and is run by hand."""
    command = [sys.executable, "-m", "libra_monai", "tiny-model", "--work", "work", "--out", "model", "--patients", "30"]
    _run([*command, "--epochs-scale", "0.02"], tmp_path)
    assert (tmp_path / "model" / "report_model.json").is_file()
    assert json.loads((tmp_path / "model" / "report_model.json").read_text())["card"]["training_data"] == "synthetic"
    again = _run([*command, "--epochs-scale", "0.02"], tmp_path)
    assert again.count("already there") == 5
