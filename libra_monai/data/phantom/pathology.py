# SPDX-License-Identifier: Apache-2.0
"""How findings change the attenuation picture of a phantom.

Each painter adds one finding. `size` in 0..1 is the extent behind the word: small 0.15-0.35,
moderate 0.45-0.65, large 0.80-1.0. `seed` fixes place and shape over a patient's studies, so that a
stable finding looks the same and a worsened one has grown where it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from libra_monai.data.phantom.anatomy import SIDES, Chest
from libra_monai.data.phantom.canvas import Canvas, curve, oval


def sides_of(side: str | None) -> list[str]:
    """The body sides a word covers: `bilateral` is both, None (a midline finding) is none."""
    return ["right", "left"] if side == "bilateral" else [side] if side in SIDES else []


class Scene:
    """A picture under construction.

    Args:
        canvas: where to draw.
        chest: outlines in this study's pose.
        picture: attenuation [rows, columns], changed in place.
        lungs: soft lung masks by side.
    """

    def __init__(self, canvas: Canvas, chest: Chest, picture: np.ndarray, lungs: dict[str, np.ndarray]) -> None:
        self.canvas, self.chest, self.picture, self.lungs = canvas, chest, picture, lungs


def effusion(scene: Scene, side: str, size: float, seed: int) -> None:
    """Fluid that fills the sulcus and climbs the wall (meniscus)."""
    rng, s = np.random.default_rng(seed), SIDES[side]
    dome = scene.chest.dome_y(side)
    level = dome + 0.14 - 0.92 * size + rng.uniform(-0.02, 0.02)  # height at mid-lung
    wall = scene.chest.wall_x(level) + 0.05
    rise = 0.10 + 0.12 * size
    top = [(s * 0.05, level + 0.05), (s * 0.45 * wall, level + 0.02), (s * 0.8 * wall, level - 0.25 * rise)]
    outline = [*curve([*top, (s * wall, level - rise)]), (s * (wall + 0.1), dome + 0.6), (s * 0.05, dome + 0.6)]
    mask = scene.canvas.area(outline, 0.03) * scene.lungs[side]
    scene.picture += 0.78 * mask * (1 - 0.12 * (1 - size))


def pneumothorax(scene: Scene, side: str, size: float, seed: int) -> None:
    """Air outside the collapsed lung: no vessels, darker, bounded by a thin pleural line."""
    s, body = SIDES[side], scene.chest.body
    gap = 0.05 + 0.30 * size
    bottom = body.apex + 0.45 + 0.75 * size
    edge = []
    for y in np.linspace(body.apex + 0.9 * gap, bottom, 14):
        fade = np.sin(0.5 * np.pi * np.clip(1.6 * (bottom - y) / (bottom - body.apex), 0.08, 1.0))
        edge.append((s * max(0.14, scene.chest.wall_x(y) - gap * float(fade)), float(y)))
    edge = [(s * 0.12, body.apex + 0.75 * gap), *edge]
    outside = [(s * (scene.chest.wall_x(y) + 0.02), float(y)) for y in np.linspace(bottom, body.apex - 0.05, 14)]
    air = scene.canvas.area([*curve(edge), *outside, (s * 0.1, body.apex - 0.05)], 0.006) * scene.lungs[side]
    scene.picture -= air * np.clip(scene.picture - 0.02, 0, 0.17)
    scene.picture += 0.22 * scene.canvas.line(curve(edge), 0.016, 0.003) * scene.lungs[side]
    scene.picture += 0.10 * size * (scene.lungs[side] - air).clip(0)


def consolidation(scene: Scene, side: str, size: float, seed: int) -> None:
    """A dense patch with blurred, irregular edges in one zone of the lung."""
    rng, s = np.random.default_rng(seed), SIDES[side]
    y = float(rng.uniform(0.75, scene.chest.dome_y(side) - 0.28))
    x = s * float(rng.uniform(0.45, 0.62)) * scene.chest.wall_x(y)
    radius = 0.11 + 0.25 * size
    outline = oval((x, y), (radius, radius * rng.uniform(0.75, 1.05)), rng.uniform(0, 180), rng.uniform(-0.2, 0.2, 4))
    patch = scene.canvas.area(outline, 0.035)
    mottle = 1 + 0.16 * scene.canvas.noise(rng, 0.06)
    scene.picture += (0.40 + 0.12 * size) * patch * mottle * scene.lungs[side]


def edema(scene: Scene, side: str, size: float, seed: int) -> None:
    """Haze around the hila, blurred thick vessels and short lines at the periphery, on both sides."""
    rng = np.random.default_rng(seed)
    for name in sides_of(side):
        s = SIDES[name]
        haze = scene.canvas.ellipse((s * 0.34, 1.02), (0.30 + 0.1 * size, 0.42), 0.13)
        scene.picture += (0.12 + 0.34 * size) * haze * scene.lungs[name]
        lines = []
        for _ in range(int(5 + 10 * size)):
            y = rng.uniform(1.0, scene.chest.dome_y(name) + 0.1)
            x = scene.chest.wall_x(y)
            lines.append(([(s * (x - 0.03), y), (s * (x - 0.15), y + rng.uniform(-0.02, 0.02))], 0.010))
        streaks = []
        for _ in range(14):
            angle = np.deg2rad(rng.uniform(-70, 70))
            start = (s * 0.26, 0.98 + 0.1 * np.sin(angle))
            reach = rng.uniform(0.25, 0.5)
            streaks.append(([start, (start[0] + s * reach * np.cos(angle), start[1] + reach * np.sin(angle))], 0.028))
        scene.picture += (0.08 + 0.10 * size) * scene.canvas.lines(streaks, 0.014) * scene.lungs[name]
        scene.picture += (0.08 + 0.10 * size) * scene.canvas.lines(lines, 0.003) * scene.lungs[name]


def atelectasis(scene: Scene, side: str, size: float, seed: int) -> None:
    """Plate-like bands above the diaphragm; the loss of volume that raises it is in the pose."""
    rng, s = np.random.default_rng(seed), SIDES[side]
    dome = scene.chest.dome_y(side)
    inner = 0.25 if side == "right" else 0.36  # keep clear of the heart
    bands = []
    for number in range(1 + int(3 * size)):
        y = dome - 0.10 - 0.085 * number + rng.uniform(-0.01, 0.01)
        slope = rng.uniform(-0.10, 0.02)
        start, end = inner + rng.uniform(0, 0.05), inner + rng.uniform(0.30, 0.40)
        line = curve([(s * start, y), (s * (start + end) / 2, y + slope / 2 - 0.02), (s * end, y + slope)])
        bands.append((line, 0.032 + 0.016 * size))
    scene.picture += (0.32 + 0.12 * size) * scene.canvas.lines(bands, 0.007) * scene.lungs[side]


def lesion(scene: Scene, side: str, size: float, seed: int) -> None:
    """A round, sharply bounded nodule or mass in the upper or middle lung."""
    rng, s = np.random.default_rng(seed), SIDES[side]
    y = float(rng.uniform(0.66, 1.10))
    x = s * float(rng.uniform(0.50, 0.74)) * scene.chest.wall_x(y)
    radius = 0.055 + 0.11 * size
    mask = scene.canvas.area(oval((x, y), (radius, radius * 0.95), 0, rng.uniform(-0.05, 0.05, 3)), 0.008)
    scene.picture += 0.60 * mask * scene.lungs[side]


# Cardiomegaly is not painted: it widens the heart of the `Chest` before anything is drawn.
PAINTERS: dict[str, Callable[[Scene, str, float, int], None]] = {
    "Pleural Effusion": effusion,
    "Pneumothorax": pneumothorax,
    "Consolidation": consolidation,
    "Edema": edema,
    "Atelectasis": atelectasis,
    "Lung Lesion": lesion,
}
