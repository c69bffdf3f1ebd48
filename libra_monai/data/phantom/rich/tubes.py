# SPDX-License-Identifier: Apache-2.0
"""Tubes, lines and devices of rich phantoms, each ending where the report says: in its place, or in a wrong one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from libra_monai.data.phantom.anatomy import SIDES
from libra_monai.data.phantom.canvas import Point, curve, oval
from libra_monai.data.phantom.pathology import Scene
from libra_monai.data.phantom.rich.details import detail_of

CARINA = 0.77  # y where the windpipe parts
CENTIMETRE = 0.06  # body units
_STOMACH = 0.24  # x where the esophagus has become stomach


def _endotracheal_tube(scene: Scene, side: str | None, seed: int) -> None:
    detail = detail_of("Endotracheal Tube", seed)
    if detail.place == "bronchus":
        path = curve([(0.0, -0.3), (0.0, 0.5), (-0.012, 0.76), (-0.085, 0.885), (-0.155, 0.95)])
    else:
        path = [(0.0, -0.3), (0.0, CARINA - CENTIMETRE * detail.distance)]
    for shift in (-0.026, 0.026):
        scene.picture += 0.85 * scene.canvas.line([(x + shift, y) for x, y in path], 0.014, 0.003)
    scene.picture += 0.50 * scene.canvas.line(path, 0.024, 0.003)


def _gastric_tube(scene: Scene, side: str | None, seed: int) -> None:
    rng, dome = np.random.default_rng(seed), scene.chest.dome_y("left")
    place = detail_of("Gastric Tube", seed).place
    path = [(0.03, -0.3), (0.045, 0.7)]
    if place == "coiled":
        y = float(rng.uniform(0.85, 1.0))
        path += [(0.05, y), (0.10, y + 0.16), (0.045, y + 0.25), (-0.02, y + 0.14), (0.03, y), (0.11, y + 0.03), (0.10, y + 0.2)]
    elif place == "airway":
        path = [(0.01, -0.3), (0.005, 0.7), (-0.06, 0.87), (-0.18, 0.97), (-0.30, 1.14), (-0.36, 1.26)]
    elif place == "esophagus":
        path += [(0.03, 1.1), (0.05, min(1.32, dome - 0.12))]
    else:
        path += [(0.03, 1.2), (0.07, dome + 0.02), (_STOMACH, dome + 0.18)]
        end = dome + 0.22 + float(rng.uniform(0, 0.06))
        path += [(0.42, end)] if place == "stomach" else [(0.3, end + 0.06), (0.12, end + 0.09), (-0.06, end + 0.04)]
    _catheter(scene, path, 0.034, 0.95)


def _central_line(scene: Scene, side: str | None, seed: int) -> None:
    rng, s = np.random.default_rng(seed), SIDES[side or "right"]
    place = detail_of("Central Line", seed).place
    jugular = rng.random() < 0.5 and place != "neck"
    path = [(s * 0.22, -0.3), (s * 0.2, 0.15), (s * 0.15, 0.42)]
    if not jugular:
        path = [(s * 1.05, 0.62), (s * 0.75, 0.46), (s * 0.4, 0.43), (s * 0.2, 0.47)]
    if place == "neck":
        path = [*path[:-1], (s * 0.22, 0.36), (s * 0.2, 0.16), (s * 0.22, 0.06)]
    else:
        end = {"svc": (-0.135, 0.93), "junction": (-0.14, 1.07), "atrium": (-0.12, 1.30)}[place]
        path += [(-0.1, 0.66), (-0.135, 0.86), end]
    _catheter(scene, path, 0.030, 0.80)


def _chest_drain(scene: Scene, side: str | None, seed: int) -> None:
    rng, s = np.random.default_rng(seed), SIDES[side or "right"]
    place, y = detail_of("Chest Drain", seed).place, float(rng.uniform(1.2, 1.35))
    wall, dome = scene.chest.wall_x(y), scene.chest.dome_y(side or "right")
    path = [(s * (wall + 0.35), y + 0.16), (s * (wall - 0.02), y)]
    if place == "wall":
        path = [(s * (wall + 0.30), y + 0.2), (s * (wall + 0.06), y - 0.02), (s * (wall + 0.045), y - 0.24)]
        path += [(s * (scene.chest.wall_x(y - 0.42) + 0.05), y - 0.42)]
    elif place == "abdomen":
        path += [(s * (wall - 0.2), y + 0.12), (s * 0.42, dome + 0.14), (s * 0.28, dome + 0.3)]
    else:
        path += [(s * (wall - 0.14), y - 0.3)]
        path += [(s * 0.38, float(rng.uniform(0.54, 0.62)))] if place == "apex" else [(s * 0.32, 0.98)]
    _catheter(scene, path, 0.050, 0.45)
    _catheter(scene, path, 0.016, 0.35)


def _pacemaker(scene: Scene, side: str | None, seed: int) -> None:
    s, dome = SIDES[side or "left"], scene.chest.dome_y("left")
    place, centre = detail_of("Pacemaker", seed).place, (s * 0.60, 0.56)
    scene.picture += 0.85 * scene.canvas.area(oval(centre, (0.135, 0.105), 12 * s, (0.03,)), 0.006)
    scene.picture += 0.50 * scene.canvas.area(oval((centre[0], centre[1] - 0.02), (0.08, 0.05), 12 * s), 0.004)
    lead = [(centre[0] - s * 0.08, centre[1] - 0.09), (s * 0.3, 0.42), (s * 0.12, 0.5), (-0.13, 0.72)]
    if place == "cava":
        lead += [(-0.14, 0.9)]
    elif place == "right":
        lead += [(-0.15, 1.05), (-0.16, 1.2), (-0.1, 1.3)]
    else:
        lead += [(-0.14, 1.1), (-0.06, dome - 0.12), (0.22, dome - 0.06)]
    _catheter(scene, lead, 0.018, 0.6)
    scene.picture += 0.5 * scene.canvas.ellipse(lead[-1], (0.022, 0.022), 0.004)  # the electrode


def _catheter(scene: Scene, path: list[Point], width: float, density: float) -> None:
    scene.picture += density * scene.canvas.line(curve(path, 48), width, 0.004)


TUBE_PAINTERS: dict[str, Callable[[Scene, str | None, int], None]] = {
    "Endotracheal Tube": _endotracheal_tube,
    "Gastric Tube": _gastric_tube,
    "Central Line": _central_line,
    "Chest Drain": _chest_drain,
    "Pacemaker": _pacemaker,
}
