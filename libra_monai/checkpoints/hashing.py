# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of weight files: read as a stream, and once per process as long as a file stays as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

_BLOCK = 1 << 22  # bytes
_known: dict[tuple[str, int, int], str] = {}  # (real path, size, mtime in ns) -> hash; a run saves often


def digest(files: Sequence[Path]) -> str:
    """The hash of one file as `sha256sum` prints it; of several, the hash of what `sha256sum` prints of them by name.

    Args:
        files: files with different names.
    """
    keys = {path: _key(path) for path in sorted(files, key=lambda path: path.name)}
    unread = sum(key[1] for key in keys.values() if key not in _known)
    with tqdm(total=unread, desc="hashing weights", unit="B", unit_scale=True, delay=2, leave=False) as bar:
        hashes = {path.name: _hash(key, bar) for path, key in keys.items()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{value}  {name}\n" for name, value in hashes.items()).encode()).hexdigest()


def _key(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return os.path.realpath(path), state.st_size, state.st_mtime_ns


def _hash(key: tuple[str, int, int], bar: tqdm) -> str:
    if key not in _known:
        sha = hashlib.sha256()
        with open(key[0], "rb") as file:
            while block := file.read(_BLOCK):
                sha.update(block)
                bar.update(len(block))
        _known[key] = sha.hexdigest()
    return _known[key]
