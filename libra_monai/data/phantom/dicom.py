# SPDX-License-Identifier: Apache-2.0
"""Phantom radiographs as DICOM files, in the variety that hospitals send.

DX and CR objects of 12 to 16 bits, MONOCHROME1 and MONOCHROME2, with window tags, in four transfer
syntaxes. Every file is marked as synthetic in its tags; nothing is burned into the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

MARK = "SYNTHETIC - NOT FOR CLINICAL USE"
TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
_UID_ROOT = "2.25."
_VIEW_CODES = {"AP": ("399348003", "SCT", "antero-posterior"), "PA": ("272479007", "SCT", "postero-anterior"),
               "LL": ("399173006", "SCT", "left lateral")}  # CID 4010  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """How a picture is stored; the same picture for a reader that follows the tags.

    Args:
        modality: `DX` or `CR`.
        bits: bits stored, 12 to 16.
        inverted: MONOCHROME1, where small values are bright.
        transfer_syntax: UID of the transfer syntax.
    """

    modality: str
    bits: int
    inverted: bool
    transfer_syntax: UID


@dataclass(frozen=True)
class Identity:
    """Who, when and which view; all invented.

    Args:
        patient_id, study_id: identifiers of the phantom.
        time: study date and time.
        birth_year, sex, view: as in the DICOM tags of these names; `LL` and `LATERAL` are left lateral views.
        number: of the picture in its study; the frontal one is 1.
    """

    patient_id: str
    study_id: str
    time: datetime
    birth_year: int
    sex: str
    view: str
    number: int = 1

    @property
    def lateral(self) -> bool:
        """Whether this is a view from the side."""
        return self.view in ("LL", "LATERAL")

    def image_uid(self) -> str:
        """UID of the picture."""
        return uid_for(self.study_id, "image", *self._further())

    def series_uid(self) -> str:
        """UID of its series."""
        return uid_for(self.study_id, "series", *self._further())

    def _further(self) -> tuple[str, ...]:
        return () if self.number == 1 else (str(self.number),)


def draw_encoding(rng: np.random.Generator) -> Encoding:
    """Draw how a picture is stored."""
    return Encoding(
        modality=str(rng.choice(["DX", "CR"])),
        bits=int(rng.choice([12, 14, 15, 16])),
        inverted=bool(rng.random() < 0.4),
        transfer_syntax=TRANSFER_SYNTAXES[int(rng.choice(4, p=[0.5, 0.2, 0.15, 0.15]))],
    )


def uid_for(*names: str) -> str:
    """A UID that depends only on names, so that a seed gives the same files again."""
    return str(generate_uid(prefix=_UID_ROOT, entropy_srcs=["libra-monai phantom", *names]))


def to_dicom(brightness: np.ndarray, identity: Identity, encoding: Encoding, rng: np.random.Generator) -> FileDataset:
    """Make a DICOM object of a picture.

    Args:
        brightness: [rows, columns] in 0..1, dense parts bright.
        identity: who and when.
        encoding: how to store it.
        rng: draws the window's margins.
    """
    dataset = _new_object(identity, encoding)
    _describe_patient(dataset, identity)
    _describe_acquisition(dataset, identity, encoding)
    _put_pixels(dataset, brightness, encoding, rng)
    if encoding.transfer_syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(encoding.transfer_syntax, generate_instance_uid=False)
    return dataset


def _new_object(identity: Identity, encoding: Encoding) -> FileDataset:
    digital = encoding.modality == "DX"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(identity.image_uid())
    compressed = encoding.transfer_syntax in (RLELossless, JPEG2000Lossless)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if compressed else encoding.transfer_syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = uid_for(identity.study_id)
    dataset.SeriesInstanceUID = identity.series_uid()
    return dataset


def _describe_patient(dataset: FileDataset, identity: Identity) -> None:
    dataset.PatientName = f"Phantom^{identity.patient_id}"
    dataset.PatientID = identity.patient_id
    dataset.IssuerOfPatientID = "LIBRA-MONAI PHANTOM"
    dataset.PatientBirthDate = f"{identity.birth_year}0101"
    dataset.PatientSex = identity.sex
    dataset.PatientAge = f"{identity.time.year - identity.birth_year:03d}Y"
    dataset.PatientComments = MARK
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: never a patient"


def _describe_acquisition(dataset: FileDataset, identity: Identity, encoding: Encoding) -> None:
    date, time = identity.time.strftime("%Y%m%d"), identity.time.strftime("%H%M%S")
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    dataset.AccessionNumber = identity.study_id[-16:]
    dataset.StudyID = identity.study_id[-16:]
    dataset.SeriesNumber, dataset.InstanceNumber = identity.number, identity.number
    dataset.Modality = encoding.modality
    dataset.Manufacturer = "Libra-MONAI phantom"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = f"XR CHEST {identity.view} SYNTHETIC"
    dataset.SeriesDescription = f"CHEST {identity.view} {MARK}"
    dataset.ImageComments = MARK
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = identity.view
    # columns run to the patient's left (from the side: to the back), rows to the feet
    dataset.PatientOrientation = ["P", "F"] if identity.lateral else ["L", "F"]
    dataset.ImageLaterality = "U"  # the chest is no paired part
    if encoding.modality == "DX":
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.FrameOfReferenceUID = uid_for(identity.study_id, "frame")
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = 1 if encoding.inverted else -1
        dataset.PositionReferenceIndicator, dataset.DetectorType, dataset.PositionerType = "", "DIRECT", "COLUMN"
        dataset.ViewCodeSequence = Sequence([_code(*_VIEW_CODES["LL" if identity.lateral else identity.view])])
        dataset.AnatomicRegionSequence = Sequence([_code("51185008", "SCT", "Chest")])
        dataset.AcquisitionContextSequence = Sequence([])
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _put_pixels(dataset: FileDataset, brightness: np.ndarray, encoding: Encoding, rng: np.random.Generator) -> None:
    top = 2**encoding.bits - 1
    scale, offset = rng.uniform(0.55, 0.9), rng.uniform(0.02, 0.08)  # the detector does not use its whole range
    stored = np.rint((offset + scale * brightness) * top)
    low, high = np.percentile(stored, [0.5, 99.7])
    low, high = low + rng.uniform(-0.02, 0.03) * (high - low), high + rng.uniform(-0.03, 0.03) * (high - low)
    if encoding.inverted:
        stored, low, high = top - stored, top - high, top - low
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if encoding.inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if encoding.inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = brightness.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, encoding.bits, encoding.bits - 1
    dataset.PixelRepresentation = 0
    spacing = round(360.0 / max(brightness.shape), 4)  # a detector of 36 cm, in millimetres
    dataset.ImagerPixelSpacing = [spacing, spacing]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter = round(float(low + high) / 2, 1)
    dataset.WindowWidth = round(max(float(high - low), 2.0), 1)
    dataset.WindowCenterWidthExplanation = "NORMAL"
    dataset.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
