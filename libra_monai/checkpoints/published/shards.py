# SPDX-License-Identifier: Apache-2.0
"""Safetensors written in shards as tensors come, with the index that Hugging Face reads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from libra_monai.files import write_json

SHARD_BYTES = 2_000_000_000


class ShardWriter:
    """Collects tensors and writes a file whenever enough have come together.

    Args:
        folder: where to.
        stem: beginning of the file names, such as `model`.
        limit: bytes of a shard; default `SHARD_BYTES`.
    """

    def __init__(self, folder: Path, stem: str, limit: int | None = None) -> None:
        self.folder, self.stem, self.limit = folder, stem, limit or SHARD_BYTES
        self.waiting: dict[str, Tensor] = {}
        self.size = self.total = 0
        self.shards: list[tuple[Path, list[str]]] = []

    def add(self, name: str, value: Tensor) -> None:
        """Take one tensor."""
        size = value.numel() * value.element_size()
        if self.waiting and self.size + size > self.limit:
            self._write()
        self.waiting[name] = value.detach().contiguous().clone()
        self.size += size

    def close(self, single: bool = False) -> None:
        """Write what is left, name the shards, and write their index if there are several.

        Args:
            single: the tensors fit one file in any case.
        """
        self._write()
        if len(self.shards) <= 1 or single:
            for path, _ in self.shards:
                path.rename(self.folder / f"{self.stem}.safetensors")
            return
        weights = {}
        for number, (path, names) in enumerate(self.shards, start=1):
            name = f"{self.stem}-{number:05d}-of-{len(self.shards):05d}.safetensors"
            path.rename(self.folder / name)
            weights |= dict.fromkeys(names, name)
        index = {"metadata": {"total_size": self.total}, "weight_map": dict(sorted(weights.items()))}
        write_json(self.folder / f"{self.stem}.safetensors.index.json", index)

    def _write(self) -> None:
        if not self.waiting:
            return
        path = self.folder / f".{self.stem}-{len(self.shards)}.safetensors"
        save_file(self.waiting, str(path), metadata={"format": "pt"})
        self.shards.append((path, list(self.waiting)))
        self.total += self.size
        self.waiting, self.size = {}, 0
