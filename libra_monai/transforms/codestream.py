# SPDX-License-Identifier: Apache-2.0
"""How large a codestream says its picture is, read from its first markers, before any decoder allocates for it.

JPEG and JPEG-LS say it in a start-of-frame segment (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2), JPEG 2000 and HTJ2K in SIZ
(ISO/IEC 15444-1 A.5.1). Run-length frames say nothing.
"""

from __future__ import annotations

_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}  # markers without a segment
_SEGMENTS = 4096  # more than any file has before its frame


def claimed_size(codestream: bytes) -> tuple[int, int] | None:
    """(rows, columns) by the codestream's own word; None if it is of another kind or says nothing.

    Args:
        codestream: one frame.
    """
    if codestream[:4] == b"\xff\x4f\xff\x51":
        return _size_of_j2k(codestream)
    if codestream[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" and (start := codestream.find(b"\xff\x4f\xff\x51", 0, 4096)) > 0:
        return _size_of_j2k(codestream[start : start + 64])
    return _size_of_jpeg(codestream) if codestream[:2] == b"\xff\xd8" else None


def _size_of_j2k(codestream: bytes) -> tuple[int, int] | None:
    if len(codestream) < 24:
        return None
    right, bottom, left, top = (int.from_bytes(codestream[at : at + 4], "big") for at in (8, 12, 16, 20))
    return bottom - top, right - left


def _size_of_jpeg(codestream: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_SEGMENTS):
        while codestream[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 9 > len(codestream) or codestream[at] != 0xFF:
            return None
        marker = codestream[at + 1]
        if marker in _SOF:
            return tuple(int.from_bytes(codestream[i : i + 2], "big") for i in (at + 5, at + 7))
        at += 2 if marker in _ALONE else 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    return None
