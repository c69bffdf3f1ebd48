# SPDX-License-Identifier: Apache-2.0
"""The healthy chest of one phantom patient: shape parameters, and their attenuation picture.

Left is the patient's left, the right half of the picture: the heart's apex, the aortic knob and
the gastric bubble lie there. Numbers are attenuation relative to the chest wall (1.0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_monai.data.phantom.canvas import Canvas, Point, curve

SIDES = {"right": -1.0, "left": 1.0}  # sign of x in body coordinates


@dataclass(frozen=True)
class Body:
    """Shape of one patient's chest, the same in all studies.

    Args:
        width: half width of the inner chest.
        apex: y of the lung apices.
        dome: y of the right diaphragm dome at full inspiration; the left one lies lower.
        heart: heart width over chest width of the healthy patient.
        tilt: degrees the long axis of the heart is tilted.
        ribs: attenuation of the ribs.
        fat: attenuation added by the chest wall.
        breasts: attenuation of breast shadows, 0 for none.
        vessels: seed of the vessel tree.
        knob: radius of the aortic knob.
    """

    width: float
    apex: float
    dome: float
    heart: float
    tilt: float
    ribs: float
    fat: float
    breasts: float
    vessels: int
    knob: float


@dataclass(frozen=True)
class Pose:
    """What differs between two studies of one patient without being disease.

    Args:
        inspiration: y by which the diaphragm stands higher than at full inspiration.
        magnification: factor on the heart's width (AP pictures enlarge it).
        raised: extra elevation of the diaphragm by side (volume loss).
    """

    inspiration: float
    magnification: float
    raised: dict[str, float]


def draw_body(rng: np.random.Generator, sex: str) -> Body:
    """Draw a patient's shape.

    Args:
        rng: source of randomness.
        sex: `F` or `M`, decides on breast shadows.
    """
    return Body(
        width=rng.uniform(0.80, 0.90),
        apex=rng.uniform(0.30, 0.40),
        dome=rng.uniform(1.48, 1.60),
        heart=rng.uniform(0.40, 0.47),
        tilt=rng.uniform(18, 34),
        ribs=rng.uniform(0.10, 0.17),
        fat=rng.uniform(0.0, 0.25),
        breasts=rng.uniform(0.06, 0.16) if sex == "F" else 0.0,
        vessels=int(rng.integers(2**31)),
        knob=rng.uniform(0.085, 0.12),
    )


class Chest:
    """Outlines of one patient in one pose, in body coordinates, shared by disease and drawing.

    Args:
        body: the patient.
        pose: the study.
        heart_ratio: heart width over chest width in this study (cardiomegaly enlarges it).
    """

    def __init__(self, body: Body, pose: Pose, heart_ratio: float) -> None:
        self.body, self.pose = body, pose
        self.heart_width = 2 * body.width * heart_ratio * pose.magnification

    def dome_y(self, side: str) -> float:
        """y of the diaphragm dome; the left one stands a little lower than the right."""
        lower = 0.0 if side == "right" else 0.06
        return self.body.dome + lower - self.pose.inspiration - self.pose.raised.get(side, 0.0)

    def wall_x(self, y: float) -> float:
        """Half width of the inner chest at height y."""
        t = np.clip((y - self.body.apex) / 1.25, 0.0, 1.0)
        return float(self.body.width * (0.18 + 0.82 * np.sqrt(1 - (1 - t) ** 2.3)))

    def lung(self, side: str) -> list[Point]:
        """Outline of a lung, from the apex along the chest wall to the sulcus and back along the mediastinum."""
        s, dome = SIDES[side], self.dome_y(side)
        sulcus = dome + 0.26
        wall = [(s * self.wall_x(y), float(y)) for y in np.linspace(self.body.apex, sulcus, 22)]
        outer, inner = wall[-1][0] * s, 0.12
        arch = []
        for t in np.linspace(0.04, 1.0, 16):
            x = outer + (inner - outer) * t
            arch.append((s * x, dome + 0.26 * abs(2 * t - 1.08) ** 2.1 * (1.0 if t < 0.54 else 0.55)))
        medial = [(s * 0.13, dome - 0.25), (s * 0.16, 1.0), (s * 0.13, 0.7), (s * 0.12, self.body.apex + 0.05)]
        return wall + arch + medial

    def heart(self) -> tuple[Point, Point, float]:
        """Centre, radii and tilt of the heart's ellipse; its apex points to the patient's left."""
        half = self.heart_width / 2
        centre = (0.145 * self.heart_width / 0.74, min(self.dome_y("left"), self.dome_y("right")) - 0.14)
        return centre, (half * 1.04, half * 0.76), self.body.tilt


def attenuation(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw the healthy chest.

    Args:
        canvas: where to draw.
        chest: outlines.
        rng: randomness of this study (texture).

    Returns:
        attenuation [rows, columns], and the soft lung masks by side.
    """
    body = chest.body
    picture = _trunk(canvas, body)
    lungs = {side: canvas.area(chest.lung(side), 0.012) for side in SIDES}
    air = lungs["right"] + lungs["left"]
    picture -= 0.86 * air
    below = _below_diaphragm(canvas, chest)
    picture += 0.42 * below * (1 - air)
    picture += _vessels(canvas, chest) * air
    picture += _mediastinum(canvas, chest, below)
    picture += body.ribs * _ribs(canvas, chest)
    picture += 0.16 * canvas.lines([_clavicle(side, body) for side in SIDES], 0.008)
    if body.breasts:
        for s in SIDES.values():
            picture += body.breasts * canvas.ellipse((s * 0.48, 1.28), (0.36, 0.34), 0.03)
    bubble = canvas.ellipse((0.40, chest.dome_y("left") + 0.13), (0.17, 0.09), 0.012)
    picture -= 0.55 * bubble * (1 - lungs["left"])
    picture += 0.02 * canvas.noise(rng, 0.25)
    return picture, lungs


def _trunk(canvas: Canvas, body: Body) -> np.ndarray:
    wide = body.width + 0.22 + 0.3 * body.fat
    outline = [(-0.26, -0.3), (-0.26, 0.05), (-0.7, 0.16), (-wide - 0.3, 0.34), (-wide - 0.3, 0.75), (-wide, 0.85)]
    outline += [(-wide, 2.6)]
    return (1.0 + body.fat) * canvas.area(outline + [(-x, y) for x, y in reversed(outline)], 0.04)


def _below_diaphragm(canvas: Canvas, chest: Chest) -> np.ndarray:
    line = [(-1.3, chest.dome_y("right") + 0.3), (-0.5, chest.dome_y("right")), (-0.1, chest.dome_y("right") + 0.1)]
    line += [(0.1, chest.dome_y("left") + 0.08), (0.5, chest.dome_y("left")), (1.3, chest.dome_y("left") + 0.3)]
    return canvas.area([*curve(line), (1.3, 2.8), (-1.3, 2.8)], 0.03)


def _mediastinum(canvas: Canvas, chest: Chest, below: np.ndarray) -> np.ndarray:
    centre, radii, tilt = chest.heart()
    band = [(-0.13, 0.1), (-0.15, 0.75), (-0.19, 1.05), (-0.2, 1.7), (0.17, 1.7), (0.16, 0.95), (0.13, 0.1)]
    bump = chest.heart_width * 0.30
    shadows = np.maximum.reduce(
        [
            0.40 * canvas.area(curve(band), 0.025),
            0.62 * canvas.ellipse(centre, radii, 0.018, tilt) * (1 - 0.75 * below),
            0.55 * canvas.ellipse((-bump * 0.72, centre[1] - 0.03), (bump * 0.62, 0.22), 0.02),
            0.45 * canvas.ellipse((0.17, 0.74), (chest.body.knob, chest.body.knob * 1.15), 0.015),
            0.42 * canvas.ellipse((0.2, 0.93), (0.1, 0.13), 0.03),
        ]
    )
    spine = canvas.area([(-0.075, -0.2), (0.075, -0.2), (0.085, 2.6), (-0.085, 2.6)], 0.012)
    discs = canvas.lines([([(-0.07, y), (0.07, y)], 0.02) for y in np.arange(0.15, 2.2, 0.145)], 0.006)
    airway = canvas.lines(
        [([(0, -0.2), (0.005, 0.78)], 0.11), (curve([(0, 0.76), (-0.1, 0.9), (-0.2, 0.98)]), 0.07)]
        + [(curve([(0, 0.76), (0.12, 0.92), (0.24, 0.99)]), 0.06)],
        0.012,
    )
    return shadows + 0.17 * spine - 0.05 * discs - 0.34 * airway


def _vessels(canvas: Canvas, chest: Chest) -> np.ndarray:
    rng = np.random.default_rng(chest.body.vessels)
    thick, thin = [], []
    for side, s in SIDES.items():
        hilum = (s * 0.22, 0.98)
        for angle in np.linspace(-72, 78, 8) + rng.uniform(-8, 8, 8):
            length, a = rng.uniform(0.34, 0.58), np.deg2rad(angle)
            root = (hilum[0] + s * 0.05 * np.cos(a), hilum[1] + 0.14 * np.sin(a))
            bend = np.deg2rad(rng.uniform(18, 42)) * rng.choice([-1, 1])
            middle = _step(root, s, a, 0.5 * length)
            end = _step(middle, s, a + bend, 0.55 * length)
            thick.append((curve([root, middle]), rng.uniform(0.014, 0.022)))
            thin.append((curve([root, middle, end]), rng.uniform(0.007, 0.011)))
            thin.append((curve([middle, _step(middle, s, a - bend, 0.4 * length)]), 0.008))
    tree = 0.13 * canvas.lines(thick, 0.009) + 0.09 * canvas.lines(thin, 0.005)
    for s in SIDES.values():
        tree += 0.22 * canvas.ellipse((s * 0.22, 0.98 - 0.02 * s), (0.085, 0.17), 0.035, -14 * s)
    return tree


def _step(start: Point, s: float, angle: float, length: float) -> Point:
    return start[0] + s * length * float(np.cos(angle)), start[1] + 1.1 * length * float(np.sin(angle))


def _ribs(canvas: Canvas, chest: Chest) -> np.ndarray:
    whole, core = [], []
    for number in range(10):
        top = chest.body.apex - 0.02 + 0.148 * number
        reach = chest.wall_x(top + 0.18) + 0.015
        for s in SIDES.values():
            back = curve(
                [(s * 0.09, top), (s * 0.45 * reach, top - 0.035), (s * 0.85 * reach, top + 0.07), (s * reach, top + 0.2)]
            )
            whole.append((back, 0.066))
            core.append((back, 0.042))
            if number < 7:
                front = curve([(s * reach, top + 0.2), (s * 0.8 * reach, top + 0.36), (s * 0.38 * reach, top + 0.47)])
                core.append((front, 0.05))
    return canvas.lines(whole, 0.006) - 0.35 * canvas.lines(core, 0.006) + 0.3 * canvas.lines(core[1::2], 0.01)


def _clavicle(side: str, body: Body) -> tuple[list[Point], float]:
    s = SIDES[side]
    return curve([(s * 0.1, 0.42), (s * 0.35, 0.36), (s * 0.65, 0.31), (s * (body.width + 0.15), 0.22)]), 0.055
