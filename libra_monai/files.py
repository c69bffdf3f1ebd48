# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of small files: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from libra_monai.errors import ConfigError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put it in place if the block succeeds.

    Args:
        path: the file to write; its folder is created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        share(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file (UTF-8, `\\n`) atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file atomically, indented."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_jsonl(path: str | os.PathLike, rows: Iterable[dict[str, Any]]) -> None:
    """Add one JSON object a line to a file that grows during a run; a killed process leaves whole lines before the last."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a", encoding="utf-8", newline="\n") as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def hold(path: str | os.PathLike, what: str) -> BinaryIO | None:
    """Hold a folder by a lock file in it, until the file returned is closed or this process ends, however it ends.

    One process may hold it several times.

    Args:
        path: the lock file; its folder exists.
        what: who writes there, for the message.

    Returns:
        the open file; None where the system has no such locks.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = Path(path).open("wb")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        raise ConfigError(f"another {what} writes to {Path(path).parent}", "Wait for its end, or choose another folder.") from None
    except OSError:  # a disk without locks
        pass
    return file


def check_writable(folder: str | os.PathLike, what: str) -> None:
    """Make a folder and try to write into it.

    Args:
        folder: an output folder.
        what: the option that named it, for the message.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{what} {folder} cannot be written ({error.strerror})", "Choose another.") from error


def share(path: str | os.PathLike) -> None:
    """Give a file the permissions a newly made one has; temporary files are private at first."""
    os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
