# SPDX-License-Identifier: Apache-2.0
"""The install recipe of the label app, without touching a network: what is pinned, what comes without dependencies, what is told."""

from __future__ import annotations

import json
import os
import sys

import pytest

from libra_monai.apps.label import _set_environment
from libra_monai.apps.main import main
from libra_monai.apps.monailabel import install
from libra_monai.apps.monailabel.options import Options
from libra_monai.errors import ConfigError


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """What pip would be asked for, with the text of the files of pins; packages land in a folder of the test."""
    asked = []

    def note(words):
        files = [words[n + 1] for n, word in enumerate(words) if word == "-c"]
        asked.append((words, "".join(open(path, encoding="utf-8").read() for path in files)))

    monkeypatch.setattr(install, "_pip", note)
    monkeypatch.setattr(install.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    return asked


def test_neighbours_come_with_torch_numpy_and_pydicom_pinned_and_monai_label_alone(pip, tmp_path, capsys):
    assert main(["label", "--install"]) == 0
    (first, pins), (second, _) = pip
    kept = install.kept_versions()
    assert all(f"{name}=={kept[name]}\n" in pins for name in ("torch", "numpy", "pydicom", "monai", "transformers"))
    assert {"fastapi>=0.110.2", "uvicorn>=0.29"} <= set(first) and not any("monailabel" in word or "torch" in word for word in first[4:])
    assert second == ["--no-deps", "monailabel==0.8.5"]
    assert "unchanged: torch" in capsys.readouterr().out
    assert (tmp_path / "pydicom_seg" / "__init__.py").is_file()


def test_a_package_that_moved_all_the_same_is_an_error(pip, monkeypatch):
    versions = iter([{"torch": "2.13.0"}, {"torch": "2.15.0"}])
    monkeypatch.setattr(install, "kept_versions", lambda: next(versions))
    with pytest.raises(ConfigError, match="pip moved torch 2.13.0 to 2.15.0"):
        install.install()


def test_markers_of_the_extra_are_obeyed():
    assert install._wanted('a>=1; python_version < "3"') is None
    assert install._wanted('b<81; python_version >= "3.11"') == "b<81"
    assert install._wanted("") is None


def test_an_installed_package_tells_the_same_requirements_as_the_clone(monkeypatch, tmp_path):
    clone = install.requirements()

    class Installed:
        requires = [f'{text}; extra == "label"' for text in clone] + ['torch>=2.8', 'x>1; python_version < "3" and extra == "label"', 'y; extra == "dev"']

    monkeypatch.setattr(install, "_ROOT", tmp_path)
    monkeypatch.setattr(install, "distribution", lambda name: Installed)
    assert install.requirements() == clone


@pytest.mark.slow
def test_the_place_holder_leaves_an_absent_itk_absent_for_monai(tmp_path):
    import subprocess

    (tmp_path / "pydicom_seg.py").write_text(install._STUB_TEXT, encoding="utf-8")
    code = "import pydicom_seg, itk; from monai.data import image_reader; print(image_reader.has_itk)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.stdout.strip().endswith("False") or install.version("itk"), done.stderr


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"secondz": "3"}, "Did you mean 'seconds'?"),
        ({"seconds": "soon"}, "is no number"),
        ({"dated": "perhaps"}, "neither yes nor no"),
        ({"prior_rule": "newest"}, "prior rule 'newest' does not exist"),
        ({"queue": "0"}, "above 0"),
    ],
)
def test_options_of_monai_labels_command_are_checked(conf, says):
    with pytest.raises(ConfigError, match=says):
        Options.of(conf)


def test_the_commands_options_reach_the_app_and_the_processes_it_starts(tmp_path, monkeypatch):
    import argparse

    from libra_monai.apps import label

    monkeypatch.setattr(os, "environ", dict(os.environ))
    parser = argparse.ArgumentParser()
    label.arguments(parser)
    words = ["--studies", str(tmp_path), "--port", "8123", "--seconds", "7", "--undated", "--realm", "https://id.example/realms/r/", "--max-upload", "9"]
    _set_environment(parser.parse_args(words))
    conf = Options.of(json.loads(os.environ["MONAI_LABEL_APP_CONF"]))
    assert (conf.seconds, conf.dated, conf.max_upload, conf.model, conf.days) == (7.0, False, 9, None, None)
    assert os.environ["MONAI_LABEL_AUTH_ENABLE"] == "true" and os.environ["MONAI_LABEL_AUTH_REALM_URI"] == "https://id.example/realms/r"
    assert json.loads(os.environ["MONAI_LABEL_CORS_ORIGINS"]) == ["http://127.0.0.1:8123"]
