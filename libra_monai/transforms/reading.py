# SPDX-License-Identifier: Apache-2.0
"""One file to one-channel uint8 pixels: DICOM, PNG, JPEG.

What a file is comes from its first bytes, never from its name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from PIL import Image, ImageOps, UnidentifiedImageError

from libra_monai.errors import StudyError
from libra_monai.transforms.dicom import MAX_PIXELS, read_dicom

_CONTRAST = 4  # grey levels below which a picture says nothing
_SMALLEST = 32  # pixels of the shorter side


class LoadRadiograph(Transform):
    """Read a radiograph as uint8 [1,h,w] with dense parts bright and the patient's left on the right.

    The result is a MONAI `MetaTensor`; its `meta` holds `filename_or_obj`, `sop_uid`, `study_uid`, `view` and
    `warnings`.

    Raises:
        StudyError: the file is missing, is no picture, cannot be decoded, or shows nothing.
    """

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        path = str(path)
        if not os.path.isfile(path):
            kind = "is a folder, not a file" if os.path.isdir(path) else "the file does not exist"
            raise StudyError(path, "pixels", kind, "Check the path, and the data root if it stands in a datalist.")
        try:
            pixels, notes = read_dicom(path) if _looks_like_dicom(path) else _read_picture(path)
        except StudyError:
            raise
        except PermissionError as error:
            raise StudyError(path, "pixels", "the file may not be read", "Change its permissions.") from error
        except Exception as error:  # headers can be wrong in more ways than anyone foresees; one file never stops a run
            reason = f"the file cannot be used ({type(error).__name__}: {str(error)[:160]})"
            raise StudyError(path, "pixels", reason, "Export the file again.") from error
        _refuse_empty(path, pixels)
        tensor = torch.from_numpy(np.array(pixels)).unsqueeze(0)
        return MetaTensor(tensor, meta={"filename_or_obj": path, **notes})


def _looks_like_dicom(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(132)
    if head[128:132] == b"DICM":
        return True
    picture = head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*"))
    return not picture and Path(path).suffix.lower() in {".dcm", ".dicom", ".ima", ""}


def _read_picture(path: str) -> tuple[np.ndarray, dict[str, Any]]:
    warnings: list[str] = []
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise StudyError(
                    path, "pixels", f"the picture has {image.width} x {image.height} pixels", "It is refused; resize it."
                )
            image.load()
            pixels = _to_grey(ImageOps.exif_transpose(image), warnings)
    except UnidentifiedImageError as error:
        remedy = "Give a DICOM, PNG or JPEG file."
        raise StudyError(path, "pixels", "not a picture that can be read", remedy) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = f"the picture cannot be decoded ({str(error)[:160]})"
        raise StudyError(path, "pixels", reason, "Copy or export the file again.") from error
    return pixels, {"sop_uid": None, "study_uid": None, "view": None, "warnings": warnings}


def _to_grey(image: Image.Image, warnings: list[str]) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: the used range becomes 0..255, nothing is clipped
        deep = np.asarray(image, dtype=np.float64)
        low, high = float(deep.min()), float(deep.max())
        return np.rint((deep - low) / max(high - low, 1e-9) * 255.0).astype(np.uint8)
    if image.mode not in ("L", "1", "LA"):
        warnings.append(f"{image.mode} picture turned to grey")
    if image.mode == "P":
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)


def _refuse_empty(path: str, pixels: np.ndarray) -> None:
    if min(pixels.shape) < _SMALLEST:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise StudyError(path, "pixels", f"the picture has only {size} pixels", "Give the full-size radiograph.")
    if int(pixels.max()) - int(pixels.min()) < _CONTRAST:
        shade = "black" if pixels.max() < 8 else "white" if pixels.min() > 247 else "of one grey"
        raise StudyError(path, "pixels", f"the picture is all {shade}", "Check the exposure and the window tags.")
