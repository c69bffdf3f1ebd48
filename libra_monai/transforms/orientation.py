# SPDX-License-Identifier: Apache-2.0
"""Pictures as hung on a viewing box: head up, the patient's left on the right of the picture.

Patient Orientation (PS3.3 C.7.6.1.1.1) says for the pixels as stored where a row and a column lead to; a frontal
radiograph wants L\\F, a lateral one A\\F or P\\F. Where it is absent, Field of View Rotation and Horizontal Flip
(PS3.3 C.8.11.4) say what was done to the pixels after the detector, and that is undone or left by choice.
"""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from libra_monai.transforms import tags

FIELD_OF_VIEW = ("undo", "ignore")
_AXES = {"L": "side", "R": "side", "H": "height", "F": "height", "A": "depth", "P": "depth"}


def upright(pixels: np.ndarray, dataset: Dataset, field_of_view: str, warnings: list[str]) -> np.ndarray:
    """Turn and flip a picture so that it stands as a radiologist hangs it.

    Args:
        pixels: [rows, columns] as stored.
        dataset: header of the file.
        field_of_view: `undo` the Field of View tags where Patient Orientation is absent, or `ignore` them.
        warnings: gets a line where the header leaves the sides open.
    """
    ends = tags.texts(dataset, "PatientOrientation")
    row, column = (end[:1] for end in ends) if len(ends) == 2 else ("", "")
    if not row and not column:
        return _undo_field_of_view(pixels, dataset, field_of_view, warnings)
    axes = (_AXES.get(row), _AXES.get(column))
    if axes[0] == "height" and axes[1] in ("side", "depth"):
        pixels, row, column = pixels.T, column, row
    elif axes[1] != "height" or axes[0] not in ("side", "depth"):
        warnings.append("Patient Orientation describes no radiograph; sides are shown as stored")
        return pixels
    if column == "H":
        pixels = pixels[::-1]
    if row == "R":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _undo_field_of_view(
    pixels: np.ndarray, dataset: Dataset, field_of_view: str, warnings: list[str]
) -> np.ndarray:
    """What was done after the detector was first a clockwise rotation and then a flip."""
    turned = tags.integer(dataset, "FieldOfViewRotation", 0) % 360
    flipped = tags.text(dataset, "FieldOfViewHorizontalFlip") == "YES"
    if field_of_view == "ignore" or not (turned in (90, 180, 270) or flipped):
        warnings.append("Patient Orientation is absent; sides are shown as stored")
        return pixels
    warnings.append("Patient Orientation is absent; Field of View rotation and flip were undone, check the side marker")
    if flipped:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, turned // 90))
