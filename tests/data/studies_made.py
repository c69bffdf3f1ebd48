# SPDX-License-Identifier: Apache-2.0
"""Studies and DICOM files that tests of chronology and preparation make up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from libra_monai.data.phantom.dicom import Encoding, Identity, to_dicom, uid_for
from libra_monai.data.studies import Study, StudyImage

START = datetime(2150, 3, 1, 10, 0, 0)
PLAIN = "1.2.840.10008.1.2.1"  # Explicit VR Little Endian


def at(hours: float) -> datetime:
    """A moment so many hours after the start."""
    return START + timedelta(hours=hours)


def study(name: str, hours: float | None, patient: str = "p", views: tuple[str | None, ...] = ("PA",), **more) -> Study:
    """A study with one picture a view, all of one moment."""
    time = None if hours is None else at(hours)
    images = tuple(StudyImage(f"{name}-{n}", f"{patient}/{name}/{n}.dcm", view, time) for n, view in enumerate(views))
    images = more.pop("images", images)
    return Study(study_id=name, patient_id=patient, images=images, time_override=None if images else time, **more)


def write_dicom(path: Path, patient: str = "p", name: str = "s1", time: datetime = START, view: str = "PA", pixels=None, **tags) -> Path:
    """A small chest radiograph; tags of value None are taken out."""
    from pydicom.uid import UID

    rng = np.random.default_rng(hash_of(f"{patient}{name}{path.name}"))
    brightness = rng.random((48, 40)) if pixels is None else pixels
    identity = Identity(patient, name, time, 1950, "F", view if view in ("PA", "AP") else "PA")
    dataset = to_dicom(brightness, identity, Encoding("DX", 12, False, UID(PLAIN)), rng)
    dataset.ViewPosition = view
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid_for(patient, name, path.name)
    dataset.StudyInstanceUID = uid_for(patient, name)
    for keyword, value in tags.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def hash_of(text: str) -> int:
    """A number that a text always gives."""
    import zlib

    return zlib.crc32(text.encode())
