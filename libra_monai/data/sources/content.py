# SPDX-License-Identifier: Apache-2.0
"""What the files of pictures hold: whether they are there, open, show something, and which are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from libra_monai.data.studies import Study, StudyImage
from libra_monai.errors import StudyError
from libra_monai.paths import inside

CHECKS = ("exists", "content", "pixels")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """What one file holds.

    Args:
        sha256: of the bytes; None if they were not read.
        key: equal for pictures that are the same: of the pixels where they were decoded, else of the bytes.
        reason: why it cannot be used, or None.
    """

    sha256: str | None = None
    key: str | None = None
    reason: str | None = None


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def examine(studies: Iterable[Study], root: str | os.PathLike, check: str) -> dict[str, Content]:
    """Look at all usable pictures.

    Args:
        studies: their paths are relative to `root`.
        root: the data root, which no path may leave.
        check: `exists`, `content` (hash of the bytes) or `pixels` (decoded, not blank, hash of the pixels).

    Returns:
        path -> content.
    """
    paths = sorted({image.path for study in studies for image in study.images if image.usable})
    return {path: _look(path, root, check) for path in tqdm(paths, desc=f"pictures ({check})", unit="file", delay=2)}


def judged(study: Study, found: Mapping[str, Content]) -> Study:
    """The study with pictures that cannot be used marked so, and each file once.

    Args:
        study: as the source gave it.
        found: of `examine`.
    """

    def judge(image: StudyImage) -> StudyImage:
        reason = found[image.path].reason if image.usable else None
        return replace(image, usable=False, reason=reason) if reason else image

    once = {image.path: image for image in reversed(study.images)}
    return replace(study, images=tuple(judge(image) for image in study.images if once[image.path] is image))


def _look(path: str, root: str | os.PathLike, check: str) -> Content:
    try:
        if not path or Path(path).is_absolute():
            return Content(reason="path is not relative to the data root")
        full = inside(root, path)
        if not os.path.isfile(full):
            return Content(reason="the file does not exist")
        if check == "exists":
            return Content()
        sha256 = file_hash(full)
        return Content(sha256, _pixel_key(full) if check == "pixels" else sha256)
    except StudyError as error:
        return Content(reason=error.reason)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        return Content(reason=f"the file cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})")


def _pixel_key(path: str) -> str:
    from libra_monai.transforms import ACCEPT_ALL, LoadRadiograph

    pixels = LoadRadiograph(policy=ACCEPT_ALL)(path).numpy()
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
