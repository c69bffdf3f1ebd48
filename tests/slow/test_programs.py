# SPDX-License-Identifier: Apache-2.0
"""Other people's programs read what we write."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy; on Debian: apt install dicom3tools")
def test_phantom_dicom_files_follow_their_object_definition(phantom):
    for path in sorted((phantom / "images").rglob("*.dcm")):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
        lines = (said.stdout + said.stderr).splitlines()
        assert not [line for line in lines if line.startswith("Error")], f"{path}: {lines}"


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="no dcmdump; on Debian: apt install dcmtk")
def test_phantom_dicom_files_are_marked_for_any_reader(phantom):
    path = next((phantom / "images").rglob("*.dcm"))
    said = subprocess.run(["dcmdump", str(path)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "SYNTHETIC - NOT FOR CLINICAL USE" in said
