# SPDX-License-Identifier: Apache-2.0
"""What a model folder says of itself: `report_model.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libra_monai.errors import ModelError

MODEL_FILE = "report_model.json"
FORMAT, POINTING = 1, 2  # of folders that hold all their weights, and of folders that point at a base
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
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not JSON ({error})", "Save the model again.") from error
    if not isinstance(content, dict) or not {"card", "parts"} <= set(content):
        raise ModelError(f"{path} has no `card` and `parts`", "Save the model again.")
    if content.get("format") not in (None, FORMAT, POINTING):
        raise ModelError(f"{path} is of format {content['format']}, which is unknown here", "Update this package.")
    return content


# names of published models used in configs/model -> the hub's names
PUBLISHED = {
    "libra_7b": "X-iZhang/libra-v1.0-7b",
    "libra_3b": "X-iZhang/libra-v1.0-3b",
    "maira2_7b": "X-iZhang/libra-maira-2",
    "llava_med_7b": "X-iZhang/libra-llava-med-v1.5-mistral-7b",
    "llava_rad_7b": "X-iZhang/libra-llava-rad",
    "med_cxrgen_findings": "X-iZhang/Med-CXRGen-F",
    "med_cxrgen_impression": "X-iZhang/Med-CXRGen-I",
}


def published_folder(name: str, root: str = "models") -> str:
    """Model folder of a published model, as the overlays in `configs/model` name it.

    Args:
        name: such as `libra_7b`.
        root: folder that holds imported models, below the current directory.

    Raises:
        ModelError: the folder is not there; the message says how to make it.
    """
    folder = Path(root) / name
    if not (folder / MODEL_FILE).is_file():
        source = PUBLISHED.get(name, "the published checkpoint")
        raise ModelError(
            f"{folder} does not exist: the weights of {source} are not imported yet",
            f"Download {source}, then run `libra-monai import-weights DOWNLOADED --out {folder}` (docs/published-weights.md).",
        )
    return str(folder)


def read_card(
    weights: str | Mapping[str, str] | None, privacy: str = "identifiable", run: str | None = None
) -> dict[str, Any]:
    """Name, version and training data of the weights a run starts from, or of what it trains.

    A model is synthetic if it, or any model it grew from, was trained on phantom studies.

    Args:
        weights: a model folder, model folders by part, or None.
        privacy: of the data the run trains on; `synthetic` marks what comes out of it.
        run: output folder of a training run; what it saves is called by its name and names its parents.
    """
    folders = [weights] if isinstance(weights, str) else list((weights or {}).values())
    cards = [read_model_file(folder)["card"] for folder in folders]
    card = dict(cards[0] if cards else UNTRAINED)
    if privacy == "synthetic" or any(other.get("training_data") == "synthetic" for other in cards):
        card["training_data"] = "synthetic"
    if run is not None:
        parents = dict.fromkeys(f"{other['name']} {other['version']}" for other in cards)
        card = {"name": Path(run).resolve().name, "version": "0", "training_data": card["training_data"]}
        card |= {"parents": list(parents)} if parents else {}
    return card
