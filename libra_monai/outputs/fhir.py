# SPDX-License-Identifier: Apache-2.0
"""Drafts as FHIR R4B: a transaction Bundle of a preliminary DiagnosticReport with its studies, device and provenance.

Conditional creates keep a retry from doubling anything, and from overwriting a report that someone has worked on since.
No Patient is created: the subject is a reference by identifier. The report also bears the UIDs it has as DICOM SR, by which a later
one names it as superseded. docs/outputs.md lists where this departs from profiles.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from libra_monai.files import write_json
from libra_monai.outputs.headers import headers_of
from libra_monai.outputs.identity import LANGUAGE, MANUFACTURER, PRODUCT, device_uid, draft_key, model_of, uuid_of
from libra_monai.outputs.names import file_name
from libra_monai.outputs.needs import needs
from libra_monai.outputs.sr import basic_sr_uid, enhanced_sr_uid
from libra_monai.outputs.statements import sections_of
from libra_monai.outputs.writers import plain_text
from libra_monai.registry import register
from libra_monai.types import PictureHeader, ReportDraft

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_V2, _V3 = "http://terminology.hl7.org/CodeSystem/v2-", "http://terminology.hl7.org/CodeSystem/v3-"
_URI, _DICOM = "urn:ietf:rfc:3986", "urn:dicom:uid"
# the extension by which IHE IMR names studies a report compares with
_ASSOCIATED = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/associatedStudy"
# the extension of R4 by which a report names the one whose place it takes; it may stand once
_REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
AI_ASSERTED = {"system": f"{_V3}ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}

_HEAD = f'<!doctype html><html lang="{LANGUAGE[0]}"><meta charset="utf-8">'

Resource = dict[str, Any]


@register("writer", "fhir")
@needs("fhir.resources", "fhir")
def write_fhir(draft: ReportDraft, folder: Path) -> Path:
    """FHIR R4B Bundle, `<study_id>.fhir.json`, checked with the models of fhir.resources."""
    path = Path(folder) / f"{file_name(draft.study_id)}.fhir.json"
    write_json(path, fhir_bundle(draft))
    return path


def fhir_bundle(draft: ReportDraft) -> Resource:
    """The draft as a transaction Bundle, as JSON.

    Args:
        draft: the draft; of pictures that are no DICOM files, the studies are named by the draft's identifiers only.

    Raises:
        pydantic.ValidationError: the content breaks a rule of R4B (a mistake of this program).
    """
    from fhir.resources.R4B.bundle import Bundle

    headers, now = headers_of(draft), datetime.now(UTC).isoformat(timespec="seconds")
    key = ("fhir", *draft_key(draft, headers))
    subject, studies, device = _subject(draft, headers), _studies(draft, headers), _device(draft)
    report = _report(draft, headers, key, subject, list(studies), now)
    names = {"report": f"urn:uuid:{uuid_of(*key)}", "device": f"urn:uuid:{uuid_of('fhir', device_uid(draft))}"}
    provenance = _provenance(draft, names, list(studies), now, str(uuid_of("provenance", *key)))
    entries = [_entry(names["report"], report)]
    entries += [_entry(url, study | {"subject": subject}) for url, study in studies.items()]
    entries += [_entry(names["device"], device), _put(provenance)]
    bundle = {"resourceType": "Bundle", "meta": {"tag": [_mark(draft)]}, "type": "transaction", "timestamp": now}
    bundle["entry"] = entries
    Bundle.model_validate(bundle)
    return bundle


def _report(
    draft: ReportDraft,
    headers: Mapping[str, PictureHeader],
    key: tuple[str, ...],
    subject: Resource,
    studies: list[str],
    now: str,
) -> Resource:
    sections = sections_of(draft, headers)
    current, page = headers.get("current"), _xhtml(draft, sections)
    concluded = draft.impression or draft.findings or "(nothing written)"
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [AI_ASSERTED], "tag": [_mark(draft)]},
        "language": LANGUAGE[0],
        "text": {"status": "generated", "div": page},
        "identifier": [{"system": _URI, "value": f"urn:uuid:{uuid_of(*key)}"}, *_as_objects(draft, headers)],
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{_V2}0074", "code": "RAD", "display": "Radiology"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}]},
        "subject": subject,
        "issued": now,
        "imagingStudy": [{"reference": studies[0]}],
        "conclusion": "\n".join([*draft.marks, concluded]),
        "presentedForm": [
            _attachment("text/plain; charset=utf-8", "\n".join(plain_text(draft)) + "\n"),
            _attachment("text/html", f"{_HEAD}<body>{page}</body></html>\n"),
        ],
    }
    if extensions := _extensions(draft, studies):
        report["extension"] = extensions
    if current is not None and current.time is not None:
        report["effectiveDateTime"] = _moment(current)
    if current is not None and current.accession:
        report["basedOn"] = [{"type": "ServiceRequest", "identifier": _accession(current)}]
    return report


def _extensions(draft: ReportDraft, studies: list[str]) -> list[Resource]:
    """The studies it compares with, and the report whose place it takes if there is one; of several, Provenance tells."""
    found: list[Resource] = [{"url": _ASSOCIATED, "valueReference": {"reference": url}} for url in studies[1:]]
    superseded = _superseded(draft)
    return found + [{"url": _REPLACES, "valueReference": superseded[0]}] if len(superseded) == 1 else found


def _as_objects(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> list[Resource]:
    """What the same draft is called as DICOM SR; of pictures without a DICOM header there is none."""
    if "current" not in headers:
        return []
    return [_object(name(draft, headers)) for name in (enhanced_sr_uid, basic_sr_uid)]


def _object(sop_uid: str) -> Resource:
    return {"system": _DICOM, "value": f"urn:oid:{sop_uid}"}


def _superseded(draft: ReportDraft) -> list[Resource]:
    """References to the drafts whose place this one takes, by the UID of their DICOM objects, which their reports bear too."""
    display = "Earlier automatic draft, not reviewed"
    return [{"type": "DiagnosticReport", "identifier": _object(one.sop_uid), "display": display} for one in draft.supersedes or ()]


def _studies(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> dict[str, Resource]:
    """Address in the bundle -> ImagingStudy, the current one first; two pictures of one study are in one."""
    found: dict[str, Resource] = {}
    for view in ("current", "prior") if draft.prior_used else ("current",):
        header = headers.get(view)
        if header is None or not header.study_uid:
            name = draft.study_id if view == "current" else draft.prior_study_id or f"prior of {draft.study_id}"
            url = f"urn:uuid:{uuid_of('study', draft.patient_id or '', name)}"
            found[url] = {
                "resourceType": "ImagingStudy",
                "identifier": [{"system": _URI, "value": url}],
                "status": "unknown",
                "description": f"Chest radiograph '{name}', a picture without DICOM header",
            }
            continue
        url = f"urn:uuid:{uuid_of('study', header.study_uid)}"
        study = found.setdefault(url, _imaging_study(header))
        if header.series_uid and header.sop_uid and header.sop_class_uid:
            study.setdefault("series", []).append(_series(header))
    return found


def _imaging_study(header: PictureHeader) -> Resource:
    kind = {"coding": [{"system": _DCM, "code": "110180", "display": "Study Instance UID"}]}
    study: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [{"type": kind, "system": _DICOM, "value": f"urn:oid:{header.study_uid}"}],
        "status": "available",
        "modality": [_modality(header)],
    }
    if header.accession:
        study["identifier"].append(_accession(header))
    if header.time is not None:
        study["started"] = _moment(header)
    return study


def _series(header: PictureHeader) -> Resource:
    """The series of a picture, with the picture that was read and no other."""
    sop_class = {"system": _URI, "code": f"urn:oid:{header.sop_class_uid}"}
    return {"uid": header.series_uid, "modality": _modality(header), "instance": [{"uid": header.sop_uid, "sopClass": sop_class}]}


def _device(draft: ReportDraft) -> Resource:
    name, version = model_of(draft)
    return {
        "resourceType": "Device",
        "identifier": [{"system": _URI, "value": f"urn:oid:{device_uid(draft)}"}],
        "status": "active",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": PRODUCT, "type": "manufacturer-name"}, {"name": name, "type": "model-name"}],
        "type": {"text": "Artificial intelligence that drafts radiology reports"},
        "version": [{"value": version}],
    }


def _provenance(draft: ReportDraft, names: Mapping[str, str], studies: list[str], now: str, identifier: str) -> Resource:
    system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
    author = {"system": system, "code": "author", "display": "Author"}
    return {
        "resourceType": "Provenance",
        "id": identifier,
        "meta": {"security": [AI_ASSERTED]},
        "target": [{"reference": names["report"]}],
        "recorded": now,
        "activity": {"coding": [{"system": f"{_V3}DataOperation", "code": "CREATE", "display": "create"}]},
        "agent": [{"type": {"coding": [author]}, "who": {"reference": names["device"]}}],
        "entity": [
            *({"role": "source", "what": {"reference": url}} for url in studies),
            *({"role": "revision", "what": earlier} for earlier in _superseded(draft)),
        ],
    }


def _subject(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> Resource:
    current = headers.get("current")
    patient = current.patient_id if current is not None else draft.patient_id
    if not patient:
        return {"type": "Patient", "display": "Patient not known to this software"}
    kind = {"coding": [{"system": f"{_V2}0203", "code": "MR", "display": "Medical record number"}]}
    identifier: Resource = {"type": kind, "value": patient}
    if current is not None and current.issuer:
        identifier["assigner"] = {"display": current.issuer}
    return {"type": "Patient", "identifier": identifier}


def _entry(url: str, resource: Resource) -> Resource:
    """A conditional create: what the server has under the identifier stays as it is."""
    first, kind = resource["identifier"][0], resource["resourceType"]
    request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={first['system']}|{first['value']}"}
    return {"fullUrl": url, "resource": resource, "request": request}


def _put(resource: Resource) -> Resource:
    """Provenance has no identifier to ask for, so it is written under an id that the inputs fix."""
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource, "request": {"method": "PUT", "url": url}}


def _mark(draft: ReportDraft) -> Resource:
    return {"code": "automatic-draft", "display": " ".join(draft.marks)}


def _accession(header: PictureHeader) -> Resource:
    return {"type": {"coding": [{"system": f"{_V2}0203", "code": "ACSN", "display": "Accession ID"}]}, "value": header.accession}


def _modality(header: PictureHeader) -> Resource:
    return {"system": _DCM, "code": header.modality or "OT"}


def _moment(header: PictureHeader) -> str:
    """A FHIR dateTime; a time of day is told only where the header gives its zone, as FHIR demands."""
    if not (header.timed and header.timezone):
        return f"{header.time:%Y-%m-%d}"
    return f"{header.time:%Y-%m-%dT%H:%M:%S}{header.timezone[:3]}:{header.timezone[3:]}"


def _attachment(kind: str, text: str) -> Resource:
    content = text.encode("utf-8")
    digest = hashlib.sha1(content, usedforsecurity=False).digest()  # what FHIR asks for
    return {
        "contentType": kind,
        "language": LANGUAGE[0],
        "data": base64.b64encode(content).decode("ascii"),
        "size": len(content),
        "hash": base64.b64encode(digest).decode("ascii"),
    }


def _xhtml(draft: ReportDraft, sections: Mapping[str, str]) -> str:
    lines = [f"<p><b>{_escaped(' '.join(draft.marks))}</b></p>"]
    lines += [f"<p><b>{name.capitalize()}</b><br/>{_escaped(text)}</p>" for name, text in sections.items()]
    lines += [f"<p>Note: {_escaped(note)}</p>" for note in draft.warnings]
    lines.append(f"<p>Model: {_escaped(draft.model)}</p>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(lines)}</div>'


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br/>")
