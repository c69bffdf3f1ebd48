# SPDX-License-Identifier: Apache-2.0
"""Tubes, lines and devices of a phantom: thin, dense, and in the places where they usually lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from libra_monai.data.phantom.anatomy import SIDES
from libra_monai.data.phantom.canvas import Point, curve, oval
from libra_monai.data.phantom.pathology import Scene


def endotracheal_tube(scene: Scene, side: str | None, size: float, seed: int) -> None:
    """A tube in the windpipe whose tip ends above the carina."""
    tip = float(np.random.default_rng(seed).uniform(0.48, 0.62))
    wall = [([(x, -0.3), (x, tip)], 0.014) for x in (-0.028, 0.028)]
    scene.picture += 0.85 * scene.canvas.lines(wall, 0.003)
    scene.picture += 0.50 * scene.canvas.line([(0.0, -0.3), (0.0, tip)], 0.024, 0.003)


def gastric_tube(scene: Scene, side: str | None, size: float, seed: int) -> None:
    """A line down the midline and into the stomach below the left dome."""
    rng = np.random.default_rng(seed)
    dome = scene.chest.dome_y("left")
    path = [(0.03, -0.3), (0.045, 0.7), (0.03, 1.2), (0.07, dome + 0.02), (0.24, dome + 0.18)]
    path += [(0.42, dome + 0.22 + rng.uniform(0, 0.06))]
    _catheter(scene, path, 0.034, 0.95)


def central_line(scene: Scene, side: str | None, size: float, seed: int) -> None:
    """A catheter from the neck or the subclavian vein of one side to the superior vena cava."""
    rng, s = np.random.default_rng(seed), SIDES[side or "right"]
    tip = (-0.135, float(rng.uniform(0.92, 1.1)))
    if rng.random() < 0.5:
        path = [(s * 0.22, -0.3), (s * 0.2, 0.15), (s * 0.15, 0.42), (-0.1, 0.62), tip]
    else:
        path = [(s * 1.05, 0.62), (s * 0.75, 0.46), (s * 0.4, 0.43), (s * 0.16, 0.5), (-0.1, 0.66), tip]
    _catheter(scene, path, 0.030, 0.80)


def chest_drain(scene: Scene, side: str | None, size: float, seed: int) -> None:
    """A thick tube through the lateral chest wall, its end towards the apex."""
    rng, s = np.random.default_rng(seed), SIDES[side or "right"]
    y = float(rng.uniform(1.2, 1.4))
    wall = scene.chest.wall_x(y)
    path = [(s * (wall + 0.35), y + 0.16), (s * (wall - 0.02), y), (s * (wall - 0.14), y - 0.3)]
    path += [(s * 0.38, float(rng.uniform(0.56, 0.7)))]
    _catheter(scene, path, 0.050, 0.45)
    _catheter(scene, path, 0.016, 0.35)


def pacemaker(scene: Scene, side: str | None, size: float, seed: int) -> None:
    """A generator below the clavicle with leads to the right atrium and ventricle."""
    s = SIDES[side or "left"]
    centre = (s * 0.60, 0.56)
    scene.picture += 0.85 * scene.canvas.area(oval(centre, (0.135, 0.105), 12 * s, (0.03,)), 0.006)
    scene.picture += 0.50 * scene.canvas.area(oval((centre[0], centre[1] - 0.02), (0.08, 0.05), 12 * s), 0.004)
    vein = [(centre[0] - s * 0.08, centre[1] - 0.09), (s * 0.3, 0.42), (s * 0.12, 0.5), (-0.13, 0.72)]
    dome = scene.chest.dome_y("left")
    _catheter(scene, [*vein, (-0.15, 1.05), (-0.12, 1.28)], 0.018, 0.5)
    _catheter(scene, [*vein, (-0.14, 1.1), (-0.06, dome - 0.12), (0.22, dome - 0.06)], 0.018, 0.5)


def _catheter(scene: Scene, path: list[Point], width: float, density: float) -> None:
    scene.picture += density * scene.canvas.line(curve(path), width, 0.004)


DEVICE_PAINTERS: dict[str, Callable[[Scene, str | None, float, int], None]] = {
    "Endotracheal Tube": endotracheal_tube,
    "Gastric Tube": gastric_tube,
    "Central Line": central_line,
    "Chest Drain": chest_drain,
    "Pacemaker": pacemaker,
}
