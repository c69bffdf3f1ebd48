# SPDX-License-Identifier: Apache-2.0
"""What a folder is, from what it holds and never from its name.

Four kinds: a whole model, a projector that needs its base model, LoRA that needs one, and a language model
without any connector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libra_monai.checkpoints.published.names import CONNECTOR_MARK, part_of
from libra_monai.checkpoints.published.readers import WeightFiles, all_files, weight_files
from libra_monai.errors import ModelError

WHOLE, PROJECTOR, LORA, LANGUAGE = "whole", "projector", "lora", "language"
KEPT_FILE = "libra_monai.json"  # written by our export beside the weights: what other layouts have no place for
_LORA_MARK = ".lora_"


@dataclass(frozen=True)
class Checkpoint:
    """A published folder.

    Args:
        folder: where it is.
        kind: `whole`, `projector`, `lora` or `language`.
        config: its `config.json`, empty where it has none.
        adapter: its `adapter_config.json`, empty where it has none.
        files: its tensors.
        kept: what our export wrote down beside it, empty for other people's checkpoints.
    """

    folder: Path
    kind: str
    config: Mapping[str, Any]
    adapter: Mapping[str, Any]
    files: WeightFiles
    kept: Mapping[str, Any]


def looks_published(folder: str | Path) -> bool:
    """Whether a folder has the configuration of a published checkpoint or of LoRA.

    Args:
        folder: any path.
    """
    return any((Path(folder) / name).is_file() for name in ("config.json", "adapter_config.json"))


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Find out what a folder is.

    Args:
        folder: a published checkpoint.

    Raises:
        ModelError: it is none, or a file is missing or damaged.
    """
    place = Path(folder)
    if place.is_file():
        raise ModelError(f"{folder} is a file", "Give the folder with config.json and weights.")
    if not place.is_dir():
        raise ModelError(f"folder {folder} does not exist", "Check the path; hub names are downloaded first.")
    adapter = read_json(place / "adapter_config.json")
    paths = weight_files(place)
    if adapter:
        paths = all_files(place)  # the adapter, and what was trained beside it
    if not paths:
        raise ModelError(f"{folder} is no checkpoint: it holds no weights", "Give the folder with the weight files.")
    files = WeightFiles(paths)
    config = read_json(place / "config.json")
    kind = _kind(files)
    if kind is None:
        raise ModelError(f"{folder} is no checkpoint of a report model", "See docs/published-weights.md for the layouts.")
    if kind == LORA and not adapter:
        raise ModelError(f"{place / 'adapter_config.json'} does not exist", "Download it; it holds rank and scale.")
    if not config and kind != LORA:
        raise ModelError(f"{place / 'config.json'} does not exist", "Download it with the weights.")
    return Checkpoint(place, kind, config, adapter, files, read_json(place / KEPT_FILE))


def _kind(files: WeightFiles) -> str | None:
    if any(_LORA_MARK in name for name in files):
        return LORA
    parts = {part_of(name) for name in files}
    speaks = any("embed_tokens" in name or "word_embeddings" in name for name in files)
    if speaks:
        return WHOLE if any(CONNECTOR_MARK in name for name in files) else LANGUAGE
    return PROJECTOR if parts == {"connector"} else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; empty if the file is absent.

    Raises:
        ModelError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error})", "Download it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no JSON object", "Download it again.")
    return content
