# SPDX-License-Identifier: Apache-2.0
"""Hugging Face checkpoints, loaded so that no tensor stays random without a word."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as library_logging

from libra_monai.errors import ModelError

logger = logging.getLogger(__name__)
_SMALL = 200_000_000  # bytes that load in a moment


def load_pretrained_strict(kind: Any, weights: str, dtype: torch.dtype | None = None) -> Any:
    """A Hugging Face model from a folder or hub name, all tensors found and of the right shape.

    Args:
        kind: the model class, or an `Auto` class.
        weights: folder or hub name.
        dtype: float type; None is torch's default.

    Raises:
        ModelError: it cannot be loaded, or tensors are missing or of another shape.
    """
    try:
        with _no_bar_for_small(weights):
            model, report = kind.from_pretrained(weights, dtype=dtype or torch.get_default_dtype(), output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        remedy = "Give a folder with config.json and weights, or a hub name and a network."
        raise ModelError(f"weights {weights} cannot be loaded ({reason})", remedy) from error
    for what in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name) for name in report.get(what, ()))
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ModelError(f"weights {weights}: {what.replace('_', ' ')}: {', '.join(names[:5])}{more}", "Check them.")
    if report.get("unexpected_keys"):
        logger.warning("%s: %d tensors are not used by %s", weights, len(report["unexpected_keys"]), type(model).__name__)
    return model


@contextmanager
def _no_bar_for_small(weights: str) -> Iterator[None]:
    """Without the library's progress bar for folders that load in a moment."""
    folder = Path(weights)
    small = folder.is_dir() and sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) < _SMALL
    if not small or not library_logging.is_progress_bar_enabled():
        yield
        return
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.enable_progress_bar()
