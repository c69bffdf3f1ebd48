# SPDX-License-Identifier: Apache-2.0
"""How much room uploads take together: those of the page, and sessions of MONAI Label.

Bytes are counted once when the server starts, and then as sessions come and go; no request walks through the folders.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from libra_monai.errors import LibraError

_GB = 1 << 30


class UploadsFull(LibraError):
    """There is no room for another upload."""


class Quota:
    """Bytes by what holds them.

    Args:
        most_bytes: of all together.
    """

    def __init__(self, most_bytes: int = 10 * _GB) -> None:
        self.most_bytes = most_bytes
        self._held: dict[str, int] = {}
        self._coming = 0
        self._counting = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are held, or promised to what is coming."""
        return sum(self._held.values()) + self._coming

    @contextlib.contextmanager
    def room(self, name: str, size: int) -> Iterator[None]:
        """Promise room while something is received, and count it if it is kept; two that come at once cannot have the same room.

        Args:
            name: of its own.
            size: bytes.

        Raises:
            UploadsFull: there is less.
        """
        with self._counting:
            if self.used + size > self.most_bytes:
                what = f"uploads take {self.used / _GB:.3g} of {self.most_bytes / _GB:.3g} GB, and this one ({size / _GB:.3g} GB) does not fit"
                raise UploadsFull(what, "Try again when older ones have been deleted, at most a day after they came, or raise --max-uploads.")
            self._coming += size
        kept = False
        try:
            yield
            kept = True
        finally:
            with self._counting:
                self._coming -= size
                if kept:
                    self._held[name] = size

    def hold(self, name: str, size: int) -> None:
        """Count something that is there already.

        Args:
            name: of its own.
            size: bytes.
        """
        with self._counting:
            self._held[name] = size

    def free(self, name: str) -> None:
        """Count something no longer.

        Args:
            name: as it was held; one that was not is nothing.
        """
        with self._counting:
            self._held.pop(name, None)


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder.

    Args:
        path: either.
    """
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else (path,)) if one.is_file())


def discard(path: Path) -> None:
    """Delete a file or a folder, if it is there.

    Args:
        path: either.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
