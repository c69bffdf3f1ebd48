# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG files without what surrounds their pixels: camera data, comments, text, dates.

The compressed pixels are copied as they are, so that a copy shows exactly what the original shows.
"""

from __future__ import annotations

import os
from pathlib import Path

from libra_monai.errors import StudyError

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"IDAT", b"IEND"}
_JPEG_ADOBE = 0xEE  # says how colours are coded; without it CMYK and RGB pictures change


def bare_picture(path: str | os.PathLike) -> bytes:
    """The bytes of a picture file without metadata.

    Args:
        path: a JPEG or PNG file.

    Raises:
        StudyError: it is neither, or breaks off.
    """
    try:
        raw = Path(path).read_bytes()
        if raw.startswith(b"\xff\xd8"):
            return _bare_jpeg(raw)
        if raw.startswith(_PNG):
            return _bare_png(raw)
    except OSError as error:
        raise _bad(path, f"the file cannot be read ({error.strerror})") from error
    except (IndexError, ValueError) as error:
        raise _bad(path, "the picture breaks off") from error
    raise _bad(path, "neither DICOM, JPEG nor PNG")


def _bare_jpeg(raw: bytes) -> bytes:
    kept, place = [raw[:2]], 2
    while raw[place + 1] != 0xDA:  # start of scan: pixels until the end
        if raw[place] != 0xFF:
            raise ValueError("no marker")
        marker, length = raw[place + 1], int.from_bytes(raw[place + 2 : place + 4], "big")
        if length < 2:
            raise ValueError("no segment")
        surrounding = 0xE1 <= marker <= 0xEF and marker != _JPEG_ADOBE or marker == 0xFE
        if not surrounding:
            kept.append(raw[place : place + 2 + length])
        place += 2 + length
    end = raw.rindex(b"\xff\xd9") + 2  # what follows the end mark is not picture
    return b"".join(kept) + raw[place:end]


def _bare_png(raw: bytes) -> bytes:
    kept, place = [raw[:8]], 8
    while True:
        size, kind = int.from_bytes(raw[place : place + 4], "big"), raw[place + 4 : place + 8]
        chunk = raw[place : place + 12 + size]
        if len(chunk) < 12 + size or not kind:
            raise ValueError("no chunk")
        if kind in _PNG_KEPT:
            kept.append(chunk)
        place += 12 + size
        if kind == b"IEND":
            return b"".join(kept)


def _bad(path: str | os.PathLike, reason: str) -> StudyError:
    return StudyError(str(path), "record", reason, "Copy or export the file again.")
