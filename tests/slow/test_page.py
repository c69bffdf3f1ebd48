# SPDX-License-Identifier: Apache-2.0
"""The report page in a real browser: everything is drawn, nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from libra_monai.apps.main import main

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser; on Debian: apt install chromium")
def test_the_page_shows_banner_pictures_and_marks(phantom, records, tmp_path):
    record = next(r for r in records if r["prior"])
    files = [str(phantom / record[view]) for view in ("current", "prior")]
    assert main(["report", "--current", files[0], "--prior", files[1], "--out", str(tmp_path)]) == 0
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,900", f"--screenshot={shot}", page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, "HOME": str(tmp_path)})
    seen = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert (np.abs(seen[5, 5] - [0x8C, 0x1D, 0x18]) < 12).all()  # the warning banner
    grey = (np.ptp(seen, axis=2) < 6) & (seen.mean(axis=2) > 40) & (seen.mean(axis=2) < 215)
    columns = grey[150:600].mean(axis=0)
    assert (columns[60:360] > 0.2).mean() > 0.5 and (columns[400:700] > 0.2).mean() > 0.5  # two radiographs
