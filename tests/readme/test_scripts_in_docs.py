# SPDX-License-Identifier: Apache-2.0
"""Shell scripts that stand in the pages are shell."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCRIPTS = [
    pytest.param(text, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, text in enumerate(re.findall(r"^```bash\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("text", SCRIPTS)
def test_a_script_is_shell(text):
    ran = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_job_array_stands_in_the_page_on_many_devices():
    assert any("--array" in script.values[0] and "--shard" in script.values[0] for script in SCRIPTS)
