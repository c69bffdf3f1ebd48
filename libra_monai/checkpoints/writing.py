# SPDX-License-Identifier: Apache-2.0
"""The last steps of writing a model folder piece by piece, for checkpoints too large to be built in memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from libra_monai.checkpoints.card import FORMAT, MODEL_FILE
from libra_monai.data.processor import StudyProcessor
from libra_monai.errors import ConfigError
from libra_monai.files import share, write_json


def check_replaceable(out: Path) -> None:
    """Refuse to write a model folder over anything but a model folder or an empty one.

    Args:
        out: where the model folder is to stand.

    Raises:
        ConfigError: something else stands there.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MODEL_FILE).is_file()):
        raise ConfigError(f"{out} exists and is no model folder", "Choose a new folder; nothing in it was touched.")


def save_encoder(encoder: nn.Module, place: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Write `encoder/` in the Hugging Face layout, every tensor in its own type; one file where it has no such layout.

    Args:
        encoder: a built encoder.
        place: the model folder being written.
        spec: name and options of the encoder.

    Returns:
        its entry in `report_model.json`.
    """
    if not isinstance(encoder.model, PreTrainedModel):  # of a plugin
        own = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
        save_file(own, str(place / "encoder.safetensors"), metadata={"format": "pt"})
        return {**getattr(encoder, "build_spec", {}), **spec}
    folder = place / "encoder"
    folder.mkdir()
    encoder.model.config.save_pretrained(str(folder))
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.model.state_dict().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return {**spec, "weights": "encoder"}


def processor_of(tokenizer: Path, encoder: nn.Module, settings: Mapping[str, Any]) -> StudyProcessor:
    """The processor for an encoder: its picture size and normalisation, and what is set besides.

    Args:
        tokenizer: folder of the tokenizer.
        encoder: gives `image_size`, `channels`, `mean` and `std`.
        settings: further settings, which win.
    """
    own = {name: getattr(encoder, name) for name in ("image_size", "channels", "mean", "std")}
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    return StudyProcessor(str(tokenizer), **{**own, **settings})


def finish_folder(
    place: Path, out: Path, parts: Mapping[str, Any], processor: StudyProcessor, card: Mapping[str, Any]
) -> None:
    """Write processor and `report_model.json`, then put the folder in its place; an old one goes only then.

    Args:
        place: the complete parts, in a scratch folder on the disk of `out`.
        out: the model folder.
        parts: entries of `report_model.json`.
        processor: what belongs before and after the model.
        card: `name`, `version`, `training_data`.
    """
    processor.save(place)
    write_json(place / MODEL_FILE, {"format": FORMAT, "card": dict(card), "parts": dict(parts)})
    put_in_place(place, out)
    shutil.rmtree(place.with_name("old"), ignore_errors=True)


def put_in_place(place: Path, folder: Path) -> None:
    """Move a finished folder to where it belongs; one that stands there goes to `old` beside the finished one.

    Args:
        place: the finished folder, on the disk of `folder`.
        folder: where it belongs.
    """
    for path in place.rglob("*.safetensors"):  # safetensors writes private files
        share(path)
    old = place.with_name("old")
    if folder.exists():
        folder.rename(old)
    try:
        place.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
