# SPDX-License-Identifier: Apache-2.0
"""The left lateral picture of a rich phantom: its own simple anatomy, at the heights of the frontal picture.

x runs from the sternum (-) to the back (+), so the patient looks to the left of the picture; y is that of the frontal
body coordinates. Both lungs lie over each other: the picture shows that a finding is there, hardly on which side.
"""

from __future__ import annotations

import numpy as np

from libra_monai.data.phantom.anatomy import Body, Chest
from libra_monai.data.phantom.canvas import Canvas, Placement, Point, curve, oval
from libra_monai.data.phantom.radiograph import Exposure, expose, heart_ratio, pose_of
from libra_monai.data.phantom.rich.frontal import Film
from libra_monai.data.phantom.rich.lateral_findings import paint_lateral
from libra_monai.data.phantom.rich.lateral_shape import Profile
from libra_monai.data.phantom.rich.marker import Marker, marker_mask
from libra_monai.data.phantom.story import Condition

_LEAD = 2.2


def draw_lateral(
    body: Body, conditions: list[Condition], film: Film, rng: np.random.Generator
) -> np.ndarray:
    """Draw the lateral picture of one study.

    Args:
        body: the patient.
        conditions: what is present.
        film: how the frontal picture is taken; size, contrast and noise are like it.
        rng: placement, texture and noise of this picture.

    Returns:
        brightness [rows, columns], float32 in 0..1; the sternum is at the left.
    """
    exposure = _turned(film.exposure, rng)
    unit = 212 / 448 * exposure.rows * exposure.zoom
    canvas = Canvas(Placement(exposure.rows, exposure.columns, unit, exposure.shift, exposure.rotation))
    chest = Chest(body, pose_of(conditions, exposure), heart_ratio(body, conditions))
    profile = Profile(chest)
    picture, lung = _healthy(canvas, profile, rng)
    for condition in conditions:
        paint_lateral(canvas, profile, picture, lung, condition)
    marker = Marker("L", float(rng.uniform(0.07, 0.11)), float(rng.uniform(0.06, 0.12)), 0.06, float(rng.uniform(-8, 8)))
    picture += _LEAD * marker_mask(marker, exposure.rows, exposure.columns)
    return expose(0.9 * picture, exposure, rng)


def _turned(frontal: Exposure, rng: np.random.Generator) -> Exposure:
    rows = max(frontal.rows, frontal.columns)
    return Exposure(
        view="LL",
        rows=rows,
        columns=round(rows * rng.uniform(0.78, 0.92)),
        zoom=rng.uniform(0.90, 1.03),
        shift=(rng.uniform(-0.04, 0.04), 1.05 + rng.uniform(-0.04, 0.04)),
        rotation=rng.uniform(-3, 3),
        inspiration=frontal.inspiration,
        contrast=frontal.contrast,
        noise=frontal.noise,
    )


def _healthy(canvas: Canvas, profile: Profile, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation of the chest from the side, and the soft mask of the lungs."""
    body = profile.chest.body
    picture = (1.05 + body.fat) * canvas.area(profile.trunk(), 0.03)
    lung = canvas.area(profile.lung(), 0.014)
    picture -= 0.84 * lung
    for side in ("right", "left"):
        picture += 0.24 * canvas.area(profile.below(side), 0.012)
    picture += _heart_and_vessels(canvas, profile)
    picture += _spine(canvas, profile)
    picture += _cage(canvas, profile)
    airway = [([(0.02, -0.3), (0.05, 0.3), (0.12, 0.80)], 0.105), ([(0.13, 0.84), (0.14, 0.86)], 0.09)]
    picture -= 0.30 * canvas.lines(airway, 0.012)
    picture -= 0.30 * canvas.ellipse((-0.22, profile.dome("left") + 0.17), (0.17, 0.085), 0.012)
    if body.breasts:
        picture += 1.4 * body.breasts * canvas.ellipse((-0.66, 1.22), (0.24, 0.30), 0.03, -10)
    picture += 0.02 * canvas.noise(rng, 0.25)
    return np.clip(picture, 0.0, None), lung


def _heart_and_vessels(canvas: Canvas, profile: Profile) -> np.ndarray:
    centre, radii, tilt = profile.heart()
    arch = curve([(-0.20, 0.84), (-0.10, 0.68), (0.10, 0.62), (0.26, 0.72), (0.31, 0.95), (0.32, 1.3)])
    shadows = [
        0.46 * canvas.ellipse(centre, radii, 0.018, tilt),
        0.20 * canvas.line(arch, 0.15, 0.02),
        0.30 * canvas.ellipse((0.08, 0.95), (0.12, 0.13), 0.035),
        0.20 * canvas.ellipse((-0.28, 0.92), (0.13, 0.20), 0.05, 20),
    ]
    rng, tree = np.random.default_rng(profile.chest.body.vessels), []
    for angle in np.deg2rad(np.linspace(0, 330, 13) + rng.uniform(-10, 10, 13)):
        root, reach = (0.08 + 0.08 * np.cos(angle), 0.97 + 0.1 * np.sin(angle)), rng.uniform(0.22, 0.42)
        bend = angle + rng.uniform(-0.4, 0.4)
        end = (root[0] + reach * np.cos(bend), root[1] + 1.2 * reach * np.sin(bend))
        tree.append((curve([root, ((root[0] + end[0]) / 2, (root[1] + end[1]) / 2 + 0.02), end]), rng.uniform(0.008, 0.016)))
    inside = canvas.area(profile.lung(), 0.014)
    return (np.maximum.reduce(shadows) + 0.11 * canvas.lines(tree, 0.006) * inside).astype(np.float32)


def _spine(canvas: Canvas, profile: Profile) -> np.ndarray:
    """Vertebral bodies behind, less dense towards the diaphragm, with discs and arches."""
    shape, discs, arches = [], [], []
    for y in np.arange(0.05, 2.3, 0.145):
        middle, lower = profile.spine(y), profile.spine(y + 0.115)
        half = 0.085 + 0.012 * y
        front, back = (middle[0] - half, y), (middle[0] + half, y)
        shape.append([front, back, (lower[0] + half, y + 0.118), (lower[0] - half, y + 0.118)])
        discs.append([(front[0], y - 0.013), (back[0], y - 0.013)])
        arches.append(([(back[0], y + 0.05), (back[0] + 0.10, y + 0.10)], 0.05))
    bodies = np.maximum.reduce([canvas.area(outline, 0.006) for outline in shape])
    rims = canvas.lines([([*outline, outline[0]], 0.012) for outline in shape], 0.003)
    fade = np.clip(1.25 - 0.35 * canvas.y, 0.45, 1.0)  # fewer shoulders and more lung in the beam further down
    return (0.26 * bodies + 0.07 * rims + 0.12 * canvas.lines(arches, 0.012)) * fade


def _cage(canvas: Canvas, profile: Profile) -> np.ndarray:
    """Ribs of both sides, sternum, shoulder blades and raised arms."""
    ribs: list[tuple[list[Point], float]] = []
    for number in range(9):
        top = 0.34 + 0.145 * number
        back, front = profile.back(top) - 0.01, profile.front(min(top + 0.42, 1.5)) + 0.04
        for shift in (0.0, 0.05):
            path = [(back, top + shift), (back - 0.3, top + 0.06 + shift), ((back + front) / 2, top + 0.22 + shift)]
            ribs.append((curve([*path, (front + 0.1, top + 0.42 + shift)]), 0.042))
    picture = profile.chest.body.ribs * 0.55 * canvas.lines(ribs, 0.006)
    sternum = [(profile.front(y) - 0.005, float(y)) for y in np.linspace(0.50, 1.32, 9)]
    picture += 0.30 * canvas.line(sternum, 0.05, 0.005)
    picture += 0.12 * canvas.lines([(curve([(0.30, 0.32), (0.46, 0.62), (0.50, 0.98)]), 0.03)], 0.008)
    for x, y in ((-0.42, -0.02), (0.42, 0.0)):
        picture += 0.42 * canvas.area(oval((x, y), (0.34, 0.32), 0), 0.06)
    return picture
