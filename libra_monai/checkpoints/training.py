# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training: one folder for each, complete or absent, and checked when read.

`step_00001200/` holds `trained.safetensors` (what is trained, nothing frozen), `optimizer.pt` and `training.json` (counters, schedule, best score,
settings, and the hash of the other two).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from libra_monai.errors import ModelError
from libra_monai.files import share, write_json

logger = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d{8,})")
_TENSORS, _OPTIMIZER, _STATE = "trained.safetensors", "optimizer.pt", "training.json"
_FINISHED = "finished.json"
FORMAT = 1


@dataclass
class Checkpoint:
    """All that a training needs to go on.

    Args:
        step: optimiser steps done.
        tensors: name -> trained parameters and buffers.
        optimizer: its state, by parameter name.
        state: counters, schedule, best score and settings, as JSON.
        folder: where it was read from.
    """

    step: int
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    folder: Path | None = None


def write_checkpoint(parent: str | Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint, and remove all but the last few when it is complete.

    Args:
        parent: folder of all checkpoints of a run.
        checkpoint: what to write.
        keep: how many complete ones stay.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are untouched then.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"step_{checkpoint.step:08d}"
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=parent, ignore_cleanup_errors=True) as temporary:
        place = Path(temporary) / "checkpoint"
        place.mkdir()
        _save_tensors(checkpoint.tensors, place / _TENSORS)
        torch.save(checkpoint.optimizer, place / _OPTIMIZER)
        hashes = {name: _digest(place / name) for name in (_TENSORS, _OPTIMIZER)}
        content = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes, **checkpoint.state}
        write_json(place / _STATE, content)
        for path in place.iterdir():
            share(path)
            _sync(path)
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        place.rename(folder)
    _sync(parent)
    for old in list_checkpoints(parent)[max(keep, 1) :]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def list_checkpoints(parent: str | Path) -> list[Path]:
    """The complete checkpoints below a folder, newest first."""
    found = [path for path in Path(parent).glob("step_*") if _NAME.fullmatch(path.name) and (path / _STATE).is_file()]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]), reverse=True)


def latest_checkpoint(parent: str | Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; a damaged one is told and passed over.

    Args:
        parent: folder of all checkpoints of a run.

    Raises:
        ModelError: there are checkpoints, and none of them can be read.
    """
    folders = list_checkpoints(parent)
    for folder in folders:
        try:
            return read_checkpoint(folder)
        except ModelError as error:
            logger.warning("%s Trying the checkpoint before it.", error)
    if folders:
        raise ModelError(f"none of the {len(folders)} checkpoints in {parent} can be read", "Start anew with --resume false.")
    return None


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read one checkpoint.

    Args:
        folder: `step_...`.

    Raises:
        ModelError: it is incomplete or damaged.
    """
    folder = Path(folder)
    remedy = "Use another checkpoint, or start anew with --resume false."
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        for name, wanted in state["sha256"].items():
            if _digest(folder / name) != wanted:
                raise ModelError(f"checkpoint {folder}: {name} is damaged (its hash differs)", remedy)
        tensors = load_file(str(folder / _TENSORS))
        optimizer = torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"checkpoint {folder} cannot be read ({error})", remedy) from error
    if state.get("format") != FORMAT:
        raise ModelError(f"checkpoint {folder} is of format {state.get('format')}", f"This version reads {FORMAT}.")
    return Checkpoint(int(state["step"]), tensors, optimizer, state, folder)


def mark_finished(parent: str | Path, step: int) -> None:
    """Note that the run is done, so that the same command starts a new one."""
    if Path(parent).is_dir():
        write_json(Path(parent) / _FINISHED, {"step": step})


def clear_finished(parent: str | Path) -> bool:
    """Remove the checkpoints of a finished run; whether there was one."""
    if not (Path(parent) / _FINISHED).is_file():
        return False
    clear_checkpoints(parent)
    return True


def clear_checkpoints(parent: str | Path) -> None:
    """Remove all checkpoints of a run."""
    for folder in Path(parent).glob("step_*"):
        shutil.rmtree(folder, ignore_errors=True)
    (Path(parent) / _FINISHED).unlink(missing_ok=True)


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Settings that are not what they were, as `name: then -> now`."""
    now = json.loads(json.dumps(now))
    names = [name for name in {**then, **now} if now.get(name) != then.get(name)]
    return [f"{name}: {json.dumps(then.get(name))} -> {json.dumps(now.get(name))}" for name in names]


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """One copy of memory that several names share would be enough; safetensors wants them apart."""
    seen: set[int] = set()
    apart = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        apart[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    save_file(apart, str(path), metadata={"format": "pt"})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
