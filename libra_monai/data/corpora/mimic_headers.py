# SPDX-License-Identifier: Apache-2.0
"""View and time of a MIMIC-CXR picture from its DICOM header, for copies without the metadata table."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydicom import dcmread

from libra_monai.data.corpora.tables import moment

_TAGS = ["ViewPosition", "StudyDate", "StudyTime"]


def from_header(path: Path) -> tuple[str | None, datetime | None]:
    """View position and study time as the metadata table would give them; None where the header is silent.

    Args:
        path: a DICOM file; a file that is missing or none is no error here, its reading is judged elsewhere.
    """
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except Exception:  # noqa: BLE001 - headers can be wrong in more ways than anyone foresees
        return None, None
    view = str(header.get("ViewPosition") or "").strip() or None
    return view, moment(str(header.get("StudyDate") or ""), str(header.get("StudyTime") or ""))
