# SPDX-License-Identifier: Apache-2.0
"""The audit file: a line for every request, studies under names that only the owner of the key can make.

A hash without a key would hide nothing: ids are few enough to try. The file is put aside when it has grown, a bounded number of
times.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from libra_monai.errors import ConfigError
from libra_monai.files import append_jsonl

KEY, NAME = "audit.key", "audit.jsonl"
_KEY_BYTES = 32


class AuditFile:
    """Lines of one server, or of several over the same folder.

    Args:
        home: the app's own folder; the key is made there if there is none.
        most_bytes: size at which the file is put aside; a line is never cut, so a longer line has a file of its own.
        keep: files that were put aside and are kept, `audit.1.jsonl` the newest.

    Raises:
        ConfigError: the key cannot be read or made.
    """

    def __init__(self, home: str | Path, most_bytes: int = 64 << 20, keep: int = 8) -> None:
        self.path, self.most_bytes, self.keep = Path(home) / NAME, most_bytes, keep
        self._key = kept_key(Path(home) / KEY)
        self._writing = threading.Lock()

    def name_of(self, image_id: str) -> str:
        """What the lines call a study: 16 letters of the HMAC-SHA256 of its id.

        Args:
            image_id: id of the study.
        """
        return hmac.new(self._key, image_id.encode(), hashlib.sha256).hexdigest()[:16]

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line; before it the file is put aside if it would grow too large.

        Args:
            line: what is told.

        Raises:
            OSError: the line could not be written.
        """
        size = len(json.dumps(line, ensure_ascii=False).encode()) + 1
        with self._writing, _alone(self.path.with_suffix(".lock")):
            if 0 < self._size() and self._size() + size > self.most_bytes:
                self._put_aside()
            append_jsonl(self.path, [dict(line)])

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        """Move every file on by one, up to the first number that is free; a stop in between leaves such a gap, and no file less."""
        aside = [self.path.with_suffix(f".{number}.jsonl") for number in range(1, self.keep + 1)]
        free = next((place for place, path in enumerate(aside) if not path.exists()), len(aside) - 1)
        for place in range(free, 0, -1):
            os.replace(aside[place - 1], aside[place])
        os.replace(self.path, aside[0])


def kept_key(path: Path) -> bytes:
    """The key of a file; made, whole and for its owner only, if there is none.

    Args:
        path: the file; its folder exists.

    Raises:
        ConfigError: the file holds no key, or cannot be read or made.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read or made ({error.strerror})", "Give the server's user the right to, or choose another folder.") from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(f"{path} holds no key", "Put the file back from a copy; or take it away, and studies get other names in the audit file.")
    return key


def _make_key(path: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner only
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)  # fails if another server was first, whose key then holds
        except FileExistsError:
            pass
        except OSError:  # a disk without links
            os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold other processes up that write to the same file."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with path.open("wb") as file:
        with contextlib.suppress(OSError):  # a disk without locks
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield
