# SPDX-License-Identifier: Apache-2.0
"""Findings and devices on the lateral picture, at the heights at which the frontal picture shows them."""

from __future__ import annotations

import numpy as np

from libra_monai.data.phantom.canvas import Canvas, Point, curve, oval
from libra_monai.data.phantom.pathology import sides_of
from libra_monai.data.phantom.rich.details import detail_of
from libra_monai.data.phantom.rich.frontal import spot
from libra_monai.data.phantom.rich.lateral_shape import Profile
from libra_monai.data.phantom.rich.tubes import CARINA, CENTIMETRE
from libra_monai.data.phantom.story import DEVICES, Condition


def paint_lateral(
    canvas: Canvas, profile: Profile, picture: np.ndarray, lung: np.ndarray, condition: Condition
) -> None:
    """Add one condition to a lateral picture; cardiomegaly is in the profile.

    Args:
        canvas: where to draw.
        profile: outlines of the study.
        picture: attenuation [rows, columns], changed in place.
        lung: soft mask of the lungs.
        condition: what is added.
    """
    name, size, seed = condition.finding, condition.size, condition.seed
    if name in DEVICES:
        path, width, density = _tube(profile, name, seed)
        picture += density * canvas.line(curve(path, 48), width, 0.004)
        if name == "Pacemaker":
            picture += 0.8 * canvas.area(oval((profile.front(0.6) - 0.06, 0.58), (0.035, 0.11), -14), 0.006)
        return
    for number, side in enumerate(sides_of(condition.side)):
        if name in _PAINTERS:
            _PAINTERS[name](canvas, profile, picture, lung, side, size, seed + number)
        elif name in ("Consolidation", "Lung Lesion"):
            zone = detail_of(name, seed).zone or ""
            _, y, depth, radius = spot(name, side, zone, size, seed + number, profile.chest)
            soft, density = (0.035, 0.36 + 0.1 * size) if name == "Consolidation" else (0.008, 0.5)
            centre = (0.80 * profile.depth * depth, y)
            picture += density * canvas.area(oval(centre, (radius, 0.9 * radius)), soft) * lung


def _effusion(
    canvas: Canvas, profile: Profile, picture: np.ndarray, lung: np.ndarray, side: str, size: float, seed: int
) -> None:
    """Fluid in the posterior costophrenic angle, climbing the back; a large one reaches the front too."""
    end, dome = profile.sulcus(side), profile.dome(side)
    level = end[1] - 0.12 - 0.95 * size  # where the fluid meets the back
    front = end[0] - (0.28 + 1.1 * size)
    start = (front, dome + 0.16 - 0.5 * max(size - 0.4, 0))
    top = curve([start, ((front + end[0]) / 2, level + 0.17), (end[0] + 0.03, level - 0.04)])
    outline = [*top, (end[0] + 0.08, end[1] + 0.3), (front, end[1] + 0.3)]
    picture += 0.52 * canvas.area(outline, 0.025) * lung


def _pneumothorax(
    canvas: Canvas, profile: Profile, picture: np.ndarray, lung: np.ndarray, side: str, size: float, seed: int
) -> None:
    """Air behind the sternum and under the apex, bounded by a thin line."""
    apex, gap = profile.chest.body.apex, 0.06 + 0.20 * size
    heights = np.linspace(apex + gap, apex + 0.5 + 0.5 * size, 10)
    edge = [(profile.back(0.45) - 0.05, apex + 0.8 * gap), (0.1, apex + gap)]
    edge += [(profile.front(y) + gap * (1 - 0.9 * i / 9), float(y)) for i, y in enumerate(heights)]
    picture += 0.20 * canvas.line(curve(edge, 60), 0.014, 0.003) * lung
    outside = [(profile.front(y) - 0.02, float(y)) for y in heights[::-1]]
    air = canvas.area([*edge, *outside, (-0.1, apex - 0.05), (profile.back(0.45), apex - 0.05)], 0.006) * lung
    picture -= air * np.clip(picture - 0.04, 0, 0.10)


def _edema(
    canvas: Canvas, profile: Profile, picture: np.ndarray, lung: np.ndarray, side: str, size: float, seed: int
) -> None:
    """Haze around the hila, once for both sides, and the fissure as a line."""
    if side == "left":
        return
    picture += (0.12 + 0.30 * size) * canvas.ellipse((0.06, 1.02), (0.36, 0.44), 0.13) * lung
    fissure = curve([(0.12, 1.0), (-0.12, 1.02), (profile.front(1.05) + 0.08, 1.06)])
    picture += (0.08 + 0.12 * size) * canvas.line(fissure, 0.018, 0.004) * lung


def _atelectasis(
    canvas: Canvas, profile: Profile, picture: np.ndarray, lung: np.ndarray, side: str, size: float, seed: int
) -> None:
    """Bands above the back of the raised dome."""
    rng, bands = np.random.default_rng(seed), []
    for number in range(1 + int(3 * size)):
        y = profile.dome(side) - 0.06 - 0.085 * number
        start = (0.15 + rng.uniform(-0.05, 0.05)) * profile.depth
        bands.append((curve([(start, y), (start + 0.17, y + 0.03), (start + 0.34, y + 0.09)]), 0.032 + 0.016 * size))
    picture += (0.28 + 0.12 * size) * canvas.lines(bands, 0.007) * lung


_PAINTERS = {"Pleural Effusion": _effusion, "Pneumothorax": _pneumothorax, "Edema": _edema, "Atelectasis": _atelectasis}


def _tube(profile: Profile, name: str, seed: int) -> tuple[list[Point], float, float]:
    """Path, width and density of a device."""
    detail, dome, throat = detail_of(name, seed), profile.dome("left"), [(0.02, -0.3), (0.05, 0.3)]
    place = detail.place
    if name == "Endotracheal Tube":
        tip = CARINA + 0.17 if place == "bronchus" else CARINA - CENTIMETRE * detail.distance
        path = [point for point in (*throat, (0.10, 0.6)) if point[1] < tip - 0.05]
        return [*path, (0.05 + 0.15 * max(tip - 0.3, -0.2), tip)], 0.05, 0.55
    if name == "Gastric Tube":
        ends = {
            "coiled": [(0.22, 1.0), (0.27, 1.16), (0.20, 1.2), (0.18, 1.05), (0.24, 0.96), (0.28, 1.08)],
            "airway": [(0.14, 0.9), (0.20, 1.1), (0.24, 1.26)],
            "esophagus": [(0.22, 1.1), (0.24, 1.3)],
        }
        stomach = [(0.22, 1.2), (0.20, dome + 0.05), (0.05, dome + 0.18), (-0.15, dome + 0.26)]
        return [(0.10, -0.3), (0.15, 0.5), *ends.get(place, stomach)], 0.034, 0.8
    if name == "Central Line":
        if place == "neck":
            return [(profile.front(0.6) + 0.05, 0.55), (-0.06, 0.40), (0.0, 0.2), (0.0, 0.05)], 0.03, 0.7
        end = {"svc": 0.93, "junction": 1.07, "atrium": 1.27}[place]
        return [(-0.02, -0.3), (-0.05, 0.3), (-0.08, 0.6), (-0.10, end)], 0.03, 0.7
    if name == "Chest Drain":
        ends = {"wall": [(0.26, 1.0)], "abdomen": [(0.10, dome + 0.12), (0.02, dome + 0.3)], "hilum": [(0.16, 0.98)]}
        return [(-0.02, 1.32), (0.06, 1.25), *ends.get(place, [(0.16, 0.9), (0.10, 0.55)])], 0.05, 0.5
    ends = {"cava": [(-0.10, 0.9)], "right": [(-0.12, 1.1), (-0.16, 1.28)]}
    lead = ends.get(place, [(-0.10, 1.1), (-0.22, dome - 0.12), (profile.front(1.4) + 0.14, dome - 0.05)])
    return [(profile.front(0.6) - 0.05, 0.50), (-0.16, 0.42), (-0.08, 0.6), *lead], 0.018, 0.7
