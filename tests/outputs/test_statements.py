# SPDX-License-Identifier: Apache-2.0
"""TECHNIQUE and COMPARISON come from headers and record, and the mark heads every payload."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest
from pydicom import dcmread

from libra_monai import paths, registry
from libra_monai.data import StudyProcessor
from libra_monai.outputs import write_draft
from libra_monai.outputs.draft import UNREVIEWED
from libra_monai.outputs.headers import headers_of
from libra_monai.outputs.statements import sections_of
from libra_monai.types import DraftSources, ReportDraft

FORMATS = ("text", "json", "html", "pdf", "sr", "basic_sr", "fhir")


def test_the_comparison_names_date_time_and_view_of_the_prior_used(pair):
    prior, current = (dcmread(pair.sources.files[view]) for view in ("prior", "current"))
    for name, dataset in (("comparison", prior), ("technique", current)):
        day, time = dataset.AcquisitionDate, dataset.AcquisitionTime
        said = sections_of(pair)[name]
        assert f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:6]}" in said
        assert f"{dataset.ViewPosition} view" in said


def test_without_a_prior_the_sentence_is_exact(alone):
    assert sections_of(alone)["comparison"] == "No prior available to this software"


def test_a_prior_that_was_not_used_is_not_compared_with(pair):
    assert sections_of(replace(pair, prior_used=False))["comparison"] == "No prior available to this software"
    assert set(headers_of(replace(pair, prior_used=False))) == {"current"}


def test_views_that_no_model_looked_at_are_named(pair):
    unread = replace(pair, sources=replace(pair.sources, unread=("lateral", "AP", "unknown")))
    assert sections_of(unread)["technique"].endswith("Not read by this software: lateral view, AP view, view not known.")
    assert "Not read" not in sections_of(pair)["technique"]


def test_a_prompt_without_pictures_says_that_none_was_read(tiny, pair, records, phantom):
    blind = replace(tiny, processor=StudyProcessor.load(paths.tiny_model(), prompt="findings_from_facts"))
    assert not blind.processor.prompt.pictures
    draft = blind.report_record(next(r for r in records if r["prior"]), phantom)
    assert sections_of(draft)["technique"].startswith("No picture read by this software. Chest radiograph, 20")
    assert sections_of(draft)["comparison"] == "No prior available to this software"


def test_a_lateral_and_further_pictures_of_the_record_count_as_unread(tiny, alone, records, tmp_path):
    dataset = dcmread(alone.sources.files["current"])
    dataset.save_as(tmp_path / "c.dcm")
    dataset.ViewPosition, dataset.PatientOrientation, dataset.SeriesDescription = "LL", ["A", "F"], "LATERAL"
    dataset.save_as(tmp_path / "l.dcm")
    record = dict(records[0]) | {"current": "c.dcm", "prior": None, "lateral": "l.dcm", "unread_views": ["AP"]}
    draft = tiny.report_record(record, tmp_path)
    assert draft.sources.unread == ("lateral", "AP")
    assert draft.sources.files == {"current": str(tmp_path / "c.dcm"), "lateral": str(tmp_path / "l.dcm")}


def test_what_no_header_tells_is_said_to_be_unknown(from_png, changed):
    said = sections_of(replace(from_png, sources=replace(from_png.sources, gap_hours=30.0)))
    assert said["comparison"] == "Prior chest radiograph, date and time not known, view not known, 30 hours before."
    timeless = changed(**dict.fromkeys(f"{what}Time" for what in ("Acquisition", "Content", "Series", "Study")))
    assert re.search(r"\d{4}-\d\d-\d\d, time not known, ", sections_of(timeless)["technique"])


def test_what_the_model_wrote_stands_behind_what_code_wrote(pair, alone):
    assert list(sections_of(pair)) == ["technique", "comparison", "findings"]
    assert list(sections_of(replace(alone, impression="No change."))) == ["technique", "comparison", "findings", "impression"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("fixture", ["pair", "alone"])
def test_every_payload_begins_with_the_mark_and_holds_all_sections(name, fixture, request, tmp_path):
    draft = request.getfixturevalue(fixture)
    path = write_draft(draft, tmp_path, [name])[0]
    texts = _texts(path)
    for text in texts:
        assert text.lstrip().startswith(UNREVIEWED), text[:200]
        assert "synthetic, not for clinical use" in " ".join(text.split())
    said = " ".join(" ".join(texts).split())
    for section in sections_of(draft).values():
        assert " ".join(section.split()) in said


def test_every_registered_writer_is_tried_here():
    ours = {name for name in registry.names("writer") if registry.find("writer", name).__module__.startswith("libra_monai.")}
    assert ours == set(FORMATS)


def test_a_draft_that_knows_nothing_of_its_pictures_says_so():
    draft = ReportDraft("s", "Clear.", None, False, "toy 1", [f"{UNREVIEWED}."], sources=DraftSources())
    assert sections_of(draft)["technique"] == "Chest radiograph, date and time not known, view not known."


def _texts(path):
    """What a reader of a file sees first to last; one text for each place a receiver may show alone."""
    if path.name.endswith(".pdf.dcm"):
        return [*_pages(dcmread(path).EncapsulatedDocument), *_pages(path.with_suffix("").read_bytes())]
    if path.suffix == ".dcm":
        return ["\n".join(_values(dcmread(path)))]
    if path.suffix == ".html":
        page = re.sub(r"(?s)<head>.*</head>|<!--.*?-->", "", path.read_text())
        return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))]
    if path.name.endswith(".fhir.json"):
        bundle = json.loads(path.read_text())
        report = bundle["entry"][0]["resource"]
        forms = [base64.b64decode(form["data"]).decode() for form in report["presentedForm"]]
        plain = [re.sub(r"<[^>]+>", " ", text).replace("&amp;", "&") for text in [report["text"]["div"], *forms]]
        return [bundle["meta"]["tag"][0]["display"], report["conclusion"], *plain]
    text = path.read_text()
    return [text if path.suffix == ".txt" else "\n".join(_strings(json.loads(text)))]


def _pages(content):
    import io

    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(io.BytesIO(bytes(content))).pages]


def _values(item):
    if "TextValue" in item and item.RelationshipType == "CONTAINS":
        yield item.TextValue
    for child in item.get("ContentSequence", ()):
        yield from _values(child)


def _strings(value):
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)
    elif isinstance(value, str):
        yield value
