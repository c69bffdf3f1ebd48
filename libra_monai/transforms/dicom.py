# SPDX-License-Identifier: Apache-2.0
"""DICOM pixels as a radiologist's display would show them, in eight bits.

Order as in PS3.3 C.11: modality LUT or rescale, VOI LUT or window, then polarity. MONAI's own
readers disagree about polarity and ignore the window, hence this one.
"""

from __future__ import annotations

import struct
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from libra_monai.errors import StudyError

MAX_PIXELS = 100_000_000  # refuse headers that would allocate more; a 43 cm detector at 0.1 mm has 18 million


def read_dicom(path: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one frontal or lateral radiograph.

    Args:
        path: a DICOM file; the extension does not matter.

    Returns:
        brightness [rows, columns] uint8 with dense parts bright, and notes: `sop_uid`, `study_uid`, `view`,
        `warnings`.

    Raises:
        StudyError: not DICOM, no pixels, or pixels that cannot be decoded.
    """
    dataset = _open(path)
    warnings: list[str] = []
    _check_header(path, dataset)
    stored = _decode(path, dataset, warnings)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    unit = _values_of_interest(values, stored, dataset)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        unit = 1.0 - unit
    notes = {
        "sop_uid": str(dataset.get("SOPInstanceUID", "")) or None,
        "study_uid": str(dataset.get("StudyInstanceUID", "")) or None,
        "view": str(dataset.get("ViewPosition", "")) or None,
        "warnings": warnings,
    }
    return np.rint(unit * 255.0).astype(np.uint8), notes


def _open(path: str) -> Dataset:
    try:
        with catch_warnings(record=True) as said:
            simplefilter("always")
            dataset = dcmread(path)
    except InvalidDicomError as error:
        raise _bad(path, "not a readable DICOM file (the DICM mark is missing)", "Export the file again.") from error
    except (EOFError, OSError, struct.error) as error:
        raise _bad(path, f"not a readable DICOM file ({_first_line(error)})", "Export the file again.") from error
    if "PixelData" not in dataset and any("End of file" in str(warning.message) for warning in said):
        raise _bad(path, "the file is truncated: it ends within its pixels", "Copy or export the file again.")
    return dataset


def _check_header(path: str, dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        kind = dataset.SOPClassUID.name if "SOPClassUID" in dataset else "unknown object"
        raise _bad(path, f"the DICOM object holds no pixels ({kind})", "Give the image object of the study, whole.")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise _bad(path, "the DICOM header gives no picture size", "Export the file again.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if rows * columns * frames > MAX_PIXELS:
        raise _bad(path, f"the header claims {rows} x {columns} x {frames} pixels", "Check the file; it is refused.")


def _decode(path: str, dataset: Dataset, warnings: list[str]) -> np.ndarray:
    try:
        stored = dataset.pixel_array
    except Exception as error:  # decoders raise whatever they like
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        raise _bad(
            path,
            f"the pixels cannot be decoded ({_first_line(error)}; transfer syntax {getattr(syntax, 'name', syntax)})",
            "Export the file again; `libra-monai doctor` lists the codecs.",
        ) from error
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        warnings.append("colour picture turned to grey")
        stored = stored[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if stored.ndim == 3:
        warnings.append(f"first of {stored.shape[0]} frames used")
        stored = stored[0]
    return stored


def _values_of_interest(values: np.ndarray, stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Map to 0..1 by VOI LUT or window; by the range of the values if there is neither."""
    if "VOILUTSequence" in dataset and int(dataset.get("SamplesPerPixel") or 1) == 1:
        item = dataset.VOILUTSequence[0]
        mapped = apply_voi_lut(values.astype(stored.dtype), dataset, prefer_lut=True)
        return np.clip(mapped / float(2 ** int(item.LUTDescriptor[2]) - 1), 0.0, 1.0).astype(np.float32)
    window = _window(dataset)
    if window is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / max(high - low, 1e-6)
    centre, width, function = window
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    return np.clip((values - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5, 0.0, 1.0)


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    """The first window of the file, or None if there is no usable one."""

    def first(value: Any) -> float | None:
        values = value if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else [value]
        try:
            return float(next(iter(values)))
        except (StopIteration, TypeError, ValueError):
            return None

    centre, width = first(dataset.get("WindowCenter")), first(dataset.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    return centre, width, str(dataset.get("VOILUTFunction", "LINEAR")).upper()


def _bad(path: str, reason: str, remedy: str) -> StudyError:
    return StudyError(path, "pixels", reason, remedy)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
