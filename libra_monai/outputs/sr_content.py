# SPDX-License-Identifier: Apache-2.0
"""The content tree of a DICOM structured report after template 2000, Basic Diagnostic Imaging Report (PS3.16).

Only what Basic Text SR allows is used, so that one tree serves both objects. Headings and elements are those of context
groups 7001 and 7002; algorithm name and version are elements more, which the baseline groups permit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence

from libra_monai.outputs.identity import LANGUAGE, MANUFACTURER, PRODUCT, device_uid, model_of
from libra_monai.outputs.statements import sections_of
from libra_monai.types import DocumentReference, PictureHeader, ReportDraft

Code = tuple[str, str, str]  # value, scheme, meaning

TITLE: Code = ("18748-4", "LN", "Diagnostic Imaging Report")
SUMMARY: Code = ("55112-7", "LN", "Summary")
PROCEDURE: Code = ("121065", "DCM", "Procedure Description")
# section -> heading (CID 7001) and element (CID 7002)
_SECTIONS: dict[str, tuple[Code, Code]] = {
    "technique": (("55111-9", "LN", "Current Procedure Descriptions"), PROCEDURE),
    "comparison": (("55114-3", "LN", "Prior Procedure Descriptions"), PROCEDURE),
    "findings": (("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding")),
    "impression": (("19005-8", "LN", "Impressions"), ("121073", "DCM", "Impression")),
}
_DEVICES: dict[str, Code] = {  # CID 29
    "CR": ("CR", "DCM", "Computed Radiography"),
    "DX": ("DX", "DCM", "Digital Radiography"),
}
_PURPOSE: dict[str, Code] = {  # of a reference from a finding
    "current": ("121322", "DCM", "Source image for image processing operation"),
    "prior": ("121079", "DCM", "Baseline"),  # CID 7003
}


def content_tree(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> Dataset:
    """The root container.

    Args:
        draft: the draft; its marks become the first text.
        headers: view -> header of the pictures it was written from.
    """
    root = _item("CONTAINER", TITLE, ContinuityOfContent="SEPARATE")
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2000"
    root.ContentTemplateSequence = Sequence([template])
    texts = sections_of(draft, headers)
    first = [_text(SUMMARY, " ".join(draft.marks)), *(_text(SUMMARY, f"Note: {note}") for note in draft.warnings)]
    sections = [_section(SUMMARY, first)]
    for name, text in texts.items():
        heading, element = _SECTIONS[name]
        rows = [_text(element, text or "(nothing written)", _evidence(name, headers))]
        sections.append(_section(heading, rows + (_algorithm(draft) if name == "technique" else [])))
    root.ContentSequence = Sequence([*_modifiers(headers["current"]), *_observer(draft), *sections])
    return root


def _modifiers(current: PictureHeader) -> list[Dataset]:
    device = _DEVICES.get(current.modality)
    named = [] if device is None else [(("122142", "DCM", "Acquisition Device Type"), device)]
    named.append((("123014", "DCM", "Target Region"), ("51185008", "SCT", "Chest")))
    language: Code = (LANGUAGE[0], "RFC5646", LANGUAGE[1])
    named.append((("121049", "DCM", "Language of Content Item and Descendants"), language))
    return [_code(name, value, "HAS CONCEPT MOD") for name, value in named]


def _observer(draft: ReportDraft) -> list[Dataset]:
    """Templates 1002 and 1004: the observer is a device."""
    kind = _code(("121005", "DCM", "Observer Type"), ("121007", "DCM", "Device"), "HAS OBS CONTEXT")
    uid = _item("UIDREF", ("121012", "DCM", "Device Observer UID"), "HAS OBS CONTEXT", UID=device_uid(draft))
    texts = {
        ("121013", "DCM", "Device Observer Name"): PRODUCT,
        ("121014", "DCM", "Device Observer Manufacturer"): MANUFACTURER,
        ("121015", "DCM", "Device Observer Model Name"): draft.model,
    }
    return [kind, uid, *(_item("TEXT", name, "HAS OBS CONTEXT", TextValue=text) for name, text in texts.items())]


def _algorithm(draft: ReportDraft) -> list[Dataset]:
    name, version = model_of(draft)
    return [_text(("111001", "DCM", "Algorithm Name"), name), _text(("111003", "DCM", "Algorithm Version"), version)]


def _evidence(section: str, headers: Mapping[str, PictureHeader]) -> list[Dataset]:
    """The pictures that a section rests on: a comparison on the prior, the technique on the current one, the rest on both."""
    views = {"technique": ("current",), "comparison": ("prior",)}.get(section, ("current", "prior"))
    found = [(view, headers[view]) for view in views if view in headers]
    return [_image(_PURPOSE[view], header) for view, header in found]


def _section(heading: Code, items: Iterable[Dataset]) -> Dataset:
    return _item("CONTAINER", heading, "CONTAINS", ContinuityOfContent="SEPARATE", ContentSequence=Sequence(items))


def _text(name: Code, text: str, evidence: Iterable[Dataset] = ()) -> Dataset:
    item = _item("TEXT", name, "CONTAINS", TextValue=text)
    evidence = list(evidence)
    if evidence:
        item.ContentSequence = Sequence(evidence)
    return item


def _code(name: Code, value: Code, relation: str) -> Dataset:
    return _item("CODE", name, relation, ConceptCodeSequence=Sequence([coded(value)]))


def _image(purpose: Code, header: PictureHeader) -> Dataset:
    return _item("IMAGE", purpose, "INFERRED FROM", ReferencedSOPSequence=Sequence([reference(header)]))


def reference(one: PictureHeader | DocumentReference) -> Dataset:
    """A reference to an object by class and instance.

    Args:
        one: header of a picture, or a report.
    """
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_uid
    return item


def _item(kind: str, name: Code, relation: str | None = None, **values: Any) -> Dataset:
    item = Dataset()
    if relation is not None:
        item.RelationshipType = relation
    item.ValueType = kind
    item.ConceptNameCodeSequence = Sequence([coded(name)])
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def coded(code: Code) -> Dataset:
    """A code as the item of a sequence.

    Args:
        code: value, scheme, meaning.
    """
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item
