# SPDX-License-Identifier: Apache-2.0
"""File names of drafts."""

from __future__ import annotations

import hashlib
import re


def file_name(study_id: str) -> str:
    """A file name for a study: its identifier; one with anything unusual replaced gets a mark that keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", study_id).lstrip(".")[:120] or "study"
    return plain if plain == study_id else f"{plain}-{hashlib.sha256(study_id.encode()).hexdigest()[:8]}"
