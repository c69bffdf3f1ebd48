# SPDX-License-Identifier: Apache-2.0
"""One file to one-channel uint8 pixels: DICOM, PNG, JPEG, NIfTI.

What a file is comes from its first bytes, never from its name.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from PIL import Image, ImageOps, UnidentifiedImageError

from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.transforms.decoder_process import DecodeError, decoder_process
from libra_monai.transforms.dicom import MAX_PIXELS, DicomOptions, read_dicom
from libra_monai.transforms.gate import GatePolicy, policy_from
from libra_monai.transforms.levels import WindowChoice, stretched
from libra_monai.transforms.looks import check_colour, check_display, check_picture
from libra_monai.transforms.nifti import looks_like_nifti, read_nifti
from libra_monai.transforms.orientation import FIELD_OF_VIEW

READING = 2  # raise it when the pixels of any file change, so that caches are not believed any more
_FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "PPM", "WEBP")  # what Pillow may try; never PostScript
_HERE = ("PNG", "JPEG")  # decoded in this process; all others in a child, like compressed DICOM
_UNTAGGED = dict.fromkeys(("sop_uid", "study_uid", "view", "projection", "burned_in")) | {"export_allowed": True}


class LoadRadiograph(Transform):
    """Read a radiograph as uint8 [1,h,w] with dense parts bright and the patient's left on the right.

    The result is a MONAI `MetaTensor`; its `meta` holds `filename_or_obj`, `sop_uid`, `study_uid`, `view` (as the file
    writes it), `projection` (`frontal`, `lateral`, `oblique` or None), `burned_in`, `export_allowed` and `warnings`.

    Args:
        policy: what the input gate refuses, a `GatePolicy` or a dictionary of its fields; None is the safe default.
        window: which window of a DICOM file, see `libra_monai.transforms.levels.choose`.
        equalise: grey levels of DICOM files the way of MIMIC-CXR-JPG.
        frame: which frame of a multi-frame object, from 0.
        field_of_view: `undo` or `ignore` the Field of View tags where Patient Orientation is absent.

    Raises:
        StudyError: the file is missing, is no picture, cannot be decoded, shows nothing, or is refused by the gate.
        ConfigError: an option does not exist.
    """

    def __init__(
        self,
        policy: GatePolicy | Mapping[str, Any] | None = None,
        window: WindowChoice = None,
        equalise: bool = False,
        frame: int = 0,
        field_of_view: str = "undo",
    ) -> None:
        if field_of_view not in FIELD_OF_VIEW:
            raise ConfigError(f"field_of_view '{field_of_view}' does not exist", f"Use {' or '.join(FIELD_OF_VIEW)}.")
        if frame < 0:
            raise ConfigError(f"frame {frame} does not exist", "Count frames from 0.")
        if not isinstance(window, (str, int, type(None))) and (len(window) != 2 or window[1] <= 0):
            raise ConfigError(f"window {window} makes no sense", "Give a centre and a positive width.")
        self.options = DicomOptions(policy_from(policy), window, equalise, frame, field_of_view)

    @property
    def policy(self) -> GatePolicy:
        """What the input gate does."""
        return self.options.policy

    @property
    def settings(self) -> dict[str, Any]:
        """What the pixels depend on besides the file, for caches."""
        return {"reading": READING, **asdict(self.options)}

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        path = str(path)
        if not os.path.isfile(path):
            kind = "is a folder, not a file" if os.path.isdir(path) else "the file does not exist"
            raise StudyError(path, "pixels", kind, "Check the path, and the data root if it stands in a datalist.")
        try:
            pixels, notes = self._read(path)
            check_picture(path, pixels, self.policy)
        except StudyError:
            raise
        except PermissionError as error:
            raise StudyError(path, "pixels", "the file may not be read", "Change its permissions.") from error
        except Exception as error:  # headers can be wrong in more ways than anyone foresees; one file never stops a run
            reason = f"the file cannot be used ({type(error).__name__})"  # its text may repeat values of the header
            raise StudyError(path, "pixels", reason, "Export the file again.") from error
        tensor = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).unsqueeze(0)
        return MetaTensor(tensor, meta={"filename_or_obj": path, **notes})

    def _read(self, path: str) -> tuple[np.ndarray, dict[str, Any]]:
        with open(path, "rb") as file:
            head = file.read(352)
        if _looks_like_dicom(head, path):
            return read_dicom(path, self.options)
        warnings: list[str] = []
        if looks_like_nifti(head, path):
            pixels = read_nifti(path)
        else:
            pixels = _read_picture(path, self.policy, warnings)
        if self.policy.unlikely_display != "accept":
            check_display(path, pixels, self.policy, warnings)
        return pixels, {**_UNTAGGED, "warnings": warnings}


def reader(options: Mapping[str, Any] | None) -> LoadRadiograph:
    """A `LoadRadiograph` from a dictionary of JSON, refusing unknown names.

    Args:
        options: its arguments by name, or None for the defaults.

    Raises:
        ConfigError: an argument does not exist, or its value makes no sense.
    """
    known = inspect.signature(LoadRadiograph).parameters
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ConfigError(f"reading option '{unknown[0]}' does not exist", did_you_mean(unknown[0], known))
    return LoadRadiograph(**dict(options or {}))


def _looks_like_dicom(head: bytes, path: str) -> bool:
    if head[128:132] == b"DICM":
        return True
    picture = head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*"))
    return not picture and Path(path).suffix.lower() in {".dcm", ".dicom", ".ima", ""}


def _read_picture(path: str, policy: GatePolicy, warnings: list[str]) -> np.ndarray:
    try:
        with catch_warnings():
            simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
            image = Image.open(path, formats=_FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                claim = f"the picture has {image.width} x {image.height} pixels"
                raise StudyError(path, "pixels", claim, "It is refused; resize it.")
            if image.format not in _HERE:
                pixels = decoder_process().decode(Path(path).read_bytes(), ["picture"], {"formats": _FORMATS})
                if pixels.dtype != np.uint8:
                    return stretched(pixels)
                return _to_grey(path, Image.fromarray(pixels), policy, warnings)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # a copy of a whole radiograph costs a tenth of reading it
            return _to_grey(path, image, policy, warnings)
    except UnidentifiedImageError as error:
        remedy = "Give a DICOM, PNG, JPEG or NIfTI file."
        raise StudyError(path, "pixels", "not a picture that can be read", remedy) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, DecodeError) as error:
        reason = f"the picture cannot be decoded ({str(error)[:160]})"
        raise StudyError(path, "pixels", reason, "Copy or export the file again.") from error


def _to_grey(path: str, image: Image.Image, policy: GatePolicy, warnings: list[str]) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: the used range becomes 0..255, nothing is clipped
        return stretched(np.asarray(image))
    if image.mode not in ("L", "1", "LA"):
        check_colour(path, np.asarray(image.convert("RGB")), policy, warnings)
        warnings.append(f"{image.mode} picture turned to grey")
    if image.mode == "P":
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)
