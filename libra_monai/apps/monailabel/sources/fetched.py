# SPDX-License-Identifier: Apache-2.0
"""Pictures fetched from an archive, in a folder of the app's own that stays small and that nothing can be named out of.

They are patients' data: the folder is for its owner only, and what was not used for a day is deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from libra_monai.errors import ConfigError
from libra_monai.files import check_writable

_NAME = re.compile(r"[0-9a-f]{32}\.dcm")  # see `libra_monai.apps.web_archive.object_name`
_STALE = 3600.0  # seconds after which a temporary file is one of a killed process


class FetchedPictures:
    """A folder of fetched pictures; may be used by several threads.

    Args:
        folder: is created.
        most: bytes it may hold; what was not used for longest goes first.
        keep: seconds an unused picture stays.
        clock: seconds of the epoch.

    Raises:
        ConfigError: the folder cannot be written, or no picture would fit.
    """

    def __init__(self, folder: str | Path, most: int = 10 << 30, keep: float = 24 * 3600.0, clock: Callable[[], float] = time.time) -> None:
        if most < 1 << 20:
            raise ConfigError(f"a folder of {most} bytes holds no picture", "Allow some hundred megabytes.")
        self.folder, self.most, self.keep, self.clock = Path(folder), most, keep, clock
        check_writable(self.folder, "the folder of fetched pictures")
        os.chmod(self.folder, 0o700)
        self._guard = threading.Lock()
        self._fetching = [threading.Lock() for _ in range(16)]  # a picture is fetched once, however many ask for it
        self.trim()

    def get(self, name: str, fetch: Callable[[Path], None], good: Callable[[Path], bool] = lambda path: True) -> Path:
        """The file of a picture, fetched if it is not there.

        Args:
            name: of the file.
            fetch: writes it to a path, atomically.
            good: whether a file that is there may be used; otherwise it is fetched anew.

        Raises:
            ValueError: the name is none that this folder gives (a mistake of this program).
        """
        if _NAME.fullmatch(name) is None:
            raise ValueError("no name of a fetched picture")
        path = self.folder / name
        with self._fetching[int(name[0], 16)]:
            if not (path.is_file() and good(path)):
                fetch(path)
                self.trim(spared=name)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (self.clock(), self.clock()))
        return path

    def trim(self, spared: str = "") -> None:
        """Delete what was not used for long, and of the rest what is too much.

        Args:
            spared: name of a file that stays.
        """
        with self._guard:
            now, files = self.clock(), []
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    limit = self.keep if _NAME.fullmatch(path.name) else _STALE
                    if path.name != spared and now - status.st_mtime > limit:
                        path.unlink()
                    else:
                        files.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.most:
                    break
                if path.name != spared and _NAME.fullmatch(path.name):
                    path.unlink(missing_ok=True)
                    total -= size
