# SPDX-License-Identifier: Apache-2.0
"""Stored values to eight-bit brightness, dense parts bright: modality LUT, VOI LUT or window, presentation LUT.

Order as in PS3.3 C.11. All steps work on the list of grey levels instead of the picture, which is then looked up once;
that costs one pass over the pixels and no picture of floating-point numbers. `equalise` is another way, that of
MIMIC-CXR-JPG: the range of the stored values becomes 0..255, polarity, then the histogram is made flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydicom import Dataset

from libra_monai.transforms import tags

WindowChoice = int | str | Sequence[float] | None
_TABLE = 1 << 17  # more grey levels than this are listed by sorting
_STRIP = 64  # rows


@dataclass(frozen=True)
class Window:
    """A window of a file or of the user: centre, width, and the function of PS3.3 C.11.2.1.3."""

    centre: float
    width: float
    function: str = "LINEAR"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values to 0..1."""
        if self.function == "SIGMOID":
            return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - self.centre) / self.width, -80.0, 80.0)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)
        return np.clip((values - (self.centre - 0.5)) / max(self.width - 1.0, 1e-6) + 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Lut:
    """A look-up table: what stands at `first` and after it; values beyond its ends take the ends."""

    first: int
    data: np.ndarray
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values to the numbers of the table."""
        return self.data[np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.data) - 1)]

    def unit(self, values: np.ndarray) -> np.ndarray:
        """Values to 0..1 of what the table's bits can say."""
        return np.clip(self(values) / float(2**self.bits - 1), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class WideLevels:
    """A picture of up to 16 bits and the window its file asks for.

    Args:
        values: [h,w] uint16, dense parts bright, 0 black.
        low, high: what is shown black and white at first.
        bits: that the values need.
    """

    values: np.ndarray
    low: float
    high: float
    bits: int


class GreyLevels:
    """The distinct values of a picture in rising order, and where each pixel stands among them.

    Args:
        stored: [h,w] integers, or numbers of any kind.
    """

    def __init__(self, stored: np.ndarray) -> None:
        low, high = stored.min(), stored.max()
        self.listed = stored.dtype.kind in "iu" and int(high) - int(low) < _TABLE
        if self.listed:
            self.values = np.arange(int(low), int(high) + 1)
            unsigned = stored.view(f"u{stored.dtype.itemsize}")
            self.index = unsigned - np.array(low).view(unsigned.dtype)
        else:
            self.values, self.index, self._counts = np.unique(stored, return_inverse=True, return_counts=True)
            self.index = self.index.reshape(stored.shape)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many pixels have each value."""
        return np.bincount(self.index.ravel(), minlength=len(self.values)) if self.listed else self._counts

    def look_up(self, table: np.ndarray) -> np.ndarray:
        """[h,w] of what stands in a table for each value; in strips that stay in the processor's cache."""
        result = np.empty(self.index.shape, table.dtype)
        for top in range(0, len(result), _STRIP):
            np.take(table, self.index[top : top + _STRIP], out=result[top : top + _STRIP], mode="clip")
        return result


def brightness(
    stored: np.ndarray, dataset: Dataset, window: WindowChoice, equalise: bool, warnings: list[str]
) -> np.ndarray:
    """Map stored values to what a display would show.

    Args:
        stored: [h,w] values of the file.
        dataset: its header.
        window: see `choose`.
        equalise: the way of MIMIC-CXR-JPG instead; looks at neither window nor padding, as that did not.
        warnings: gets a line where the file contradicts itself.

    Returns:
        [h,w] uint8.
    """
    grey = GreyLevels(stored)
    inverted = _inverted(dataset, warnings)
    if equalise:
        return grey.look_up(_equalised(grey, inverted))
    shown = ~_padding(grey.values, dataset, stored.dtype.kind == "i")
    values = _modality(grey.values, dataset)
    mapping = choose(dataset, window, warnings)
    if isinstance(mapping, Lut):
        unit = mapping.unit(values)
    else:
        unit = mapping(values) if mapping else _by_range(grey, values, shown)
    table = presentation_lut(dataset)
    if table is not None:
        unit = table.unit(unit * (len(table.data) - 1) + table.first)
    elif inverted:
        unit = 1.0 - unit
    return grey.look_up(np.where(shown, np.rint(unit * 255.0), 0.0).astype(np.uint8))


def wide_levels(stored: np.ndarray, dataset: Dataset) -> WideLevels:
    """Stored values as a viewer with a window of its own takes them: polarity settled, the window not yet applied.

    Steps of one stored value stay apart wherever 16 bits can hold them. A VOI look-up table cannot stay apart: what it makes is given.

    Args:
        stored: [h,w] values of the file.
        dataset: its header.
    """
    grey = GreyLevels(stored)
    shown = ~_padding(grey.values, dataset, stored.dtype.kind == "i")
    values = _modality(grey.values, dataset).astype(np.float64)
    mapping = choose(dataset, None, [])
    if isinstance(mapping, Lut):
        values, mapping = mapping.unit(values).astype(np.float64) * (2**mapping.bits - 1), None
    used = values[shown & (grey.counts > 0)]
    first, last = (float(used.min()), float(used.max())) if used.size else (0.0, 0.0)
    window = (first, last)
    if isinstance(mapping, Window):
        window = (mapping.centre - mapping.width / 2, mapping.centre + mapping.width / 2)
    steps = last - first
    distinct = int(np.ptp(grey.values[shown])) if shown.any() else 0
    scale = 1.0 if steps == int(steps) and steps <= 65535 else min(max(distinct, 255), 65535) / max(steps, 1e-9)
    top = int(round(steps * scale))
    table = np.clip(np.rint((values - first) * scale), 0, top)
    low, high = ((end - first) * scale for end in window)
    if _inverted(dataset, []) and presentation_lut(dataset) is None:
        table, low, high = top - table, top - high, top - low
    table = np.where(shown, table, 0).astype(np.uint16)
    return WideLevels(grey.look_up(table), low, max(high, low + 1), max(top.bit_length(), 1))


def choose(dataset: Dataset, wanted: WindowChoice, warnings: list[str]) -> Window | Lut | None:
    """The window or look-up table to use, or None for the range of the values.

    Args:
        dataset: header of the file.
        wanted: None: the first VOI LUT, else the first window, else the range. A number: that window, from 0. A word:
            the window or LUT with this explanation, or `range`. Two numbers: centre and width.
        warnings: gets a line if the file has not what is wanted; the default is then used.
    """
    luts, windows = _voi_luts(dataset), _windows(dataset)
    if wanted == "range":
        return None
    if isinstance(wanted, str):
        named = dict(zip(tags.texts(dataset, "WindowCenterWidthExplanation"), windows, strict=False))
        named |= {tags.text(item, "LUTExplanation"): lut for item, lut in luts}
        if (found := named.get(wanted.strip().upper())) is not None:
            return found
    elif isinstance(wanted, int):
        if 0 <= wanted < len(windows):
            return windows[wanted]
    elif wanted is not None:
        return Window(float(wanted[0]), max(float(wanted[1]), 1e-6))
    if wanted is not None:
        warnings.append(f"the file has no window {wanted}; its first is used")
    return luts[0][1] if luts else windows[0] if windows else None


def presentation_lut(dataset: Dataset) -> Lut | None:
    """The Presentation LUT, or None; its numbers are P-values, so polarity is done with it."""
    found = [_lut(item, False) for item in tags.items(dataset, "PresentationLUTSequence")]
    return next((lut for lut in found if lut is not None), None)


def stretched(stored: np.ndarray) -> np.ndarray:
    """Any numbers to uint8 by their range: nothing is clipped."""
    grey = GreyLevels(stored)
    low, high = float(grey.values[0]), float(grey.values[-1])
    table = np.rint((grey.values.astype(np.float64) - low) / max(high - low, 1e-9) * 255.0)
    return grey.look_up(table.astype(np.uint8))


def _inverted(dataset: Dataset, warnings: list[str]) -> bool:
    photometric, shape = tags.text(dataset, "PhotometricInterpretation"), tags.text(dataset, "PresentationLUTShape")
    if (photometric, shape) in {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}:
        warnings.append(f"{photometric} contradicts the presentation LUT {shape}; shown inverted")
    return photometric == "MONOCHROME1" or shape == "INVERSE"


def _modality(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    signed = tags.integer(dataset, "PixelRepresentation", 0) == 1
    for item in tags.items(dataset, "ModalityLUTSequence"):
        if (lut := _lut(item, signed)) is not None:
            return lut(values).astype(np.float32)
    slope, intercept = tags.number(dataset, "RescaleSlope"), tags.number(dataset, "RescaleIntercept")
    return (values.astype(np.float64) * (slope or 1.0) + (intercept or 0.0)).astype(np.float32)


def _by_range(grey: GreyLevels, values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """0..1 by the range of the values that occur and are no padding."""
    if not (shown.all() and bool((values[1:] > values[:-1]).all())):  # the ends are then the ends of what occurs
        shown = shown & (grey.counts > 0)
    used = values[shown]
    low, high = (float(used.min()), float(used.max())) if used.size else (0.0, 0.0)
    return np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)


def _padding(values: np.ndarray, dataset: Dataset, signed: bool) -> np.ndarray:
    """Which values only fill the frame; Pixel Padding Value alone, or to the Range Limit."""
    one = tags.number(dataset, "PixelPaddingValue")
    if one is None:
        return np.zeros(len(values), dtype=bool)
    limit = tags.number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset, signed) for end in (one, one if limit is None else limit)]
    return (values >= min(ends)) & (values <= max(ends))


def _as_stored(value: float, dataset: Dataset, signed: bool) -> float:
    """A padding value read with the wrong sign, since its value representation is often a guess."""
    span = 1 << max(1, min(32, tags.integer(dataset, "BitsAllocated", 16)))
    if signed and value >= span // 2:
        return value - span
    return value + span if not signed and value < 0 else value


def _voi_luts(dataset: Dataset) -> list[tuple[Dataset, Lut]]:
    sequence = tags.items(dataset, "VOILUTSequence")
    if tags.integer(dataset, "SamplesPerPixel", 1) != 1:
        return []
    found = [(item, _lut(item, _signed_luts(dataset))) for item in sequence]
    return [(item, lut) for item, lut in found if lut is not None]


def _signed_luts(dataset: Dataset) -> bool:
    return tags.integer(dataset, "PixelRepresentation", 0) == 1 or (tags.number(dataset, "RescaleIntercept") or 0.0) < 0


def _windows(dataset: Dataset) -> list[Window]:
    function = tags.text(dataset, "VOILUTFunction") or "LINEAR"
    pairs = zip(tags.numbers(dataset, "WindowCenter"), tags.numbers(dataset, "WindowWidth"), strict=False)
    return [Window(centre, width, function) for centre, width in pairs if width > 0]


def _lut(item: Dataset, signed: bool) -> Lut | None:
    """The table of a sequence item, or None if it makes no sense; 0 entries stand for 65536."""
    described = tags.numbers(item, "LUTDescriptor")
    if len(described) != 3:
        return None
    entries, first, bits = (int(value) for value in described)
    entries, first, bits = (entries & 0xFFFF) or 0x10000, first & 0xFFFF, bits & 0xFFFF
    if signed and first >= 0x8000:
        first -= 0x10000
    try:
        raw = item.get("LUTData")
        if isinstance(raw, bytes):
            data = np.frombuffer(raw, "<u2" if len(raw) >= 2 * entries else "u1")
        else:
            data = np.atleast_1d(np.asarray(raw, dtype=np.int64)) & 0xFFFF
    except Exception:  # a table that cannot be read is none
        return None
    return Lut(first, data[:entries].astype(np.float64), bits) if len(data) and 1 <= bits <= 16 else None


def _equalised(grey: GreyLevels, inverted: bool) -> np.ndarray:
    """Eight-bit level of every value: range to 0..255, cut to whole numbers, polarity, flat histogram."""
    low, high = float(grey.values[0]), float(grey.values[-1])
    eight = ((grey.values - low) / max(high - low, 1e-9) * 255.0).astype(np.uint8)
    eight = 255 - eight if inverted else eight
    histogram = np.bincount(eight, weights=grey.counts, minlength=256)
    return equalising_table(histogram)[eight]


def equalising_table(histogram: np.ndarray) -> np.ndarray:
    """What each of 256 levels becomes so that all occur about equally often; the darkest that occurs becomes 0.

    The rule is the usual one of image libraries: shares of the pixels brighter than the darkest level, times 255.

    Args:
        histogram: pixels of each level, [256].
    """
    darkest = int(np.flatnonzero(histogram)[0])
    rest = float(histogram.sum() - histogram[darkest])
    if rest == 0:
        return np.full(256, darkest, dtype=np.uint8)
    above = np.cumsum(histogram) - histogram[: darkest + 1].sum()
    return np.rint(np.clip(above, 0.0, None) * np.float32(255.0 / rest)).astype(np.uint8)
