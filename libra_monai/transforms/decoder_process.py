# SPDX-License-Identifier: Apache-2.0
"""A child process that decodes for its parent, and is started anew when a decoder has taken it down.

One child per process, so each worker of a data loader has its own; it starts with the first compressed picture and ends
with its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_PROGRAM = Path(__file__).with_name("decode_worker.py")
_PIPE = 1 << 20  # bytes a pipe may hold, where that can be chosen; fewer turns between the processes
_SECONDS = 60.0  # a frame of 100 million pixels takes about 10 s


class DecodeError(Exception):
    """What a decoder could not do, or did to its process."""


class DecoderProcess:
    """Decodes frames in a child process.

    Args:
        seconds: how long one frame may take before the child is ended.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self.seconds, self.starts = seconds, 0
        self._child: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def decode(self, frame: bytes, decoders: Sequence[str], options: dict[str, Any]) -> np.ndarray:
        """Pixels of a codestream.

        Args:
            frame: the codestream.
            decoders: names to try in this order, see `decode_worker`.
            options: what the header says: `rows`, `columns`, `samples_per_pixel` and what pydicom's decoders ask for.

        Returns:
            [rows, columns] or [rows, columns, samples] integers.

        Raises:
            DecodeError: no decoder could, or one ended the child or took too long.
        """
        with self._lock:
            child = self._started()
            slow = threading.Event()
            timer = threading.Timer(self.seconds, lambda: (slow.set(), child.kill()))
            timer.daemon = True
            timer.start()
            try:
                return self._ask(child, frame, {"decoders": list(decoders), "length": len(frame), "options": options})
            except (OSError, EOFError) as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5.0)  # the pipe closes a little before its process has ended
                self._end()
                raise DecodeError(self._epitaph(child, slow.is_set())) from error
            except DecodeError:
                raise
            except BaseException:  # an interrupt in the middle leaves half an answer in the pipe
                self._end()
                raise
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the child; the next frame starts another."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self.starts += 1
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM)],  # -P: modules beside the program must not shadow others
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            _widen(self._child.stdin)
            _widen(self._child.stdout)
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        child.wait()

    @staticmethod
    def _ask(child: subprocess.Popen, frame: bytes, request: dict[str, Any]) -> np.ndarray:
        head = json.dumps(request).encode()
        child.stdin.write(len(head).to_bytes(4, "little") + head)
        child.stdin.write(frame)
        child.stdin.flush()
        reply = json.loads(_exactly(child.stdout, int.from_bytes(_exactly(child.stdout, 4), "little")))
        if "reason" in reply:
            raise DecodeError(reply["reason"])
        pixels = np.empty(reply["shape"], reply["dtype"])
        if child.stdout.readinto(pixels.data.cast("B")) != pixels.nbytes:
            raise EOFError
        return pixels

    def _epitaph(self, child: subprocess.Popen, slow: bool) -> str:
        if slow:
            return f"decoding took longer than {self.seconds:g} s and was ended"
        code = child.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return f"the decoder ended its process {how}; reading goes on in another"


def decoder_process() -> DecoderProcess:
    """The decoder of this process; after a fork the new process gets its own."""
    return _decoder_of(os.getpid())


@cache
def _decoder_of(pid: int) -> DecoderProcess:
    return DecoderProcess()


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _widen(stream: BinaryIO) -> None:
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
