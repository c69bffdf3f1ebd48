# SPDX-License-Identifier: Apache-2.0
"""Finished pictures on disk: one uint8 channel each, by the content of the file and the settings of the steps.

MONAI's `PersistentDataset` keys by the item of the datalist and keeps whole items with pickle; here a picture that two
studies share is kept once, a file that was replaced under its name is read anew, and an entry is plain bytes with a
checksum. Any number of processes may write: entries appear whole or not at all, and what is damaged is built again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from libra_monai.errors import ConfigError
from libra_monai.files import replacing

_MARK = b"libra picture 1\n"
_SETTLED = 2_000_000_000  # nanoseconds after a change during which file systems may not show another one
_log = logging.getLogger(__name__)


class PictureCache:
    """Keeps the uint8 pictures [1,h,w] that steps make of files.

    Two look-ups stand before the pixels: what a name held when it was last looked at (size, times and inode as git
    compares them), and the hash of its content. Only a file that may have changed is hashed again.

    Args:
        folder: where entries are kept; made when needed.
        steps: the steps whose result is kept; each says by `settings` what its result depends on.

    Raises:
        ConfigError: a step has no `settings`.
    """

    def __init__(self, folder: str | os.PathLike, steps: Sequence[Callable]) -> None:
        for step in steps:
            if not isinstance(getattr(step, "settings", None), Mapping):
                name = type(step).__name__
                raise ConfigError(f"the picture cache cannot tell what {name} does", "Give it a `settings` mapping.")
        named = [{"step": type(step).__name__, **step.settings} for step in steps]
        key = hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = Path(folder)
        self.pictures, self.names = self.folder / key[:16], self.folder / "names"
        self.hits = self.misses = 0
        self._warned = False

    def picture(self, path: str, make: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """The finished picture of a file.

        Args:
            path: the file.
            make: the steps, from path to picture; called if there is no sound entry.

        Returns:
            uint8 [1,h,w] `MetaTensor` with the `meta` that `make` gave it.

        Raises:
            StudyError: `make` refuses the file.
            ConfigError: `make` gives anything but one uint8 channel.
        """
        digest = self._digest(path)
        if digest is None:
            return make(path)  # which says what is wrong with the file
        entry = self.pictures / digest[:2] / digest[2:]
        found = _read(entry)
        if found is not None:
            self.hits += 1
            pixels, meta = found
            return MetaTensor(torch.from_numpy(pixels), meta={"filename_or_obj": path, **meta})
        self.misses += 1
        picture = make(path)
        self._keep(entry, _packed(picture))
        return picture

    def _digest(self, path: str) -> str | None:
        """Hash of the content; None if the file cannot be read."""
        try:
            stat = os.stat(path)
            now = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]
            name = self.names / hashlib.sha256(os.path.abspath(path).encode()).hexdigest()
            with suppress(OSError, ValueError, TypeError, KeyError):
                known = json.loads(name.read_bytes())
                if known["stat"] == now and len(known["digest"]) == 64:
                    return known["digest"]
            looked = time.time_ns()
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError):  # ValueError: a zero byte in the path
            return None
        if looked - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED:
            self._keep(name, json.dumps({"stat": now, "digest": digest}).encode())
        return digest

    def _keep(self, place: Path, data: bytes) -> None:
        """Write atomically; a full or read-only disk costs time, not the picture."""
        try:
            with replacing(place) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            if not self._warned:
                _log.warning("picture cache %s cannot be written (%s); going on without", self.folder, error.strerror)
            self._warned = True


def _packed(picture: torch.Tensor) -> bytes:
    """Mark, length and text of the description, pixels; the description holds their checksum."""
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 1:
        kind = f"{picture.dtype} {list(picture.shape)}"
        raise ConfigError(f"the picture cache was given {kind}", "Keep uint8 [1,h,w]; normalise and expand after it.")
    pixels = np.ascontiguousarray(torch.as_tensor(picture).as_subclass(torch.Tensor).numpy()).tobytes()
    meta = {key: value for key, value in getattr(picture, "meta", {}).items() if _plain(value)}
    meta.pop("filename_or_obj", None)
    head = json.dumps({"shape": list(picture.shape[1:]), "meta": meta}).encode()
    checksum = zlib.crc32(pixels, zlib.crc32(head)).to_bytes(4, "little")
    return _MARK + checksum + len(head).to_bytes(4, "little") + head + pixels


def _read(entry: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Pixels [1,h,w] and meta of an entry; None if there is none, or it is damaged."""
    try:
        with open(entry, "rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(data)
        start = len(_MARK) + 8
        stop = start + int.from_bytes(data[start - 4 : start], "little")
        checksum = int.from_bytes(data[len(_MARK) : start - 4], "little")
        body = memoryview(data)
        if data[: len(_MARK)] != _MARK or zlib.crc32(body[start:]) != checksum:
            return None
        head = json.loads(data[start:stop])
        return np.frombuffer(data, np.uint8, offset=stop).reshape(1, *head["shape"]), head["meta"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, (str, int, float, bool)) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))
