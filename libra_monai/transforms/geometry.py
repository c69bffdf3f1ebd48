# SPDX-License-Identifier: Apache-2.0
"""Square pictures of the encoder's size, by the route of the published models: pad or crop, and bicubic in Pillow.

The arithmetic is that of Hugging Face's `BitImageProcessorPil` and `CLIPImageProcessor`, to the bit; the
last step, normalisation, belongs to `libra_monai.data.processor`, so that pictures stay uint8 in one channel.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from PIL import Image

from libra_monai.errors import ConfigError

ASPECTS = ("pad", "crop")


class FitSquare(Transform):
    """Make a picture square and resize it; uint8 [1,h,w] to uint8 [1,size,size].

    Args:
        size: side of the result in pixels.
        fill: grey level of the padding; 0 as in Libra's training (135 is what its later inference code used).
        aspect: `pad` to a square with the picture in the middle, or `crop`: the shorter side is resized and the
            middle of the longer one kept.

    Raises:
        ConfigError: the size is not positive, the aspect unknown, or the fill no grey level.
    """

    def __init__(self, size: int, fill: int = 0, aspect: str = "pad") -> None:
        if size < 1:
            raise ConfigError(f"image_size {size} is not positive", "Give the side in pixels.")
        if aspect not in ASPECTS:
            raise ConfigError(f"aspect '{aspect}' does not exist", f"Use one of {', '.join(ASPECTS)}.")
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill {fill} is no grey level", "Give a number from 0 (black) to 255 (white).")
        self.size, self.fill, self.aspect = size, fill, aspect

    @property
    def settings(self) -> dict[str, int | str]:
        """What the result depends on besides the picture, for caches."""
        return {"size": self.size, "fill": self.fill, "aspect": self.aspect}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = np.asarray(pixels[0].cpu(), dtype=np.uint8)
        square = self._padded(grey) if self.aspect == "pad" else self._cropped(grey)
        result = torch.from_numpy(np.array(square)).unsqueeze(0)
        return MetaTensor(result, meta=dict(pixels.meta)) if isinstance(pixels, MetaTensor) else result

    def _padded(self, grey: np.ndarray) -> np.ndarray:
        rows, columns = grey.shape
        side = max(rows, columns)
        square = grey
        if rows != columns:
            top, left = (side - rows) // 2, (side - columns) // 2
            square = np.full((side, side), self.fill, dtype=np.uint8)
            square[top : top + rows, left : left + columns] = grey
        return self._resized(square, self.size, self.size)

    def _cropped(self, grey: np.ndarray) -> np.ndarray:
        rows, columns = grey.shape
        short = min(rows, columns)
        rows, columns = (self.size if n == short else int(self.size * n / short) for n in (rows, columns))
        resized = self._resized(grey, rows, columns)
        top, left = (rows - self.size) // 2, (columns - self.size) // 2
        return resized[top : top + self.size, left : left + self.size]

    @staticmethod
    def _resized(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
        if grey.shape == (rows, columns):
            return grey
        return np.asarray(Image.fromarray(grey).resize((columns, rows), Image.Resampling.BICUBIC))
