# SPDX-License-Identifier: Apache-2.0
"""Outlines of a phantom's chest from the side, in the pose and at the heights of its frontal picture."""

from __future__ import annotations

import numpy as np

from libra_monai.data.phantom.anatomy import Chest
from libra_monai.data.phantom.canvas import Point, curve

_DEEPEST = 0.30  # how far the posterior sulcus lies below the dome


class Profile:
    """One chest from the side; x from the sternum (-) to the back (+).

    Args:
        chest: the frontal outlines of the study.
    """

    def __init__(self, chest: Chest) -> None:
        self.chest, self.depth = chest, 0.74 * chest.body.width  # half of the way from sternum to back

    def dome(self, side: str) -> float:
        """y of the top of a dome."""
        return self.chest.dome_y(side)

    def front(self, y: float) -> float:
        """x of the inner side of the sternum at height y."""
        t = float(np.clip((y - 0.35) / 1.0, 0, 1))
        return -self.depth * (0.42 + 0.52 * t**0.8)

    def back(self, y: float) -> float:
        """x of the inner side of the posterior ribs at height y."""
        t = float(np.clip((y - 0.30) / 0.8, 0, 1))
        return self.depth * (0.56 + 0.44 * np.sqrt(1 - (1 - t) ** 2))

    def spine(self, y: float) -> Point:
        """Middle of the vertebral bodies at height y, in a slight curve."""
        return self.depth * (0.42 + 0.30 * float(np.sin(np.pi * np.clip((y + 0.15) / 2.3, 0, 1)))), float(y)

    def heart(self) -> tuple[Point, Point, float]:
        """Centre, radii and tilt of the heart; a large one reaches further back, towards the spine."""
        half = self.chest.heart_width / 2
        top = min(self.dome("left"), self.dome("right"))
        return (-0.42 * self.depth + 0.55 * (half - 0.37), top - 0.16), (half * 0.98, half * 0.72), 52.0

    def sulcus(self, side: str) -> Point:
        """The posterior costophrenic angle."""
        y = self.dome(side) + _DEEPEST
        return self.back(y) - 0.015, y

    def arch(self, side: str) -> list[Point]:
        """A dome from the front to the posterior sulcus."""
        y, lower = self.dome(side), 0.015 if side == "left" else 0.0
        front = self.front(y) + 0.01
        middle = [(-0.45 * self.depth, y + 0.035 + lower), (-0.05 * self.depth, y), (0.42 * self.depth, y + 0.06)]
        return curve([(front, y + 0.13), *middle, (0.78 * self.depth, y + 0.17), self.sulcus(side)], 40)

    def lung(self) -> list[Point]:
        """Both lungs: from the apex down the sternum, along the lower dome, up the back."""
        low = "left" if self.dome("left") > self.dome("right") else "right"
        arch = self.arch(low)
        front = [(self.front(y), float(y)) for y in np.linspace(0.46, arch[0][1], 14)]
        back = [(self.back(y), float(y)) for y in np.linspace(arch[-1][1], 0.42, 18)]
        return [*front, *arch, *back, (0.12, self.chest.body.apex), (-0.06, self.chest.body.apex + 0.02)]

    def below(self, side: str) -> list[Point]:
        """What lies under a dome."""
        arch = self.arch(side)
        return [*arch, (arch[-1][0] + 0.02, 2.7), (arch[0][0] - 0.02, 2.7)]

    def trunk(self) -> list[Point]:
        """The skin, with the arms raised in front of and behind the head."""
        front = [(self.front(y) - 0.10 - 0.5 * self.chest.body.fat * min(y, 1.0), float(y)) for y in np.linspace(0.38, 2.6, 16)]
        back = [(self.back(min(y, 1.7)) + 0.16, float(y)) for y in np.linspace(2.6, 0.38, 16)]
        return [(-0.55, -0.4), (-0.52, 0.25), *front, *back, (0.62, 0.2), (0.60, -0.4)]
