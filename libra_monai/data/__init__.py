# SPDX-License-Identifier: Apache-2.0
"""Corpora and folders to records, and records to batches.

Names are fetched on first use, so that the phantom generator's worker processes start without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "StudyDataset": "dataset",
    "MixedStudies": "mixing",
    "expand_records": "tasks",
    "StudyProcessor": "processor",
    "PriorRule": "chronology",
    "choose_priors": "chronology",
    "PrepareOptions": "preparing",
    "prepare": "preparing",
    "load_records": "datalist",
    "load_header": "datalist",
    "request_records": "request",
    "request_root": "request",
    "ensure_phantom": "request",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Fetch a public name of this room (PEP 562)."""
    if name in _WHERE:
        return getattr(import_module(f"libra_monai.data.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'libra_monai.data' has no attribute '{name}'")
