# SPDX-License-Identifier: Apache-2.0
"""Pictures for the reader's screen: as many grey levels as the file has, upright, with the window it asks for.

The model sees eight bits through the file's window; a reader wants to move the window. So nothing is cut here, and the
input gate is not asked: what it refuses is drafted by no one, but may be looked at.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from libra_monai.errors import StudyError
from libra_monai.transforms import ACCEPT_ALL, LoadRadiograph
from libra_monai.transforms.dicom import MAX_PIXELS, read_wide
from libra_monai.transforms.levels import WideLevels

SIDE = (16, 4096)  # pixels of the longer side that may be asked for
_DEEP = ("I", "F")  # modes of Pillow with more than eight bits


def read_picture(path: str) -> WideLevels:
    """A radiograph as `uint16` [h,w], DICOM, PNG or JPEG.

    Args:
        path: of the file.

    Raises:
        StudyError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return read_wide(path)
    deep = _deep_png(path) if head.startswith(b"\x89PNG") else None
    if deep is not None:
        return deep
    pixels = LoadRadiograph(ACCEPT_ALL)(path).numpy()[0]  # says what is wrong with the file; DICOM without the mark too
    return WideLevels(pixels.astype(np.uint16), 0, 255, 8)


def fitted(levels: WideLevels, side: int) -> WideLevels:
    """The picture with its longer side at most `side`, each pixel the mean of those it stands for.

    Args:
        levels: the picture.
        side: pixels.
    """
    rows, columns = levels.values.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return levels
    size = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    small = interpolate(torch.from_numpy(levels.values.astype(np.float32))[None, None], size=size, mode="area")[0, 0]
    return replace(levels, values=small.round().numpy().astype(np.uint16))


def _deep_png(path: str) -> WideLevels | None:
    """A PNG of 16 bits; None if it has eight, or if it is for the usual reader to say what is wrong."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if not image.mode.startswith(_DEEP) or image.width * image.height > MAX_PIXELS:
                return None
            values = np.asarray(image).astype(np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    low, high = int(values.min()), int(values.max())
    if high == low:
        raise StudyError(path, "pixels", "the picture shows nothing: all pixels are equal", "Export the file again.")
    return WideLevels((values - low).astype(np.uint16), 0, high - low, max(1, (high - low).bit_length()))
