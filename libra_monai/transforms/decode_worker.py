# SPDX-License-Identifier: Apache-2.0
"""The program of the child process that runs native decoders; started as a script, so that it loads little.

Native code that meets a malformed codestream may abort or run wild. Here it costs this process only. It imports
nothing of its own package: a worker starts in a fraction of a second and holds no model. Messages in both directions
are a four-byte length, JSON of that length, then the bytes that the JSON announces; standard input closing ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any, BinaryIO

_MEMORY = 8 << 30  # bytes of address space; a decoder that wants more fails instead of taking the machine


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    _limit()
    while (request := _header(sys.stdin.buffer)) is not None:
        data = _exactly(sys.stdin.buffer, request["length"])
        reply, pixels = _answer(request, data)
        head = json.dumps(reply).encode()
        answers.write(len(head).to_bytes(4, "little") + head)
        if pixels is not None:
            answers.write(pixels.data.cast("B"))
        answers.flush()


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], Any]:
    """The reply to a request, and the pixels if a decoder made them."""
    reasons = []
    for name in request["decoders"]:
        try:
            pixels = _checked(_decoder(name)(data, request["options"]), request["options"])
            return {"shape": pixels.shape, "dtype": pixels.dtype.str, "decoder": name}, pixels
        except ImportError as error:
            reasons.append(f"{error}")
        except BaseException as error:  # panics of decoders written in Rust are no `Exception`
            reasons.append((str(error).strip().splitlines() or [type(error).__name__])[0][:160])
    return {"reason": reasons[-1] if len(reasons) == 1 else "; ".join(dict.fromkeys(reasons))}, None


def _checked(pixels: Any, options: dict[str, Any]) -> Any:
    """The pixels in one block of memory, if they are what the header promised."""
    import numpy as np

    if "rows" not in options:  # a picture file, whose header Pillow has checked
        return np.ascontiguousarray(pixels)
    samples = options["samples_per_pixel"]
    wanted = (options["rows"], options["columns"], *((samples,) if samples > 1 else ()))
    if pixels.shape != wanted or pixels.dtype.kind not in "iu":
        raise ValueError(f"the codestream holds {pixels.shape} {pixels.dtype}, the header says {wanted}")
    return np.ascontiguousarray(pixels)


def _decoder(name: str) -> Any:
    """The function (bytes, options) -> array of a name; `module:function` names one of a plugin."""
    if ":" in name:
        module, function = name.split(":")
        return getattr(importlib.import_module(module), function)
    if name == "picture":
        return _picture
    return _pydicom(name) if name in ("pydicom", "pylibjpeg") else _imagecodecs(name)


def _imagecodecs(name: str) -> Any:
    import imagecodecs

    decode = getattr(imagecodecs, {"jpeg": "jpeg8_decode"}.get(name, f"{name}_decode"))
    given = {"numthreads": _threads()} if name == "jpeg2k" else {}  # by far the slowest
    return lambda data, options: decode(data, **given).reshape(options["rows"], options["columns"])


def _threads() -> int:
    """As many as this process may use, up to four."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, allowed)


def _pydicom(name: str) -> Any:
    """One plugin of pydicom by its name there, or whatever it finds: its own run-length decoder, gdcm, Pillow."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    def decode(data: bytes, options: dict[str, Any]) -> Any:
        given = {**options, "number_of_frames": 1, "pixel_keyword": "PixelData", "planar_configuration": 0}
        syntax = UID(given.pop("transfer_syntax"))
        plugin = "" if name == "pydicom" else name
        array, _ = get_decoder(syntax).as_array(encapsulate([data]), index=0, decoding_plugin=plugin, **given)
        return array

    return decode


def _picture(data: bytes, options: dict[str, Any]) -> Any:
    """A picture file of a kind that Pillow leaves to other libraries (TIFF, JPEG 2000, WebP, ...)."""
    import io

    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=options["formats"]) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        plain = upright.mode == "L" or upright.mode.startswith(("I", "F"))
        grey = upright.mode in ("1", "LA")
        return np.asarray(upright if plain else upright.convert("L" if grey else "RGB"))


def _limit() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a cluster's goes to all processes; the parent decides when this one ends
    try:
        import resource
    except ImportError:  # no such limits on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, hard))


def _header(stream: BinaryIO) -> dict[str, Any] | None:
    size = stream.read(4)
    return json.loads(_exactly(stream, int.from_bytes(size, "little"))) if len(size) == 4 else None


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise SystemExit
    return data


if __name__ == "__main__":
    main()
