# SPDX-License-Identifier: Apache-2.0
"""The frontal picture of a rich phantom: findings by zone, tubes by tip, a side marker, and films that differ more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_monai.data.phantom.anatomy import SIDES, Body, Chest
from libra_monai.data.phantom.canvas import oval
from libra_monai.data.phantom.pathology import Scene, sides_of
from libra_monai.data.phantom.radiograph import Exposure, draw_radiograph, paint
from libra_monai.data.phantom.rich.details import detail_of
from libra_monai.data.phantom.rich.marker import Marker, draw_marker, marker_mask
from libra_monai.data.phantom.rich.tubes import TUBE_PAINTERS
from libra_monai.data.phantom.story import Condition

_SIZES = (0.8, 1.0, 1.0, 1.2)  # of the longer side, relative to what was asked for
_LEAD = 2.2  # attenuation of a marker


@dataclass(frozen=True)
class Film:
    """How a rich study was taken; none of it is disease.

    Args:
        exposure: as of the plain phantoms, in wider ranges.
        slope: attenuation added from one edge of the picture to the other (a turned patient, an oblique beam).
        marker: the side marker, or None.
    """

    exposure: Exposure
    slope: float
    marker: Marker | None


def draw_film(rng: np.random.Generator, ill: bool, long_side: int) -> Film:
    """Draw how a rich study is taken.

    Args:
        rng: source of randomness.
        ill: patients with devices are usually taken AP, in bed.
        long_side: longer side of the picture in pixels; a study may have a fifth more or less.
    """
    view = "AP" if rng.random() < (0.8 if ill else 0.35) else "PA"
    aspect = rng.uniform(0.82, 1.02) if view == "PA" else rng.uniform(0.92, 1.18)
    side = max(64, round(long_side * _SIZES[int(rng.integers(len(_SIZES)))]))
    rows, columns = (side, round(side * aspect)) if aspect <= 1 else (round(side / aspect), side)
    exposure = Exposure(
        view=view,
        rows=rows,
        columns=columns,
        zoom=rng.uniform(0.88, 1.07),
        shift=(rng.uniform(-0.07, 0.07), 1.02 + rng.uniform(-0.05, 0.05)),
        rotation=rng.uniform(-5.0, 5.0),
        inspiration=rng.uniform(0.0, 0.10 if view == "PA" else 0.18),
        contrast=rng.uniform(0.80, 1.50),
        noise=rng.uniform(0.5, 2.2),
    )
    marker = draw_marker(rng) if rng.random() < 0.8 else None
    return Film(exposure, float(rng.uniform(-0.12, 0.12)), marker)


def draw_frontal(
    body: Body, conditions: list[Condition], film: Film, rng: np.random.Generator
) -> tuple[np.ndarray, dict[tuple[str, str | None], np.ndarray]]:
    """Draw the frontal picture of one study.

    Args:
        body: the patient.
        conditions: what is present.
        film: how it is taken.
        rng: texture and noise of this study.

    Returns:
        brightness and cells, as `radiograph.draw_radiograph` gives them.
    """
    return draw_radiograph(body, conditions, film.exposure, rng, _paint, lambda scene: _lay_on(scene, film))


def spot(finding: str, side: str, zone: str, size: float, seed: int, chest: Chest) -> tuple[float, float, float, float]:
    """Where a patch or nodule lies in the lung: x, y, depth (-1 at the sternum, 1 at the back), radius.

    Args:
        finding: `Consolidation` or `Lung Lesion`.
        side, zone: the lung and its third.
        size, seed: of the condition.
        chest: outlines of this study.
    """
    rng = np.random.default_rng([seed, 3])
    top, bottom = chest.body.apex + 0.16, chest.dome_y(side) - 0.10
    low, high = {"upper": (0.06, 0.24), "middle": (0.42, 0.58), "lower": (0.76, 0.93)}[zone]
    y = top + float(rng.uniform(low, high)) * (bottom - top)
    inner = 0.44 if side == "right" or zone != "lower" else 0.62  # beside the heart, not behind it
    x = SIDES[side] * float(rng.uniform(inner, 0.72)) * chest.wall_x(y)
    radius = 0.10 + 0.22 * size if finding == "Consolidation" else 0.055 + 0.11 * size
    return x, y, float(rng.uniform(-0.6, 0.6)), radius


def _paint(scene: Scene, condition: Condition) -> None:
    name = condition.finding
    if name in TUBE_PAINTERS:
        TUBE_PAINTERS[name](scene, condition.side, condition.seed)
    elif name in ("Consolidation", "Lung Lesion"):
        zone = detail_of(name, condition.seed).zone or ""
        for number, side in enumerate(sides_of(condition.side)):
            seed = condition.seed + number
            x, y, _, radius = spot(name, side, zone, condition.size, seed, scene.chest)
            (_patch if name == "Consolidation" else _nodule)(scene, side, (x, y), radius, condition.size, seed)
    else:
        paint(scene, condition)


def _patch(scene: Scene, side: str, centre: tuple[float, float], radius: float, size: float, seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    shape = (radius, radius * rng.uniform(0.7, 0.95))
    outline = oval(centre, shape, rng.uniform(-25, 25), rng.uniform(-0.2, 0.2, 4))
    mottle = 1 + 0.16 * scene.canvas.noise(rng, 0.06)
    scene.picture += (0.38 + 0.14 * size) * scene.canvas.area(outline, 0.035) * mottle * scene.lungs[side]


def _nodule(scene: Scene, side: str, centre: tuple[float, float], radius: float, size: float, seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    outline = oval(centre, (radius, radius * 0.95), 0, rng.uniform(-0.05, 0.05, 3))
    scene.picture += 0.60 * scene.canvas.area(outline, 0.008) * scene.lungs[side]


def _lay_on(scene: Scene, film: Film) -> None:
    """What lies on the film besides the patient."""
    rows, columns = scene.picture.shape
    scene.picture += film.slope * np.linspace(-0.5, 0.5, columns, dtype=np.float32) * (scene.picture > 0.02)
    if film.marker is not None:
        scene.picture += _LEAD * marker_mask(film.marker, rows, columns)
