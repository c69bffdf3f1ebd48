# SPDX-License-Identifier: Apache-2.0
"""Square pictures of the encoder's size, by the route of the published models: pad, then bicubic in Pillow."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from PIL import Image

from libra_monai.errors import ConfigError


class FitSquare(Transform):
    """Pad to a square with the picture in the middle, then resize; uint8 [1,h,w] to uint8 [1,size,size].

    Args:
        size: side of the result in pixels.
        fill: grey level of the padding; 0 as in Libra's training (135 is what its later inference code used).

    Raises:
        ConfigError: the size is not positive.
    """

    def __init__(self, size: int, fill: int = 0) -> None:
        if size < 1:
            raise ConfigError(f"image_size {size} is not positive", "Give the side in pixels.")
        self.size, self.fill = size, fill

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = np.asarray(pixels[0].cpu(), dtype=np.uint8)
        rows, columns = grey.shape
        side = max(rows, columns)
        top, left = (side - rows) // 2, (side - columns) // 2
        square = np.full((side, side), self.fill, dtype=np.uint8)
        square[top : top + rows, left : left + columns] = grey
        resized = Image.fromarray(square).resize((self.size, self.size), Image.Resampling.BICUBIC)
        result = torch.from_numpy(np.array(resized)).unsqueeze(0)
        return MetaTensor(result, meta=dict(pixels.meta)) if isinstance(pixels, MetaTensor) else result
