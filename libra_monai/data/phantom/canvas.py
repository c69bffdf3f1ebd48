# SPDX-License-Identifier: Apache-2.0
"""Drawing in body coordinates: soft-edged masks of lines and areas, placed on a pixel grid.

Body coordinates: x runs from the patient's right (-1, the left edge of the picture) to the
patient's left (+1), y downwards from 0 at the chin; the inner chest is about 1.7 wide.
Masks are drawn by Pillow and blurred, which is quicker than evaluating formulae on every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """How the body lies on the detector.

    Args:
        rows, columns: size of the picture in pixels.
        scale: pixels per body unit.
        shift: body point (x, y) at the centre of the picture.
        rotation: degrees, positive turns the picture clockwise.
    """

    rows: int
    columns: int
    scale: float
    shift: Point
    rotation: float

    def pixels(self, points: Sequence[Point]) -> np.ndarray:
        """Body points as pixel positions [(column, row)]."""
        body = np.asarray(points, dtype=np.float64) - np.asarray(self.shift)
        angle = np.deg2rad(self.rotation)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return body @ turn * self.scale + (self.columns / 2, self.rows / 2)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates (x, y) of all pixels, each [rows, columns]."""
        column, row = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        pixel = np.stack([column - self.columns / 2, row - self.rows / 2], -1) / self.scale
        angle = np.deg2rad(self.rotation)
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        body = pixel @ back + np.asarray(self.shift)
        return body[..., 0].astype(np.float32), body[..., 1].astype(np.float32)


class Canvas:
    """Masks in 0..1 on one pixel grid.

    Args:
        placement: how the body lies on the detector.
    """

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.x, self.y = placement.grid()

    def area(self, points: Sequence[Point], soft: float) -> np.ndarray:
        """A filled outline with edges blurred over `soft` body units; [rows, columns] in 0..1."""
        image, draw = self._blank()
        draw.polygon([tuple(p) for p in self.placement.pixels(points)], fill=255)
        return self._finish(image, soft)

    def line(self, points: Sequence[Point], width: float, soft: float = 0.0) -> np.ndarray:
        """A stroke along points, `width` body units wide; [rows, columns] in 0..1."""
        return self.lines([(points, width)], soft)

    def lines(self, strokes: Sequence[tuple[Sequence[Point], float]], soft: float = 0.0) -> np.ndarray:
        """Several strokes in one mask; where they cross, the mask stays at 1."""
        image, draw = self._blank()
        for points, width in strokes:
            pixels = [tuple(p) for p in self.placement.pixels(points)]
            draw.line(pixels, fill=255, width=max(1, round(width * self.placement.scale)), joint="curve")
        return self._finish(image, soft)

    def ellipse(self, centre: Point, radii: Point, soft: float, tilt: float = 0.0) -> np.ndarray:
        """A soft ellipse; tilt in degrees; [rows, columns] in 0..1."""
        return self.area(oval(centre, radii, tilt), soft)

    def noise(self, rng: np.random.Generator, grain: float) -> np.ndarray:
        """Smooth noise with features of `grain` body units; zero mean, unit deviation."""
        step = max(1.0, grain * self.placement.scale)
        coarse = (int(self.placement.columns / step) + 3, int(self.placement.rows / step) + 3)
        image = Image.fromarray(rng.standard_normal((coarse[1], coarse[0])).astype(np.float32))
        fine = np.asarray(
            image.resize((self.placement.columns, self.placement.rows), Image.Resampling.BICUBIC), dtype=np.float32
        )
        return (fine - fine.mean()) / (fine.std() + 1e-6)

    def _blank(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (self.placement.columns, self.placement.rows), 0)
        return image, ImageDraw.Draw(image)

    def _finish(self, image: Image.Image, soft: float) -> np.ndarray:
        """The mask of a drawing; only where something is drawn, and as far as that is blurred, is anything computed."""
        mask = np.zeros((self.placement.rows, self.placement.columns), np.float32)
        drawn = image.getbbox()
        if drawn is None:
            return mask
        radius = soft * self.placement.scale
        if radius > 0.3:
            reach = math.ceil(3 * radius) + 3  # Pillow blurs by three boxes, none wider than the radius
            left, top, right, bottom = drawn
            drawn = (max(left - reach, 0), max(top - reach, 0), min(right + reach, image.width), min(bottom + reach, image.height))
            image = image.crop(drawn).filter(ImageFilter.GaussianBlur(radius))
        else:
            image = image.crop(drawn)
        left, top, right, bottom = drawn
        mask[top:bottom, left:right] = np.asarray(image, dtype=np.float32) / 255.0
        return mask


def oval(centre: Point, radii: Point, tilt: float = 0.0, wobble: Sequence[float] = ()) -> list[Point]:
    """Outline of an ellipse; `wobble` are relative amplitudes of harmonics 2, 3, ... for irregular edges."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    swell = 1 + sum((a * np.sin(k * t + 5 * a * k) for k, a in enumerate(wobble, start=2)), np.zeros_like(t))
    a, b, angle = radii[0] * swell * np.cos(t), radii[1] * swell * np.sin(t), np.deg2rad(tilt)
    xs = centre[0] + a * np.cos(angle) - b * np.sin(angle)
    ys = centre[1] + a * np.sin(angle) + b * np.cos(angle)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def curve(points: Sequence[Point], steps: int = 24) -> list[Point]:
    """A smooth curve through points (Catmull-Rom)."""
    p = np.asarray([points[0], *points, points[-1]], dtype=np.float64)
    spans = len(p) - 3
    t = np.linspace(0, 1, steps // spans + 2)[:-1, None, None]  # [steps,1,1] against [spans,2]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    between = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    xs, ys = np.concatenate([between.swapaxes(0, 1).reshape(-1, 2), p[-2:-1]]).T
    return list(zip(xs.tolist(), ys.tolist(), strict=True))
