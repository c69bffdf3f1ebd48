# SPDX-License-Identifier: Apache-2.0
"""Lead side markers: an R or L that lies on the detector beside the patient's shoulder.

A marker names no patient and is no burned-in text. Its letter is drawn as strokes, so no font decides how it looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

_STROKES = {  # in a box of 1 x 1.4
    "L": [[(0.1, 0.0), (0.1, 1.4), (0.9, 1.4)]],
    "R": [[(0.1, 1.4), (0.1, 0.0), (0.6, 0.0), (0.85, 0.15), (0.85, 0.55), (0.6, 0.7), (0.1, 0.7)], [(0.5, 0.7), (0.9, 1.4)]],
}


@dataclass(frozen=True)
class Marker:
    """A lead letter.

    Args:
        letter: `R` on the patient's right (the left edge of a frontal picture), `L` on the patient's left.
        across, down: middle of the letter as shares of columns and rows.
        height: of the letter as a share of the rows.
        tilt: degrees it lies askew.
    """

    letter: str
    across: float
    down: float
    height: float
    tilt: float


def draw_marker(rng: np.random.Generator) -> Marker:
    """Draw which marker lies where on a frontal picture.

    Args:
        rng: source of randomness.
    """
    letter = "R" if rng.random() < 0.5 else "L"
    edge = rng.uniform(0.06, 0.10)
    return Marker(
        letter=letter,
        across=float(edge if letter == "R" else 1 - edge),
        down=float(rng.uniform(0.07, 0.16)),
        height=float(rng.uniform(0.055, 0.075)),
        tilt=float(rng.uniform(-10, 10)),
    )


def marker_mask(marker: Marker, rows: int, columns: int) -> np.ndarray:
    """The letter on the detector.

    Args:
        marker: which and where.
        rows, columns: size of the picture.

    Returns:
        mask [rows, columns] in 0..1.
    """
    image = Image.new("L", (columns, rows), 0)
    pen, unit = ImageDraw.Draw(image), marker.height * rows / 1.4
    angle = np.deg2rad(marker.tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for stroke in _STROKES[marker.letter]:
        points = (np.array(stroke) - (0.5, 0.7)) @ turn * unit + (marker.across * columns, marker.down * rows)
        pen.line([tuple(p) for p in points], fill=255, width=max(1, round(0.2 * unit)), joint="curve")
    return np.asarray(image, dtype=np.float32) / 255.0
