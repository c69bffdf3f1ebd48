# SPDX-License-Identifier: Apache-2.0
"""What every DICOM object of a draft has in common: patient and study of the current picture, this software, the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from libra_monai import __version__
from libra_monai.files import replacing
from libra_monai.outputs.identity import MANUFACTURER, PRODUCT
from libra_monai.outputs.names import file_name
from libra_monai.transforms.tags import quiet
from libra_monai.types import PictureHeader, ReportDraft


@contextmanager
def as_they_are() -> Iterator[None]:
    """Take over values of a header as they are, even odd ones.

    What pydicom says of those would quote them, and highdicom tells the study's UID on every object.
    """
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet():
            yield
    finally:
        logger.setLevel(level)


def begin(current: PictureHeader, sop_class: str, sop_uid: str, series_uid: str, series_number: int, now: datetime) -> Dataset:
    """An object of the current study, still without content.

    Args:
        current: header of the current picture, for patient and study.
        sop_class, sop_uid: of the object.
        series_uid, series_number: of its series.
        now: when it is made.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    dataset.StudyDate, dataset.StudyTime = current.study_date, current.study_time
    dataset.AccessionNumber, dataset.StudyID = current.accession, current.study_id
    dataset.ReferringPhysicianName = current.referring
    dataset.PatientID, dataset.PatientName, dataset.PatientSex = current.patient_id, current.patient_name, current.sex
    dataset.PatientBirthDate = current.birth_date
    if current.issuer:
        dataset.IssuerOfPatientID = current.issuer
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = MANUFACTURER, PRODUCT, __version__
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = current.study_uid, series_uid
    dataset.SeriesNumber, dataset.InstanceNumber = series_number, 1
    return dataset


def save(dataset: Dataset, draft: ReportDraft, folder: Path, ending: str) -> Path:
    """Write a DICOM object as a file, atomically.

    Args:
        dataset: the object.
        draft: names the file.
        folder: where to.
        ending: of the file's name.
    """
    path = Path(folder) / f"{file_name(draft.study_id)}.{ending}"
    with as_they_are(), replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path
