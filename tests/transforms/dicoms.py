# SPDX-License-Identifier: Apache-2.0
"""Small DICOM files for tests: every tag can be set, every compression that a codec here writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import UID

# columns lead to the patient's left, rows to the feet; no flip or turn of it is itself
PICTURE = np.add.outer(np.linspace(0, 0.3, 60), np.linspace(0, 0.6, 44))
PICTURE[8:20, 4:12] = 1.0
PICTURE[40:44, 20:40] = 0.0
GOOD = {
    "Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientAge": "050Y", "PatientSex": "F",
    "PatientOrientation": ["L", "F"], "PresentationIntentType": "FOR PRESENTATION", "BurnedInAnnotation": "NO",
}  # fmt: skip
LOSSLESS = {
    "implicit": "1.2.840.10008.1.2", "explicit": "1.2.840.10008.1.2.1", "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99", "RLE": "1.2.840.10008.1.2.5", "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70", "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90", "HTJ2K": "1.2.840.10008.1.2.4.201",
}  # fmt: skip
NEEDS_IMAGECODECS = {"JPEG lossless", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000", "HTJ2K", "JPEG"}


def write(path: Path, values: np.ndarray, bits: int = 12, syntax: str = "explicit", **tags) -> Path:
    """Write an object with all tags of `GOOD` unless they are set otherwise; None leaves a tag out.

    Args:
        path: where to.
        values: [rows, columns] or [frames, rows, columns] of integers; negative ones are stored as signed.
        bits: bits stored.
        syntax: a name of `LOSSLESS`, or `JPEG`.
        tags: attributes by keyword.
    """
    make(values, bits, syntax, **tags).save_as(path, enforce_file_format=True)
    return path


def make(values: np.ndarray, bits: int = 12, syntax: str = "explicit", **tags) -> pydicom.FileDataset:
    """The object of `write`."""
    signed, uid = bool(np.asarray(values).min() < 0), UID(LOSSLESS.get(syntax, "1.2.840.10008.1.2.4.50"))
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "2.25.1"
    meta.TransferSyntaxUID = UID(LOSSLESS["explicit"]) if syntax == "RLE" else uid
    order = {"is_little_endian": syntax != "big endian", "is_implicit_VR": syntax == "implicit"}
    dataset = pydicom.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, **order)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "2.25.1"
    dataset.StudyInstanceUID = "2.25.2"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    allocated = 8 if bits <= 8 else 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    for name, value in {**GOOD, **tags}.items():
        if value is not None:
            setattr(dataset, name, value)
    ends = ">" if syntax == "big endian" else "<"
    stored = np.rint(values).astype(f"{ends}{'i' if signed else 'u'}{allocated // 8}")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    if syntax == "RLE":
        dataset.compress(uid, generate_instance_uid=False)
    elif syntax in NEEDS_IMAGECODECS:
        dataset.PixelData = encapsulate([codestream(stored, bits, syntax)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def codestream(stored: np.ndarray, bits: int, syntax: str) -> bytes:
    """One frame compressed; signed values as the bits they are made of, except in JPEG 2000."""
    import imagecodecs

    unsigned = stored.view(f"u{stored.dtype.itemsize}") & ((1 << bits) - 1)
    if syntax == "JPEG":
        return imagecodecs.jpeg8_encode(unsigned, level=95)
    if syntax.startswith("JPEG lossless"):
        predictor = 1 if syntax.endswith("SV1") else 6
        return imagecodecs.jpeg8_encode(unsigned, lossless=True, bitspersample=bits, predictor=predictor)
    if syntax == "JPEG-LS":
        return imagecodecs.jpegls_encode(unsigned)
    if syntax == "HTJ2K":
        return imagecodecs.htj2k_encode(stored, reversible=True)
    return imagecodecs.jpeg2k_encode(stored, codecformat="j2k", level=0, bitspersample=bits, reversible=True)
