# SPDX-License-Identifier: Apache-2.0
"""Hugging Face checkpoints, loaded so that no tensor stays random without a word."""

from __future__ import annotations

import logging
from typing import Any

import torch
from safetensors import SafetensorError

from libra_monai.errors import ModelError

logger = logging.getLogger(__name__)


def load_pretrained_strict(kind: Any, weights: str) -> Any:
    """A Hugging Face model in float32 from a folder or hub name.

    Args:
        kind: the model class, or an `Auto` class.
        weights: folder or hub name.

    Raises:
        ModelError: it cannot be loaded, or tensors are missing or of another shape.
    """
    try:
        model, report = kind.from_pretrained(weights, dtype=torch.float32, output_loading_info=True)
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
