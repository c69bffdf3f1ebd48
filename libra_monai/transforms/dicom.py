# SPDX-License-Identifier: Apache-2.0
"""DICOM pixels as a radiologist's display would show them, in eight bits.

Header, input gate, decoding, grey levels, orientation: each is a module beside this one, here they are put in order.
MONAI's own readers disagree about polarity, transpose, and ignore the window, hence this one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from libra_monai.errors import StudyError
from libra_monai.transforms import tags
from libra_monai.transforms.decoding import decode_frame
from libra_monai.transforms.gate import ACCEPT_ALL, GatePolicy, burned_in, check_header, projection
from libra_monai.transforms.levels import WideLevels, WindowChoice, brightness, wide_levels
from libra_monai.transforms.looks import check_colour
from libra_monai.transforms.orientation import upright

MAX_PIXELS = 100_000_000  # refuse headers that would allocate more; a 43 cm detector at 0.1 mm has 18 million
_MAX_FRAMES = 100_000
_MAX_FILE = 2**31  # bytes a deflated file may become
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow turns colour to grey


@dataclass(frozen=True)
class DicomOptions:
    """How a DICOM file is shown.

    Args:
        policy: what the input gate does, see `GatePolicy`.
        window: which window, see `libra_monai.transforms.levels.choose`.
        equalise: grey levels the way of MIMIC-CXR-JPG, for models trained on those files.
        frame: which frame of a multi-frame object, from 0.
        field_of_view: see `libra_monai.transforms.orientation.upright`.
    """

    policy: GatePolicy = field(default_factory=GatePolicy)
    window: WindowChoice = None
    equalise: bool = False
    frame: int = 0
    field_of_view: str = "undo"


def read_dicom(path: str, options: DicomOptions | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one frontal or lateral radiograph.

    Args:
        path: a DICOM file; the extension does not matter.
        options: how it is shown; None lets every kind of picture in and shows it by its first window.

    Returns:
        brightness [rows, columns] uint8 with dense parts bright, and notes: `sop_uid`, `study_uid`, `view`,
        `projection`, `burned_in`, `export_allowed`, `warnings`.

    Raises:
        StudyError: not DICOM, no pixels, refused by the input gate, or pixels that cannot be decoded.
    """
    options = options or DicomOptions(ACCEPT_ALL)
    with tags.quiet():
        dataset = _open(path)
        warnings: list[str] = []
        _check_size(path, dataset, options.frame)
        check_header(path, dataset, options.policy, said := [])
        stored = _grey(path, dataset, options, warnings)
        shown = brightness(stored, dataset, options.window, options.equalise, warnings)
        shown = upright(shown, dataset, options.field_of_view, warnings)
        marked = burned_in(dataset)
        notes = {
            "sop_uid": str(dataset.get("SOPInstanceUID", "")) or None,
            "study_uid": str(dataset.get("StudyInstanceUID", "")) or None,
            "view": str(dataset.get("ViewPosition", "")) or None,
            "projection": projection(dataset),
            "burned_in": marked,
            "export_allowed": not marked or options.policy.burned_in == "accept",
            "warnings": warnings + said,
        }
    return shown, notes


def read_wide(path: str) -> WideLevels:
    """One radiograph for a viewer with a window of its own: up to 16 bits, dense parts bright, no input gate.

    Args:
        path: a DICOM file.

    Raises:
        StudyError: not DICOM, no pixels, or pixels that cannot be decoded.
    """
    with tags.quiet():
        dataset = _open(path)
        _check_size(path, dataset, 0)
        levels = wide_levels(_grey(path, dataset, DicomOptions(ACCEPT_ALL), []), dataset)
        return replace(levels, values=np.ascontiguousarray(upright(levels.values, dataset, "undo", [])))


def _open(path: str) -> Dataset:
    try:
        _refuse_inflating(path)
        with catch_warnings(record=True) as said:
            simplefilter("always")
            dataset = dcmread(path)
    except InvalidDicomError as error:
        raise _bad(path, "not a readable DICOM file (the DICM mark is missing)", "Export the file again.") from error
    except (EOFError, OSError, struct.error, zlib.error) as error:
        raise _bad(path, f"not a readable DICOM file ({first_line(error)})", "Export the file again.") from error
    if "PixelData" not in dataset and any("End of file" in str(warning.message) for warning in said):
        raise _bad(path, "the file is truncated: it ends within its pixels", "Copy or export the file again.")
    return dataset


def _refuse_inflating(path: str) -> None:
    """Inflate a deflated file piece by piece before pydicom does it at once: it may hold a thousand times its size."""
    with open(path, "rb") as file:
        head = file.read(2048)
        if DeflatedExplicitVRLittleEndian.encode() not in head:
            return
        meta = read_file_meta_info(path)
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        engine, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (piece := engine.unconsumed_tail or file.read(1 << 20)) and not engine.eof:
            size += len(engine.decompress(piece, 1 << 24))
            if size > _MAX_FILE:
                raise _bad(path, "the file would become larger than 2 GiB in memory", "Check the file; it is refused.")


def _check_size(path: str, dataset: Dataset, frame: int) -> None:
    if "PixelData" not in dataset:
        kind = getattr(next(iter(tags.values(dataset, "SOPClassUID")), None), "name", "unknown object")
        raise _bad(path, f"the DICOM object holds no pixels ({kind})", "Give the image object of the study, whole.")
    rows, columns = tags.integer(dataset, "Rows", 0), tags.integer(dataset, "Columns", 0)
    if rows < 1 or columns < 1:
        raise _bad(path, "the DICOM header gives no picture size", "Export the file again.")
    frames = tags.integer(dataset, "NumberOfFrames", 1)
    if rows * columns > MAX_PIXELS or frames > _MAX_FRAMES:
        raise _bad(path, f"the header claims {rows} x {columns} x {frames} pixels", "Check the file; it is refused.")
    if frame >= max(frames, 1):
        raise _bad(path, f"the file has {frames} frame(s), but frame {frame} was asked for", "Ask for one it has.")


def _grey(path: str, dataset: Dataset, options: DicomOptions, warnings: list[str]) -> np.ndarray:
    """Stored values [rows, columns] of one frame, colour turned to grey."""
    stored = decode_frame(path, dataset, options.frame)
    frames = tags.integer(dataset, "NumberOfFrames", 1)
    if frames > 1:
        which = "first" if options.frame == 0 else f"number {options.frame + 1}"
        warnings.append(f"{which} of {frames} frames used")
    if tags.text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 2:
        return stored
    eight = stored if stored.dtype == np.uint8 else (stored >> 8 * (stored.dtype.itemsize - 1)).astype(np.uint8)
    check_colour(path, eight, options.policy, warnings)
    warnings.append("colour picture turned to grey")
    return np.rint(eight[..., :3].astype(np.float32) @ _GREY).astype(np.uint8)


def _bad(path: str, reason: str, remedy: str) -> StudyError:
    return StudyError(path, "pixels", reason, remedy)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
