# SPDX-License-Identifier: Apache-2.0
"""Where the app keeps its own files."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = ".libra"


def home_of(studies: str | Path) -> Path:
    """Folder of reports, trainings and decisions: within the studies folder, or in the home directory for a server.

    Args:
        studies: a folder, or the address of a DICOMweb server.
    """
    name = str(studies)
    if name.startswith(("http://", "https://")):
        from libra_monai.outputs.names import file_name  # with torch, which --help does without

        plain = file_name(name.partition("://")[2].rstrip("/"))
        return Path.home() / FOLDER / f"{plain[:80]}-{hashlib.sha256(name.rstrip('/').encode()).hexdigest()[:8]}"
    return Path(studies).resolve() / FOLDER
