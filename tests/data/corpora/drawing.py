# SPDX-License-Identifier: Apache-2.0
"""Tiny drawn pictures as JPG, PNG or DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

SIZE = 64


def draw(seed: int) -> np.ndarray:
    """Two dark ellipses on a bright ground, uint8 [64,64]; each seed another picture."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    picture = 170 + 20 * rng.random((SIZE, SIZE))
    for centre in (0.3, 0.7):
        height = 0.28 + 0.06 * rng.random()
        inside = ((columns - centre) / 0.16) ** 2 + ((rows - 0.5) / height) ** 2 < 1
        picture[inside] -= 110 + 30 * rng.random()
    return np.clip(picture, 0, 255).astype(np.uint8)


def write_picture(path: Path, seed: int, **tags) -> None:
    """Write a drawn picture in the form its ending says.

    Args:
        path: ends in `.jpg`, `.png` or `.dcm`.
        seed: which picture.
        tags: DICOM attributes by keyword.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".dcm":
        Image.fromarray(draw(seed)).save(path, quality=95)
        return
    make_dicom(seed, **tags).save_as(path, enforce_file_format=True)


def make_dicom(seed: int, **tags) -> Dataset:
    """A DX object of a drawn picture."""
    pixels = draw(seed)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["sample", str(seed)])
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["sample study", str(seed)])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["sample series", str(seed)])
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = SIZE, SIZE, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset
