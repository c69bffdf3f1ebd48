# SPDX-License-Identifier: Apache-2.0
"""Tensors of weight files, one at a time: a checkpoint is never in memory as a whole.

Safetensors are read lazily; torch pickles are mapped into memory and opened with `weights_only=True`, so that one
with code in it is refused.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from libra_monai.errors import ModelError

_NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state")
_PICKLES = (".bin", ".pt", ".pth")


class WeightFiles:
    """Named tensors spread over files.

    Args:
        files: weight files; a name may stand in one of them only.

    Raises:
        ModelError: a file is damaged or holds code, or a name stands in two files with different values.
    """

    def __init__(self, files: list[Path]) -> None:
        self.place: dict[str, Path] = {}
        self._pickle: tuple[Path, dict[str, Tensor]] | None = None
        for path in files:
            for name in self._names(path):
                if name in self.place and not torch.equal(self.tensor(name), self._read(path, name)):
                    raise ModelError(f"tensor {name} stands in {self.place[name]} and {path}", "Keep one of the files.")
                self.place.setdefault(name, path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.place)

    def __contains__(self, name: object) -> bool:
        return name in self.place

    def __len__(self) -> int:
        return len(self.place)

    def tensor(self, name: str) -> Tensor:
        """One tensor in the type it is stored in."""
        return self._read(self.place[name], name)

    def _names(self, path: Path) -> list[str]:
        if path.suffix == ".safetensors":
            try:
                with safe_open(str(path), "pt") as file:
                    return list(file.keys())
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{path} is damaged ({error})", "Download it again.") from error
        return list(self._unpickled(path))

    def _read(self, path: Path, name: str) -> Tensor:
        if path.suffix == ".safetensors":
            with safe_open(str(path), "pt") as file:
                return file.get_tensor(name)
        return self._unpickled(path)[name]

    def _unpickled(self, path: Path) -> dict[str, Tensor]:
        """The tensors of a pickle; the last one opened is kept open."""
        if self._pickle is None or self._pickle[0] != path:
            self._pickle = None  # let go of the last before the next is opened, so that two are never in memory
            self._pickle = (path, _unpickle(path))
        return self._pickle[1]


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: those of its index if it has one, else all.

    Args:
        folder: a checkpoint.

    Raises:
        ModelError: the index is damaged, or names a file that is missing.
    """
    for index in sorted(folder.glob("*.index.json")):
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index} is damaged ({error})", "Download it again.") from error
        for name in names:
            if Path(name).name != name:
                raise ModelError(f"{index} names {name}, outside its folder", "It is refused; download the index again.")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{folder / missing[0]} does not exist, though {index.name} names it", "Download it.")
        return [folder / name for name in names]
    return all_files(folder)


def all_files(folder: Path) -> list[Path]:
    """All weight files of a folder, without the state of optimisers and the like."""
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", *_PICKLES))
    return [p for p in paths if not p.name.startswith(_NOT_WEIGHTS)]


def _unpickle(path: Path) -> dict[str, Tensor]:
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:  # files of old torch versions cannot be mapped
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: it is no plain list of tensors and may hold code", "Ask for safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or ["unreadable"])[0][:120]
        raise ModelError(f"{path} is damaged ({reason})", "Download it again.") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path} holds no tensors by name", "Give a state dict.")
    return content
