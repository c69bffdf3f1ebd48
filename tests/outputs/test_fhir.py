# SPDX-License-Identifier: Apache-2.0
"""The Bundle is R4B, preliminary, labelled as asserted by AI, and can be sent twice."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest
from pydicom import dcmread

from libra_monai.outputs import write_draft
from libra_monai.types import DocumentReference


def _bundle(draft, folder):
    return json.loads(write_draft(draft, folder, ["fhir"])[0].read_text())


def _kinds(bundle):
    return [entry["resource"]["resourceType"] for entry in bundle["entry"]]


def test_a_pair_becomes_report_two_studies_device_and_provenance(pair, alone, tmp_path):
    assert _kinds(_bundle(pair, tmp_path)) == ["DiagnosticReport", "ImagingStudy", "ImagingStudy", "Device", "Provenance"]
    assert _kinds(_bundle(alone, tmp_path)) == ["DiagnosticReport", "ImagingStudy", "Device", "Provenance"]


@pytest.mark.parametrize("fixture", ["pair", "alone", "from_png"])
def test_the_models_of_r4b_accept_what_was_written(fixture, request, tmp_path):
    from fhir.resources.R4B.bundle import Bundle

    written = _bundle(request.getfixturevalue(fixture), tmp_path)
    report = Bundle.model_validate(written).entry[0].resource
    assert report.status == "preliminary" and report.meta.security[0].code == "AIAST"
    del written["entry"][0]["resource"]["status"]
    with pytest.raises(ValueError, match="status"):  # the check can fail
        Bundle.model_validate(written)


def test_every_reference_points_into_the_bundle(pair, tmp_path):
    bundle = _bundle(pair, tmp_path)
    urls = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    report, current, prior, _, provenance = (entry["resource"] for entry in bundle["entry"])
    assert [urls[one["reference"]] for one in report["imagingStudy"]] == ["ImagingStudy"]
    assert urls[provenance["agent"][0]["who"]["reference"]] == "Device"
    assert urls[provenance["target"][0]["reference"]] == "DiagnosticReport"
    assert len({one["what"]["reference"] for one in provenance["entity"]} & set(urls)) == 2
    uids = [dcmread(pair.sources.files[view]).StudyInstanceUID for view in ("current", "prior")]
    assert [study["identifier"][0]["value"] for study in (current, prior)] == [f"urn:oid:{uid}" for uid in uids]
    assert report["extension"][0]["valueReference"]["reference"] == bundle["entry"][2]["fullUrl"]


def test_sending_it_twice_doubles_nothing_and_overwrites_no_report(pair, tmp_path):
    once, again = _bundle(pair, tmp_path), _bundle(replace(pair, warnings=["second time"]), tmp_path / "again")
    assert [entry["request"] for entry in once["entry"]] == [entry["request"] for entry in again["entry"]]
    for entry in once["entry"][:-1]:
        system, value = entry["request"]["ifNoneExist"].removeprefix("identifier=").split("|")
        first = entry["resource"]["identifier"][0]
        assert entry["request"]["method"] == "POST" and (first["system"], first["value"]) == (system, value)
    assert once["entry"][-1]["request"]["method"] == "PUT"
    other = _bundle(replace(pair, model="other 1"), tmp_path / "other")
    assert [a["request"] == b["request"] for a, b in zip(once["entry"], other["entry"])] == [False, True, True, False, False]


def test_a_draft_names_those_whose_place_it_takes_by_an_identifier_they_bear(pair, tmp_path):
    from fhir.resources.R4B.bundle import Bundle

    document = dcmread(write_draft(replace(pair, supersedes=()), tmp_path, ["sr"])[0])
    first = _bundle(replace(pair, supersedes=()), tmp_path / "first")
    uids = [getattr(document, f"{name}UID") for name in ("SOPClass", "SOPInstance", "SeriesInstance", "StudyInstance")]
    named = DocumentReference(*map(str, uids))
    second = _bundle(replace(pair, supersedes=(named,)), tmp_path / "second")
    Bundle.model_validate(second)
    replaced = [one for one in second["entry"][0]["resource"]["extension"] if one["url"].endswith("diagnosticReport-replaces")]
    reference = replaced[0]["valueReference"]
    assert len(replaced) == 1 and reference["type"] == "DiagnosticReport"
    assert reference["identifier"] in first["entry"][0]["resource"]["identifier"][1:]  # not what it is created by
    assert reference["identifier"] not in second["entry"][0]["resource"]["identifier"]
    revised = lambda bundle: [one["what"] for one in bundle["entry"][-1]["resource"]["entity"] if one["role"] == "revision"]  # noqa: E731
    assert revised(second) == [reference] and revised(first) == []
    assert "replaces" not in json.dumps(first) and second["entry"][0]["request"] != first["entry"][0]["request"]
    two = _bundle(replace(pair, supersedes=(named, replace(named, sop_uid="2.25.7"))), tmp_path / "two")
    Bundle.model_validate(two)
    assert "replaces" not in json.dumps(two["entry"][0]) and len(revised(two)) == 2  # the extension may stand once


@pytest.mark.parametrize("kind", ["sr", "basic_sr"])
def test_the_report_bears_the_uid_of_the_same_draft_as_sr(pair, from_png, tmp_path, kind):
    document = dcmread(write_draft(pair, tmp_path, [kind])[0])
    told = {"system": "urn:dicom:uid", "value": f"urn:oid:{document.SOPInstanceUID}"}
    assert told in _bundle(pair, tmp_path)["entry"][0]["resource"]["identifier"]
    assert len(_bundle(from_png, tmp_path / "png")["entry"][0]["resource"]["identifier"]) == 1


def test_size_and_hash_of_the_presented_forms_are_right(pair, tmp_path):
    forms = _bundle(pair, tmp_path)["entry"][0]["resource"]["presentedForm"]
    assert [form["contentType"] for form in forms] == ["text/plain; charset=utf-8", "text/html"]
    for form in forms:
        content = base64.b64decode(form["data"])
        assert form["size"] == len(content) and base64.b64decode(form["hash"]) == hashlib.sha1(content).digest()


def test_the_patient_is_named_by_identifier_and_never_created(pair, from_png, tmp_path):
    bundle = _bundle(pair, tmp_path)
    patient = dcmread(pair.sources.files["current"]).PatientID
    subjects = [entry["resource"]["subject"] for entry in bundle["entry"] if "subject" in entry["resource"]]
    assert [one["identifier"]["value"] for one in subjects] == [patient] * 3
    unknown = _bundle(replace(from_png, patient_id=None), tmp_path)
    assert "identifier" not in unknown["entry"][0]["resource"]["subject"]


def test_the_accession_number_is_a_request_by_identifier_or_absent(pair, changed, tmp_path):
    report = _bundle(pair, tmp_path)["entry"][0]["resource"]
    assert report["basedOn"][0]["identifier"]["value"] == dcmread(pair.sources.files["current"]).AccessionNumber
    assert "basedOn" not in _bundle(changed(AccessionNumber=""), tmp_path)["entry"][0]["resource"]


def test_a_time_of_day_needs_a_time_zone(pair, changed, tmp_path):
    assert len(_bundle(pair, tmp_path)["entry"][0]["resource"]["effectiveDateTime"]) == 10
    zoned = _bundle(changed(TimezoneOffsetFromUTC="-0530"), tmp_path)
    assert zoned["entry"][0]["resource"]["effectiveDateTime"].endswith("-05:30")


def test_a_header_without_series_and_two_pictures_of_one_study_stay_valid(changed, pair, tmp_path):
    study = _bundle(changed(SeriesInstanceUID=None), tmp_path)["entry"][1]["resource"]
    assert "series" not in study
    same = _bundle(changed("prior", StudyInstanceUID=dcmread(pair.sources.files["current"]).StudyInstanceUID), tmp_path)
    assert _kinds(same).count("ImagingStudy") == 1 and len(same["entry"][1]["resource"]["series"]) == 2
