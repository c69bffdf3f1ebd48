# SPDX-License-Identifier: Apache-2.0
"""A radiograph kept as a two-dimensional NIfTI file, turned as it hangs on a viewing box.

NIfTI stores columns before rows and says by its affine where both lead to. The axis towards head or feet becomes the
rows, head on top; the other becomes the columns, the patient's right on the left. A picture whose second axis runs
from back to front came from a flat picture (as ITK writes one) and keeps its top.
"""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
from nibabel.orientations import aff2axcodes

from libra_monai.errors import StudyError
from libra_monai.transforms.levels import stretched

_LARGEST = 100_000_000  # values, as for pictures
_BYTES = 8 * _LARGEST + 4096


def looks_like_nifti(head: bytes, path: str) -> bool:
    """Whether a file is NIfTI by its first bytes, or gzip named so.

    Args:
        head: at least 348 bytes.
        path: only for compressed files, whose content is hidden.
    """
    if head[:2] == b"\x1f\x8b":
        return path.lower().endswith(".nii.gz")
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def read_nifti(path: str) -> np.ndarray:
    """Read one picture.

    Args:
        path: a NIfTI-1 or -2 file in one piece, compressed or not.

    Returns:
        [rows, columns] uint8: stored as such, or by the range of its values.

    Raises:
        StudyError: it is damaged, a volume, in colour, or does not say where its axes lead to.
    """
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as file:
            raw = file.read(_BYTES)
        kind = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
        header = kind.header_class(raw[: kind.header_class.sizeof_hdr])
        shape = [int(n) for n in header.get_data_shape()]
        if int(np.prod(shape or [0], dtype=object)) > _LARGEST:
            claim = " x ".join(map(str, shape))
            raise _bad(path, f"the header claims {claim} values", "Check the file; it is refused.")
        image = kind.from_bytes(raw)
        values = np.asanyarray(image.dataobj)
        codes = aff2axcodes(image.affine)
    except StudyError:
        raise
    except Exception as error:  # nibabel raises by what is wrong, and not always its own errors
        reason = f"the NIfTI file cannot be read ({type(error).__name__})"
        raise _bad(path, reason, "Export the file again.") from error
    return _grey(path, _hung(path, values, codes))


def _hung(path: str, values: np.ndarray, codes: tuple[str | None, ...]) -> np.ndarray:
    """[columns, rows] as stored to [rows, columns] as hung."""
    flat = [axis for axis, size in enumerate(values.shape) if size > 1]
    if len(flat) != 2 or any(axis > 2 for axis in flat):
        size = " x ".join(map(str, values.shape))
        raise _bad(path, f"the NIfTI file holds {size} values, not one picture", "Give a two-dimensional radiograph.")
    ends = [codes[axis] for axis in flat]
    rows = next((n for n in (1, 0) if ends[n] in ("S", "I")), next((n for n in (1, 0) if ends[n] in ("A", "P")), None))
    if rows is None or None in ends or ends[1 - rows] == ends[rows]:
        raise _bad(path, "the NIfTI file does not say where its axes lead to", "Give an affine, or a PNG picture.")
    picture = values.reshape([values.shape[axis] for axis in flat])
    picture = picture.T if rows == 1 else picture
    if ends[rows] in ("S", "A"):
        picture = picture[::-1]
    if ends[1 - rows] == "R":
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def _grey(path: str, picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind not in "iuf" or not np.isfinite(picture).all():
        raise _bad(path, "the NIfTI file holds colours or numbers that are none", "Give grey levels.")
    return stretched(picture)


def _bad(path: str, reason: str, remedy: str) -> StudyError:
    return StudyError(path, "pixels", reason, remedy)
