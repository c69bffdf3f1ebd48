# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: a few phantom studies and the shipped small model, made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")  # a key written twice in a JSON file is a mistake
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a hub

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """Folder of 12 phantom patients in all three splits."""
    from libra_monai.data.phantom.generate import generate

    folder = tmp_path_factory.mktemp("phantom") / "studies"
    generate(folder, 12, 5, {"training": 0.5, "validation": 0.25, "test": 0.25}, long_side=256, workers=1)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The shipped small model, loaded."""
    from libra_monai import paths
    from libra_monai.checkpoints import load_pretrained

    return load_pretrained(paths.tiny_model())


@pytest.fixture(scope="session")
def records(phantom):
    """All records of the phantom folder."""
    from libra_monai.data import load_records

    return [r for split in ("training", "validation", "test") for r in load_records(phantom / "datalist.json", split)]
