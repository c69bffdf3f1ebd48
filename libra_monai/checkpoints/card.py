# SPDX-License-Identifier: Apache-2.0
"""What a model folder says of itself: `report_model.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libra_monai.errors import ModelError

MODEL_FILE = "report_model.json"
UNTRAINED = {"name": "untrained", "version": "0", "training_data": "unknown"}


def read_model_file(folder: str | Path) -> dict[str, Any]:
    """`report_model.json` of a model folder.

    Raises:
        ModelError: the folder is missing or is no model folder.
    """
    path = Path(folder) / MODEL_FILE
    if not Path(folder).is_dir():
        raise ModelError(f"model folder {folder} does not exist", "Check the path given as `ckpt` or `--model`.")
    if not path.is_file():
        raise ModelError(f"{folder} is no model folder: it has no {MODEL_FILE}", "Give a folder saved by a run.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not JSON ({error})", "Save the model again.") from error


def read_card(weights: str | Mapping[str, str] | None, privacy: str = "identifiable") -> dict[str, Any]:
    """Name, version and training data of the weights a run starts from.

    A model is synthetic if it, or any model it grew from, was trained on phantom studies.

    Args:
        weights: a model folder, model folders by part, or None.
        privacy: of the data the run trains on; `synthetic` marks what comes out of it.
    """
    folders = [weights] if isinstance(weights, str) else list((weights or {}).values())
    cards = [read_model_file(folder)["card"] for folder in folders]
    card = dict(cards[0] if cards else UNTRAINED)
    if privacy == "synthetic" or any(other.get("training_data") == "synthetic" for other in cards):
        card["training_data"] = "synthetic"
    return card
