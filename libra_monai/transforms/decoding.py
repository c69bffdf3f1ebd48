# SPDX-License-Identifier: Apache-2.0
"""Stored values of one frame: uncompressed ones are read here, compressed ones are decoded in a child process.

Codecs by measurement on a 2048 x 2048 radiograph and by licence (`benchmarks/pixels.py`): imagecodecs (BSD-3, around
libjpeg-turbo, CharLS, OpenJPEG and OpenJPH) is the fastest for all of JPEG's kinds.
Where imagecodecs is not installed, or refuses a frame, pydicom tries what else there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from libra_monai.errors import StudyError
from libra_monai.transforms import tags
from libra_monai.transforms.codestream import claimed_size
from libra_monai.transforms.decoder_process import DecodeError, decoder_process

_JPEG, _JPEG_LS, _OTHERS = ("jpeg", "pydicom"), ("jpegls", "pydicom"), ("pylibjpeg", "pydicom")  # others: RLE
_JPEG_2000, _HTJ2K = ("jpeg2k", "pylibjpeg", "pydicom"), ("htj2k", "pylibjpeg", "pydicom")
# transfer syntax, without the root 1.2.840.10008.1.2 -> decoders in order of preference, see decode_worker.py
DECODERS: dict[str, tuple[str, ...]] = {
    ".4.50": _JPEG, ".4.51": _JPEG, ".4.57": _JPEG, ".4.70": _JPEG, ".4.80": _JPEG_LS, ".4.81": _JPEG_LS,
    ".4.90": _JPEG_2000, ".4.91": _JPEG_2000, ".4.201": _HTJ2K, ".4.202": _HTJ2K, ".4.203": _HTJ2K,
}  # fmt: skip
_ROOT = "1.2.840.10008.1.2"


def decode_frame(path: str, dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Stored values of a frame, with unused bits cut off and signs in place.

    Args:
        path: for the message.
        dataset: the object; its size has been checked.
        frame: which frame, from 0.

    Returns:
        [rows, columns] integers, or [rows, columns, 3] for colour.

    Raises:
        StudyError: the pixels are incomplete, contradict the header, or no decoder reads them.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        if syntax is not None and UID(syntax).is_encapsulated:
            stored = _compressed(dataset, UID(syntax), frame)
            return _sign_extended(stored, dataset)
        stored, _ = get_decoder(UID(syntax)).as_array(dataset, index=frame, correct_unused_bits=False)
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return _sign_extended(_used_bits(stored, dataset), dataset)
    except Exception as error:  # decoders raise whatever they like
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise StudyError(
            path,
            "pixels",
            f"the pixels cannot be decoded ({first}; transfer syntax {getattr(syntax, 'name', syntax)})",
            "Export the file again; `libra-monai doctor` lists the codecs.",
        ) from error


def _compressed(dataset: Dataset, syntax: UID, frame: int) -> np.ndarray:
    options = _options(dataset, syntax)
    frames = max(1, tags.integer(dataset, "NumberOfFrames", 1))
    codestream = get_frame(dataset.PixelData, frame, number_of_frames=frames, extended_offsets=_offsets(dataset))
    claimed, wanted = claimed_size(codestream), (options["rows"], options["columns"])
    if claimed is not None and claimed != wanted:
        ours, theirs = (" x ".join(map(str, size)) for size in (wanted, claimed))
        raise DecodeError(f"the codestream claims {theirs} pixels, the header {ours}")
    decoders = DECODERS.get(str(syntax).removeprefix(_ROOT), _OTHERS)
    if options["samples_per_pixel"] > 1:  # colour spaces are pydicom's to sort out
        decoders = tuple(name for name in decoders if name in ("pylibjpeg", "pydicom"))
    return decoder_process().decode(codestream, decoders, options)


def _options(dataset: Dataset, syntax: UID) -> dict[str, Any]:
    """What a decoder has to know of the header."""
    allocated = tags.integer(dataset, "BitsAllocated", 16)
    return {
        "transfer_syntax": str(syntax),
        "rows": tags.integer(dataset, "Rows", 0),
        "columns": tags.integer(dataset, "Columns", 0),
        "samples_per_pixel": tags.integer(dataset, "SamplesPerPixel", 1),
        "photometric_interpretation": tags.text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        "pixel_representation": tags.integer(dataset, "PixelRepresentation", 0),
        "bits_allocated": allocated,
        "bits_stored": tags.integer(dataset, "BitsStored", allocated),
    }


def _offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    """The extended offset table of long multi-frame objects."""
    found = tuple(dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    return found if all(isinstance(table, bytes) for table in found) else None


def _used_bits(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Only the stored bits of uncompressed values; old files keep overlays in the others."""
    allocated = stored.dtype.itemsize * 8
    bits = tags.integer(dataset, "BitsStored", allocated)
    if stored.dtype.kind not in "iu" or not 0 < bits < allocated or allocated > 16:
        return stored
    shift = tags.integer(dataset, "HighBit", bits - 1) + 1 - bits
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    if 0 < shift <= allocated - bits:
        unsigned = unsigned >> shift
    mask = (1 << bits) - 1
    if int(unsigned.max(initial=0)) > mask:
        unsigned = unsigned & unsigned.dtype.type(mask)
    return unsigned.view(stored.dtype)


def _sign_extended(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Two's complement of the stored bits, for decoders that know of none; right ones stay as they are."""
    bits = tags.integer(dataset, "BitsStored", 16)
    if tags.integer(dataset, "PixelRepresentation", 0) != 1 or stored.dtype.itemsize > 2 or not 0 < bits <= 16:
        return stored
    wide = stored.astype(np.int16) if stored.dtype.kind == "i" else stored.astype(np.uint16).view(np.int16)
    return (wide << (16 - bits)) >> (16 - bits)
