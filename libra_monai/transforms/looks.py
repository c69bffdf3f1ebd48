# SPDX-License-Identifier: Apache-2.0
"""What the picture itself says: nothing at all, a photograph, or a radiograph shown the wrong way.

The suspicions are for pictures without tags. They look at a small copy: the middle of a chest is brighter than the
lungs on both sides of it, and what is below is brighter than what is above. They never change a picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from libra_monai.errors import StudyError
from libra_monai.transforms.gate import GatePolicy

_CONTRAST = 4  # grey levels below which a picture says nothing
_BLANK = 0.998  # share of one level from which a picture shows nothing else
_TINT = 24  # grey levels between channels from which a pixel counts as coloured
_COLOURED = 0.10  # share of such pixels from which a picture is a photograph; marks in colour stay below
_SMALL = 48  # side of the copy that suspicions look at
_MARGIN = 6.0  # grey levels by which another way of showing must be likelier; 17 real chests keep 20 away from it


def check_picture(path: str, pixels: np.ndarray, policy: GatePolicy) -> None:
    """Refuse what is too small, too long or shows nothing.

    Args:
        path: for the message.
        pixels: [h,w] uint8.
        policy: its limits.

    Raises:
        StudyError: with the reason.
    """
    rows, columns = pixels.shape
    size = f"{columns} x {rows}"
    if min(rows, columns) < policy.min_side:
        raise StudyError(path, "pixels", f"the picture has only {size} pixels", "Give the full-size radiograph.")
    if max(rows, columns) > policy.max_aspect * min(rows, columns):
        reason = f"no radiograph is as long and thin as {size} pixels"
        raise StudyError(path, "pixels", reason, "Give the whole picture.")
    level = _only_level(pixels)
    if level is not None:
        shade = "black" if level < 8 else "white" if level > 247 else "of one grey"
        raise StudyError(path, "pixels", f"the picture is all {shade}", "Check the exposure and the window tags.")


def check_colour(path: str, rgb: np.ndarray, policy: GatePolicy, warnings: list[str]) -> None:
    """Refuse photographs; a grey picture with coloured marks passes.

    Args:
        path: for the message.
        rgb: [h,w,3] uint8.
        policy: `colour` decides.
        warnings: gets what is not refused.

    Raises:
        StudyError: much of it is coloured and the policy refuses.
    """
    step = max(1, max(rgb.shape[:2]) // 512)
    sample = rgb[::step, ::step, :3].astype(np.int16)
    coloured = float((sample.max(axis=-1) - sample.min(axis=-1) > _TINT).mean())
    if coloured > _COLOURED:
        reason = f"the picture is a photograph or screenshot: {coloured:.0%} of it is coloured"
        policy.judge("colour", path, reason, "Give the radiograph as the device stored it.", warnings)


def check_display(path: str, pixels: np.ndarray, policy: GatePolicy, warnings: list[str]) -> None:
    """Say so if a picture without tags looks inverted or turned.

    Args:
        path: for the message.
        pixels: [h,w] uint8.
        policy: `unlikely_display` decides.
        warnings: gets what is not refused.

    Raises:
        StudyError: it looks so and the policy refuses.
    """
    for suspicion in suspicions(pixels):
        remedy = "Show dense parts bright, the head up and the patient's left on the right."
        policy.judge("unlikely_display", path, suspicion, remedy, warnings)


def suspicions(pixels: np.ndarray) -> list[str]:
    """What is suspected of a radiograph: inverted, lying on its side, upside down.

    Args:
        pixels: [h,w] uint8.
    """
    step = max(1, min(pixels.shape) // (4 * _SMALL))
    sample = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    small = np.asarray(sample.resize((_SMALL, _SMALL), Image.Resampling.BOX), dtype=np.float64)
    upright, *sideways = (_middle_over_lungs(np.rot90(small, turn)) for turn in (0, 1, 3))
    lying = max(max(sideways), -min(sideways))
    if max(-upright, lying) > upright + _MARGIN:
        return ["the picture looks inverted" if -upright > lying else "the picture looks as if it lay on its side"]
    edge = _SMALL // 6
    if small[-edge:].mean() < small[:edge].mean() - _MARGIN:
        return ["the picture looks upside down"]
    return []


def _middle_over_lungs(small: np.ndarray) -> float:
    """By how many grey levels the middle is brighter than what stands on both sides of it, where lungs would be."""
    middle = small[16:40, 20:28].mean()
    return float(middle - np.concatenate([small[12:28, 8:17], small[12:28, 31:40]], axis=1).mean())


def _only_level(pixels: np.ndarray) -> int | None:
    """The level that all or nearly all pixels have, as in a blank sheet with a mark; None if they differ."""
    low, high = int(pixels.min()), int(pixels.max())
    if high - low < _CONTRAST:
        return low if low < 8 else high
    step = max(1, min(pixels.shape) // 256)
    counts = np.bincount(pixels[::step, ::step].ravel(), minlength=256)
    return int(counts.argmax()) if counts.max() >= _BLANK * counts.sum() else None
