# SPDX-License-Identifier: Apache-2.0
"""From a phantom's conditions to a radiograph: brightness in 0..1, dense parts bright."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from libra_monai.data.phantom.anatomy import SIDES, Body, Chest, Pose, attenuation
from libra_monai.data.phantom.canvas import Canvas, Placement
from libra_monai.data.phantom.devices import DEVICE_PAINTERS
from libra_monai.data.phantom.pathology import PAINTERS, Scene, sides_of
from libra_monai.data.phantom.story import Condition

LONG_SIDE = 448  # pixels; the small model sees 112
CELLS = 16  # rows and columns of the grid that says where a finding is seen
_SEEN = 0.05  # attenuation a finding adds or takes away where it counts as seen


@dataclass(frozen=True)
class Exposure:
    """How one study was taken; none of it is disease.

    Args:
        view: `PA` or `AP`; AP enlarges the heart a little.
        rows, columns: size of the picture.
        zoom: pixels per body unit over those of a tight crop.
        shift: body point at the centre of the picture.
        rotation: degrees.
        inspiration: how much higher the diaphragm stands than at full inspiration.
        contrast: steepness of the film curve.
        noise: quantum noise relative to the usual.
    """

    view: str
    rows: int
    columns: int
    zoom: float
    shift: tuple[float, float]
    rotation: float
    inspiration: float
    contrast: float
    noise: float


def draw_exposure(rng: np.random.Generator, ill: bool, long_side: int = LONG_SIDE) -> Exposure:
    """Draw how a study is taken.

    Args:
        rng: source of randomness.
        ill: patients with devices are usually taken AP, in bed.
        long_side: rows or columns of the picture, whichever is larger.
    """
    view = "AP" if rng.random() < (0.85 if ill else 0.25) else "PA"
    aspect = rng.uniform(0.84, 1.0) if view == "PA" else rng.uniform(0.95, 1.12)
    rows, columns = (long_side, round(long_side * aspect)) if aspect <= 1 else (round(long_side / aspect), long_side)
    return Exposure(
        view=view,
        rows=rows,
        columns=columns,
        zoom=rng.uniform(0.95, 1.05),
        shift=(rng.uniform(-0.05, 0.05), 1.03 + rng.uniform(-0.04, 0.04)),
        rotation=rng.uniform(-2.5, 2.5),
        inspiration=rng.uniform(0.0, 0.06 if view == "PA" else 0.11),
        contrast=rng.uniform(0.95, 1.25),
        noise=rng.uniform(0.7, 1.3),
    )


def take_radiograph(
    body: Body, conditions: list[Condition], exposure: Exposure, rng: np.random.Generator
) -> np.ndarray:
    """Draw the picture of one study.

    Args:
        body: the patient.
        conditions: what is present.
        exposure: how it is taken.
        rng: texture and noise of this study.

    Returns:
        brightness [rows, columns], float32 in 0..1; left of the patient is right in the picture.
    """
    return draw_radiograph(body, conditions, exposure, rng)[0]


def paint(scene: Scene, condition: Condition) -> None:
    """Add one condition to a picture.

    Args:
        scene: the picture under construction.
        condition: what is added.
    """
    if condition.finding in DEVICE_PAINTERS:
        DEVICE_PAINTERS[condition.finding](scene, condition.side, condition.size, condition.seed)
    elif condition.finding in PAINTERS:
        if condition.finding == "Edema":
            PAINTERS["Edema"](scene, "bilateral", condition.size, condition.seed)
            return
        for number, side in enumerate(sides_of(condition.side)):
            PAINTERS[condition.finding](scene, side, condition.size, condition.seed + number)


def draw_radiograph(
    body: Body,
    conditions: list[Condition],
    exposure: Exposure,
    rng: np.random.Generator,
    painter: Callable[[Scene, Condition], None] = paint,
    lay_on: Callable[[Scene], None] | None = None,
) -> tuple[np.ndarray, dict[tuple[str, str | None], np.ndarray]]:
    """Draw the picture of one study, and note where each condition left its mark.

    Args:
        body, conditions, exposure, rng: as of `take_radiograph`.
        painter: adds one condition.
        lay_on: adds what lies on the detector besides the patient.

    Returns:
        the brightness, and for each (finding, side) the cells of a grid over the picture padded to a square
        in which the finding is seen, bool [CELLS, CELLS].
    """
    unit = 212 / LONG_SIDE * min(exposure.rows, exposure.columns * 1.08) * exposure.zoom
    canvas = Canvas(Placement(exposure.rows, exposure.columns, unit, exposure.shift, exposure.rotation))
    chest = Chest(body, pose_of(conditions, exposure), heart_ratio(body, conditions))
    picture, lungs = attenuation(canvas, chest, rng)
    scene = Scene(canvas, chest, picture, lungs)
    places = {}
    for condition in conditions:
        before = scene.picture.copy()
        painter(scene, condition)
        mark = np.abs(scene.picture - before) if condition.finding != "Cardiomegaly" else _heart(canvas, chest)
        places[condition.finding, condition.side] = _cells(mark > _SEEN)
    if lay_on is not None:
        lay_on(scene)
    return expose(scene.picture, exposure, rng), places


def _heart(canvas: Canvas, chest: Chest) -> np.ndarray:
    centre, radii, tilt = chest.heart()
    return canvas.ellipse(centre, radii, 0.018, tilt)


def _cells(mark: np.ndarray) -> np.ndarray:
    """Pixels [rows, columns] to the cells they fill by a twentieth or more, in the picture padded to a square."""
    side = -(-max(mark.shape) // CELLS) * CELLS
    square = np.zeros((side, side), dtype=bool)
    top, left = ((side - size) // 2 for size in mark.shape)
    square[top : top + mark.shape[0], left : left + mark.shape[1]] = mark
    return square.reshape(CELLS, side // CELLS, CELLS, side // CELLS).mean(axis=(1, 3)) >= 0.05


def pose_of(conditions: list[Condition], exposure: Exposure) -> Pose:
    """Breath, magnification and loss of volume of one study.

    Args:
        conditions: what is present.
        exposure: how the study is taken.
    """
    raised = {side: 0.0 for side in SIDES}
    for condition in conditions:
        if condition.finding == "Atelectasis":
            for side in sides_of(condition.side):
                raised[side] += 0.04 + 0.10 * condition.size
    return Pose(exposure.inspiration, 1.05 if exposure.view == "AP" else 1.0, raised)


def heart_ratio(body: Body, conditions: list[Condition]) -> float:
    """Heart width over chest width in one study.

    Args:
        body: the patient.
        conditions: what is present.
    """
    size = next((c.size for c in conditions if c.finding == "Cardiomegaly"), None)
    return body.heart if size is None else 0.515 + 0.155 * size


def expose(picture: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Turn attenuation into brightness, with the grain of the film.

    Args:
        picture: attenuation [rows, columns].
        exposure: contrast and noise.
        rng: grain.

    Returns:
        brightness [rows, columns], float32 in 0..1.
    """
    thickness = np.clip(picture, 0.0, None)
    signal = np.exp(-exposure.contrast * thickness)  # share of the rays that pass
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    brightness = 1.0 - signal + 0.0085 * exposure.noise * grain * np.sqrt(signal + 0.15)
    return np.clip(brightness, 0.0, 1.0).astype(np.float32)
