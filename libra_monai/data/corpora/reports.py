# SPDX-License-Identifier: Apache-2.0
"""Report texts of a corpus, from a folder tree or straight from the archive they are published in."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path

from libra_monai.data.corpora.tables import decode
from libra_monai.errors import ConfigError


class ReportStore:
    """Report files by their path in the corpus.

    Args:
        place: a folder, or a zip archive of one.
        notes: counts what a user should know, see `read`.

    Raises:
        ConfigError: neither a folder nor a zip archive.
    """

    def __init__(self, place: str | Path, notes: Counter[str]) -> None:
        self.place, self.notes = Path(place), notes
        self._archive: zipfile.ZipFile | None = None
        if self.place.is_file():
            try:
                self._archive = zipfile.ZipFile(self.place)
            except (zipfile.BadZipFile, OSError) as error:
                raise ConfigError(f"{place} is no zip archive, or not whole", "Download it again, or unpack it.") from error
            self._members = set(self._archive.namelist())
        elif not self.place.is_dir():
            raise ConfigError(f"reports {place} do not exist", "Give the folder of the reports, or their zip archive.")

    def read(self, *paths: str) -> str | None:
        """The text of the first of some paths that exists, or None.

        Args:
            paths: relative to the place, with `/`.

        What is not UTF-8 is read as Windows-1252 and counted in the notes, as is what cannot be read.
        """
        for path in paths:
            try:
                raw = self._raw(path)
            except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
                self.notes["reports that cannot be read"] += 1
                continue
            if raw is not None:
                text, proper = decode(raw)
                self.notes["reports that are not UTF-8, read as Windows-1252"] += not proper
                return text.replace("\r\n", "\n").replace("\r", "\n")
        return None

    def _raw(self, path: str) -> bytes | None:
        if self._archive is not None:
            return self._archive.read(path) if path in self._members else None
        try:
            return (self.place / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
