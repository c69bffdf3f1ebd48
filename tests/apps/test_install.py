# SPDX-License-Identifier: Apache-2.0
"""The installer reuses what is there and says what is missing, without touching a network."""

from __future__ import annotations

import pytest

from libra_monai.apps import install
from libra_monai.apps.main import main
from libra_monai.errors import ConfigError


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """The pip commands an install would run; the environment is made without pip."""
    ran = []
    monkeypatch.setattr(install, "_pip", ran.append)
    monkeypatch.setattr(install, "_make_venv", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    return ran


def test_torch_comes_first_and_alone_then_the_rest_in_tested_versions(commands, tmp_path, capsys):
    assert main(["install", "--venv", str(tmp_path / "v"), "--torch-index", "https://example.org/cpu"]) == 0
    torch, rest = commands
    assert torch[-1] == install._pin("torch") and torch[-1].startswith("torch==")
    assert torch[torch.index("--index-url") + 1] == "https://example.org/cpu"
    assert "constraints.txt" in rest[rest.index("-c") + 1] and rest[-1].endswith("[dev]")
    assert "--index-url" not in rest


def test_a_finished_installation_is_reused_until_something_that_decides_changes(commands, tmp_path, capsys):
    for _ in range(2):
        assert main(["install", "--venv", str(tmp_path / "v")]) == 0
    assert len(commands) == 2
    assert main(["install", "--venv", str(tmp_path / "v"), "--extras", "dev,eval"]) == 0
    assert len(commands) == 4


def test_a_missing_venv_module_comes_with_the_debian_package(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no ensurepip")

    monkeypatch.setattr(install.venv, "create", fail)
    with pytest.raises(ConfigError, match="apt install python3-venv"):
        install._make_venv(tmp_path / "v")
