# SPDX-License-Identifier: Apache-2.0
"""Every payload begins with the marks; change words are marked; markup in a report stays text."""

from __future__ import annotations

import json

import pytest
import torch
from monai.data import MetaTensor

from libra_monai import registry
from libra_monai.errors import ConfigError, StudyError
from libra_monai.outputs import write_draft, write_html_report
from libra_monai.outputs.change_words import change_spans, mark_changes
from libra_monai.outputs.draft import marks_for
from libra_monai.outputs.evaluation import add_controls
from libra_monai.outputs.writers import file_name
from libra_monai.types import ReportDraft, SentenceEvidence


def _draft(text="Unchanged small left effusion.", **options):
    marks = marks_for({"training_data": "synthetic"})
    return ReportDraft("s1", text, None, True, "toy 1", marks, prior_study_id="s0", **options)


@pytest.mark.parametrize("training_data", ["synthetic", "unknown", "de-identified", None])
def test_every_model_is_marked_as_automatic_and_unreviewed(training_data):
    line = marks_for({"training_data": training_data})[0]
    assert "AUTOMATICALLY GENERATED" in line and "NOT REVIEWED" in line
    assert ("synthetic, not for clinical use" in line) == (training_data == "synthetic")


@pytest.mark.parametrize("name", ["text", "json"])
def test_every_written_format_begins_with_the_marks(tmp_path, name):
    path = write_draft(_draft(), tmp_path, [name])[0]
    text = path.read_text()
    assert "NOT REVIEWED" in "\n".join(text.splitlines()[:3])
    assert "Unchanged small left effusion." in text


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'json'"):
        write_draft(_draft(), tmp_path, ["jsno"])
    assert set(registry.names("writer")) >= {"text", "json"}


@pytest.mark.parametrize(("study", "name"), [("a/../b", "a_.._b-"), ("../x", "_x-"), ("...", "study-"), ("PH1-S2", "PH1-S2")])
def test_a_study_id_cannot_leave_the_folder(study, name):
    assert file_name(study).startswith(name) and "/" not in file_name(study)


def test_two_studies_never_share_a_file():
    assert len({file_name(study) for study in ("a/b", "a_b", "a:b", "a b")}) == 4


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Unchanged small effusion.", ["Unchanged"]),
        ("The effusion has increased and is now large.", ["has increased"]),
        ("The tube is no longer seen.", ["no longer seen"]),
        ("New nodule since the prior study.", ["New", "since the prior study"]),
        ("Not significantly changed from the prior study.", ["Not significantly changed from the prior study"]),
        ("The heart is enlarged. Elevated left diaphragm.", []),
        ("No pleural effusion.", []),
    ],
)
def test_words_of_change_are_found_by_phrase(text, marked):
    assert [text[a:b] for a, b in change_spans(text)] == marked


def test_markup_in_a_report_is_escaped():
    assert mark_changes("<script>x</script> unchanged & new") == (
        "&lt;script&gt;x&lt;/script&gt; <mark>unchanged</mark> &amp; <mark>new</mark>"
    )


def test_the_page_is_self_contained_and_escapes_everything(tmp_path):
    draft = _draft("<img src=x onerror=alert(1)> new edema.", reference="<b>bold</b>", warnings=["<i>"])
    record = {"current": "a", "prior": "b", "view": "<u>", "gap_hours": 30.0}
    pixels = torch.arange(64 * 64).view(1, 64, 64).remainder(256).to(torch.uint8)
    scores = {"bleu": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 1, "signature": "<s>"}}
    path = write_html_report(tmp_path / "r.html", "<title>", [draft], [record], lambda _: pixels, scores, failed=2)
    page = path.read_text()
    for raw in ("<img src=x", "<b>bold", "<i>", "<u>", "<s>", "<title><title>"):
        assert raw not in page
    assert page.count("data:image/png;base64,") == 2 and "30 hours before" in page and "2 could not be read" in page
    assert "http" not in page.replace("http-equiv", "") and "<mark>new</mark>" in page


def test_the_control_table_is_put_into_a_page_of_drafts(tmp_path):
    pixels = torch.ones(1, 40, 40, dtype=torch.uint8)
    path = write_html_report(tmp_path / "r.html", "t", [_draft()], [{"current": "a", "prior": "b"}], lambda _: pixels)
    moved = {"against": 0.9, "value": 0.2, "difference": -0.7, "low": -0.8, "high": -0.6, "p": 0.001}
    claims = {"flipped": 0.75, "directed": 12, "stable": None, "after": 0, "drafts_with_claims": 0.5}
    row = {"title": "<swap>", "drafts": "should change", "n": 7, "drafts_changed": 1.0, "claims": claims,
           "metrics": {"finding_side_micro_f1": moved}}  # fmt: skip
    skipped = {"title": "blank", "drafts": "should change", "n": 0, "skipped": "no study"}
    answer = {"answer": "yes", "because": "claims turn"}
    table = {"answers": {"prior": answer}, "controls": {"swapped": row, "blank": skipped},
             "constant": {"finding_side_micro_f1": 0.25}, "drafts_distinct": 7, "studies": 7}  # fmt: skip
    add_controls(path, table)
    page = path.read_text()
    assert "At the prior?" in page and "75 %" in page and "0.900 → 0.200" in page and "not run: no study" in page
    assert "<swap>" not in page and page.index("At the prior?") < page.index("<h2>Studies") and "finding F1 0.250" in page
    add_controls(path, table)
    assert path.read_text() == page  # once is enough


def test_a_study_without_prior_shows_none(tmp_path):
    draft = ReportDraft("s", "Clear.", None, False, "toy 1", marks_for({}))
    page = write_html_report(tmp_path / "r.html", "t", [draft], [{"current": "a", "prior": "b"}],
                             lambda _: torch.ones(1, 40, 40, dtype=torch.uint8)).read_text()
    assert "no prior" in page and page.count("data:image/png") == 1


def test_predictions_have_the_promised_fields():
    fields = set(json.loads(json.dumps(_draft().as_json())))
    assert fields == {"study_id", "patient_id", "marks", "prediction", "findings", "impression", "reference",
                      "prior_study_id", "prior_used", "warnings", "model"}  # fmt: skip


def test_no_picture_leaves_where_the_draft_or_its_file_forbids_it(tmp_path):
    said = []

    def read(path, allowed=True):
        said.append(path)
        return MetaTensor(torch.ones(1, 40, 40, dtype=torch.uint8), meta={"export_allowed": allowed})

    record = {"current": "a", "prior": "b"}
    forbidden = write_html_report(tmp_path / "r.html", "t", [_draft(export_allowed=False)], [record], read).read_text()
    assert "data:image" not in forbidden and "writing is burned into the pixels" in forbidden and said == []
    by_file = write_html_report(tmp_path / "r.html", "t", [_draft()], [record], lambda path: read(path, path == "a")).read_text()
    assert "data:image" not in by_file and by_file.count("writing is burned into the pixels") == 2
    assert write_html_report(tmp_path / "r.html", "t", [_draft()], [record], read).read_text().count("data:image") == 2


def test_a_picture_that_cannot_be_read_for_the_page_costs_itself_only(tmp_path):
    def read(path):
        raise StudyError(path, "pixels", "the file is gone", "")

    page = write_html_report(tmp_path / "r.html", "t", [_draft()], [{"current": "a"}], read).read_text()
    assert "not shown: the file is gone" in page and "Unchanged" in page


def _evidence(text="Unchanged small left effusion.", score=0.42, start=0, **options):
    fields = {"prior_contrast": 0.25, "image_contrast": None, "score": score} | options
    return SentenceEvidence(text, "findings", start, start + len(text), 6, -0.5, -1.25, **fields)


def test_the_page_tells_the_strength_of_a_sentence_in_words_numbers_and_lines(tmp_path):
    text = "Unchanged <i>effusion</i>. No edema. Normal heart."
    told = [_evidence(text[:26]), _evidence("No edema.", 0.75, 27), _evidence("Normal heart.", 0.987, 37)]
    draft = _draft(text, evidence=told, evidence_note="Scores were <made>.")
    page = write_html_report(tmp_path / "r.html", "t", [draft], [{}], None).read_text()
    assert '<span class="sentence weak"><mark>Unchanged</mark> &lt;i&gt;effusion&lt;/i&gt;.</span>' in page
    for said in (">weak 0.42</span>", ">fair 0.75</span>", ">strong 0.99</span>"):
        assert said in page
    assert "A sure sentence can be wrong. Scores were &lt;made&gt;." in page and "<i>" not in page
    assert "weak</span> below 0.70" in page and "fair</span> below 0.90" in page
    assert "underline wavy" in page and page.count("<tr><td>") == 3 and "+0.25" in page and "–" in page


def test_a_page_without_evidence_says_nothing_of_it(tmp_path):
    page = write_html_report(tmp_path / "r.html", "t", [_draft()], [{}], None).read_text()
    assert "how sure the model was" not in page and "<details>" not in page and '<span class="sentence' not in page


def test_evidence_stands_in_the_predictions_only_where_it_was_asked_for(tmp_path):
    draft = _draft(evidence=[_evidence()], evidence_note="n")
    content = json.loads(write_draft(draft, tmp_path, ["json"])[0].read_text())
    assert content["evidence_note"] == "n" and content["evidence"] == [_evidence().as_json()]
    assert content["evidence"][0]["mean_log_prob"] == -0.5 and content["evidence"][0]["image_contrast"] is None
    assert "evidence" not in _draft().as_json()
