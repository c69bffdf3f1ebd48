# SPDX-License-Identifier: Apache-2.0
"""What of a DICOM radiograph survives de-identification, attribute by attribute.

An allow-list in place of the deny-list of PS3.15 table E.1-1: an attribute that nobody thought of goes. Kept is what a
reader needs to show the picture the right way round and bright, and how it was taken; none of it is in the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy

from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from libra_monai.errors import StudyError

OLDEST = 89  # years; the U.S. Safe Harbor rule joins all ages above
_KEEP = frozenset(
    tag_for_keyword(name)
    for name in """
    SpecificCharacterSet ImageType SOPClassUID Modality ConversionType PresentationIntentType SeriesNumber InstanceNumber
    BodyPartExamined ViewPosition PatientOrientation Laterality ImageLaterality PatientPosition PositionerType
    KVP Exposure ExposureTime XRayTubeCurrent DistanceSourceToDetector DistanceSourceToPatient
    EstimatedRadiographicMagnificationFactor FieldOfViewHorizontalFlip FieldOfViewRotation ImagerPixelSpacing PixelSpacing
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelAspectRatio
    BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue
    PixelPaddingValue PixelPaddingRangeLimit PixelIntensityRelationship PixelIntensityRelationshipSign
    WindowCenter WindowWidth VOILUTFunction RescaleIntercept RescaleSlope RescaleType PresentationLUTShape
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    LUTDescriptor LUTData ModalityLUTType LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod
    BurnedInAnnotation PixelData
    """.split()
)
_TABLES = frozenset(tag_for_keyword(name) for name in ("ModalityLUTSequence", "VOILUTSequence"))
_CODES = frozenset(
    tag_for_keyword(name)
    for name in ("ViewCodeSequence", "ViewModifierCodeSequence", "AnatomicRegionSequence", "PatientOrientationCodeSequence")
)
_CODING_SCHEMES = {"SCT", "SRT", "SNM3", "DCM"}  # a code of anyone's own may say anything
UIDS = tuple("SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID".split())
DATES = tuple("StudyDate SeriesDate AcquisitionDate ContentDate".split())
TIMES = tuple("StudyTime SeriesTime AcquisitionTime ContentTime".split())  # whole days are shifted, so these stay true
EMPTY = tuple("PatientBirthDate PatientSex ReferringPhysicianName StudyID Manufacturer".split())  # type 2: present, empty
_DESCRIPTORS = tuple("StudyDescription SeriesDescription".split())
_DESCRIBING = frozenset("xr cr dx chest thorax cxr pa ap lat lateral portable port single two view views frontal and upright supine".split())
_NAMES = "PatientName OtherPatientNames ReferringPhysicianName PerformingPhysicianName OperatorsName RequestingPhysician".split()
_IDS = "PatientID AccessionNumber StudyID OtherPatientIDs".split()
_CODE = re.compile(r"[A-Z]{0,2}-?[0-9A-F]{4,15}")
_MEANING = frozenset(
    "antero posterior postero anterior lateral left right frontal oblique chest thorax thoracic lung recumbent erect "
    "supine upright semi decubitus medio".split()
)
METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}




def kept_attributes(dataset: Dataset) -> Dataset:
    """A new dataset with the attributes that may stay as they are, and cleaned tables and codes.

    Args:
        dataset: the original; it stays as it is.
    """
    clean = Dataset()
    for element in dataset:
        if element.tag in _KEEP:
            clean.add(deepcopy(element))
        elif element.tag in _TABLES:
            clean.add(_cleaned_items(element))
        elif element.tag in _CODES:
            clean.add(_standard_codes(element))
    return clean


def clean_descriptors(clean: Dataset, original: Dataset) -> None:
    """Keep of study and series description the words that say what was taken, and no others."""
    for keyword in _DESCRIPTORS:
        words = [word for word in str(original.get(keyword) or "").split() if word.strip("(),").lower() in _DESCRIBING]
        if words:
            setattr(clean, keyword, " ".join(words))


def declare(clean: Dataset, codes: Iterable[str], method: str) -> None:
    """Say in the object what was done to it (PS3.15 E.1.1).

    Args:
        clean: the de-identified dataset.
        codes: DICOM codes of the profile and its options.
        method: who did it, in words.
    """
    items = []
    for code in sorted(codes):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", METHODS[code]
        items.append(item)
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = method
    clean.DeidentificationMethodCodeSequence = Items(items)
    clean.LongitudinalTemporalInformationModified = "MODIFIED"


def identifiers(dataset: Dataset) -> list[str]:
    """Names and identifiers in a DICOM header, to be looked for in the report; never to be stored or logged."""
    found: list[str] = []
    for keyword in _NAMES:
        for name in _values(dataset.get(keyword)):
            found += [part for part in name.replace("^", " ").replace(",", " ").split() if len(part) > 1]
    for keyword in _IDS:
        found += _values(dataset.get(keyword))
    return found


def _values(value: object) -> list[str]:
    many = value if isinstance(value, (list, MultiValue)) else [value]
    return [str(one) for one in many if one]


def _cleaned_items(element: DataElement) -> DataElement:
    """A sequence of look-up tables with nothing but numbers."""
    items = []
    for item in element.value or []:
        kept = Dataset()
        for inner in item:
            if inner.tag in _KEEP and inner.VR != "SQ":
                kept.add(deepcopy(inner))
        items.append(kept)
    return DataElement(element.tag, "SQ", Items(items))


def _standard_codes(element: DataElement) -> DataElement:
    """Codes of public schemes; a meaning in other words than those of views gives way to its code."""
    items = []
    for item in element.value or []:
        if str(item.get("CodingSchemeDesignator") or "") in _CODING_SCHEMES:
            kept = Dataset()
            code, meaning = str(item.get("CodeValue") or ""), str(item.get("CodeMeaning") or "")
            if not _CODE.fullmatch(code):
                continue
            plain = all(word in _MEANING for word in re.split(r"[ -]+", meaning.lower()))
            kept.CodeValue, kept.CodingSchemeDesignator = code, str(item.CodingSchemeDesignator)
            kept.CodeMeaning = meaning if plain and meaning else code
            items.append(kept)
    return DataElement(element.tag, "SQ", Items(items))


def time_of_day(value: object) -> str:
    text = str(value or "").partition(".")[0]
    return text if text.isdecimal() and len(text) == 6 else ""


def joined_age(text: str) -> str:
    if text[:3].isdecimal() and text[3:] == "Y":
        return f"{min(int(text[:3]), OLDEST + 1):03d}Y"
    return text if text[:3].isdecimal() and text[3:] in ("M", "W", "D") else ""


def blank(dataset: Dataset, regions: Iterable[tuple[float, float, float, float]], file: str) -> None:
    """Make regions of a grey picture black; it is stored uncompressed then."""
    try:
        pixels = dataset.pixel_array.copy()
    except Exception as error:  # decoders raise whatever they like
        raise StudyError(file, "record", f"the pixels cannot be decoded ({type(error).__name__})", "Leave it out.") from error
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise StudyError(file, "record", "regions are blanked in grey pictures only", "Leave it out.")
    rows, columns = pixels.shape[-2:]
    black = pixels.max() if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else pixels.min()
    for top, bottom, left, right in regions:
        pixels[..., int(top * rows) : round(bottom * rows), int(left * columns) : round(right * columns)] = black
    raw = pixels.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.BurnedInAnnotation = "NO"
