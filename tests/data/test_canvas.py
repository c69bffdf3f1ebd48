# SPDX-License-Identifier: Apache-2.0
"""Masks of drawings: what is left out of the computing shows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFilter

from libra_monai.data.phantom.canvas import Canvas, Placement, oval


@pytest.mark.parametrize("soft", [0.0, 0.004, 0.03, 0.13])
@pytest.mark.parametrize("centre", [(0.0, 1.0), (-1.1, 0.2), (0.9, 2.4), (4.0, 4.0)], ids=["inside", "corner", "edge", "outside"])
def test_a_mask_is_the_blur_of_the_whole_canvas_though_only_its_surroundings_are_computed(soft, centre):
    canvas = Canvas(Placement(160, 130, 60.0, (0.0, 1.2), 4.0))
    image, draw = canvas._blank()
    draw.polygon([tuple(p) for p in canvas.placement.pixels(oval(centre, (0.3, 0.1), 20))], fill=255)
    whole = image.filter(ImageFilter.GaussianBlur(soft * 60)) if soft * 60 > 0.3 else image
    assert np.array_equal(canvas.ellipse(centre, (0.3, 0.1), soft, 20), np.asarray(whole, dtype=np.float32) / 255)
