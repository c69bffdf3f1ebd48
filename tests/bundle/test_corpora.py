# SPDX-License-Identifier: Apache-2.0
"""Synthetic copies of MIMIC-CXR and CheXpert Plus are prepared, trained on and evaluated, with the right priors."""

from __future__ import annotations

import hashlib
import json

import pytest

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.data import load_records
from libra_monai.data.chronology import PriorRule
from libra_monai.data.corpora.chexpert_plus import CheXpertPlus
from libra_monai.data.corpora.mimic_cxr import MimicCxr, Options
from libra_monai.data.deidentify import Deidentifier, Policy
from libra_monai.data.preparing import PrepareOptions, prepare
from tests.data.corpora.chexpert import row, write_chexpert
from tests.data.corpora.mimic import Image, Visit, sample_visits, write_mimic

SHORT = {"max_epochs": 1, "train_limit": 4, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 12}}
OPTIONS = PrepareOptions(require=("findings", "impression"), privacy="synthetic")


def _prepare_mimic(folder, visits=None, rule=None, **form):
    source = MimicCxr()
    studies = source.read(Options(write_mimic(folder / "corpus", visits, **form)))
    return prepare(studies, folder / "out", OPTIONS, rule=rule, data_root=folder / "corpus", notes=source.notes)


def _prepare_chexpert(folder, rows=None):
    source = CheXpertPlus()
    studies = source.read(write_chexpert(folder / "corpus", rows))
    return prepare(studies, folder / "out", OPTIONS, data_root=folder / "corpus", notes=source.notes)


def _all_records(manifest):
    return {record["study_id"]: record for split in ("training", "validation", "test") for record in manifest.datalist[split]}


@pytest.mark.parametrize(
    ("overlay", "make", "prompt", "split"),
    [
        ("data/mimic_cxr", _prepare_mimic, "findings", "test"),
        ("data/chexpert_plus", _prepare_chexpert, "impression", "validation"),  # most have no findings, none is for testing
    ],
)
def test_a_prepared_corpus_trains_and_is_evaluated(tmp_path, overlay, make, prompt, split):
    make(tmp_path)
    where = {"data_root": str(tmp_path / "corpus"), "datalist": str(tmp_path / "out" / "datalist.json"), "prompt": prompt}
    LibraWorkflow("train", ["stage/align", overlay], {**where, **SHORT, "output_dir": str(tmp_path / "train")}).run_all()
    assert (tmp_path / "train" / "last" / "report_model.json").is_file()
    options = {**where, "split": split, "batch_size": 2, "output_dir": str(tmp_path / "evaluate")}
    LibraWorkflow("evaluate", [overlay], options).run_all()
    lines = [json.loads(line) for line in (tmp_path / "evaluate" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and [line["prior_used"] for line in lines].count(True) == 2
    assert "bleu_4_coco" in json.loads((tmp_path / "evaluate" / "metrics.json").read_text())


def test_mimic_priors_follow_time_not_study_numbers(tmp_path):
    records = _all_records(_prepare_mimic(tmp_path))
    for patient in range(6):
        first, second, third = (records[str(40000900 - 100 * visit + patient)] for visit in range(3))
        assert (first["prior"], second["prior_study_id"], third["prior_study_id"]) == (None, first["study_id"], second["study_id"])
        assert second["lateral"] and second["gap_hours"] == 81.501  # 00:00:13.4 to 09:30:15.5 three days later
        assert third["earlier"][1]["study_id"] == first["study_id"] and third["prior_findings"] == second["findings"]


def test_chexpert_priors_follow_the_number_and_have_no_gap(tmp_path):
    records = _all_records(_prepare_chexpert(tmp_path))
    tenth = records["patient90000_study10"]
    assert tenth["prior_study_id"] == "patient90000_study2" and tenth["gap_hours"] is None
    assert records["patient90000_study2"]["prior_study_id"] == "patient90000_study1"
    rows = [row("patient1", "study1", "view1_frontal", order, section_impression="CLEAR.") for order in ("9",)]
    rows += [row("patient1", "study2", "view1_frontal", "10", section_impression="CLEAR.")]
    assert _all_records(_prepare_chexpert(tmp_path / "b", rows))["patient1_study2"]["prior_study_id"] == "patient1_study1"


def _visit(study, date, time, *, subject="10000001", split="train", view="PA", **more):
    return Visit(subject, study, split, [Image(f"i{study}", view, date, time)], "Clear lungs.", "Normal.", **more)


def test_equal_times_absent_pictures_and_other_splits_give_no_prior(tmp_path):
    visits = [
        _visit("40000005", "21500101", "93015.5"),
        _visit("40000004", "21500101", "93015.5"),
        _visit("40000003", "21500103", "5.0"),
        _visit("40000009", "21500101", "93015.5", subject="10000002"),
        _visit("40000008", "21500102", "93015.5", subject="10000002", split="test"),
        _visit("40000007", "notadate", "93015.5", subject="10000003"),
        _visit("40000006", "21500102", "93015.5", subject="10000003"),
    ]
    visits[2].images.append(Image("across", "LATERAL", "21500102", "235959.0"))
    manifest = _prepare_mimic(tmp_path, visits)
    records = _all_records(manifest)
    assert records["40000005"]["prior"] is records["40000004"]["prior"] is None
    assert records["40000003"]["prior_study_id"] == "40000005"  # of equal times the last by text
    assert records["40000003"]["gap_hours"] == 38.495  # to the first picture, before midnight
    assert records["40000006"]["prior"] is None and "no date" in records["40000006"]["skipped_priors"][0]["reason"]
    assert "40000009" not in records and records["40000008"]["prior"] is None
    assert not any(manifest.content["checks"].values())


def test_a_partial_download_is_told_and_the_rest_is_prepared(tmp_path):
    visits = sample_visits()
    visits[0].images[0].there = False
    visits[4].has_report = False
    manifest = _prepare_mimic(tmp_path, visits)
    assert manifest.content["notes"] == {"images listed whose file is not there": 1, "studies without a report file": 1}
    assert {(row.item, row.reason) for row in manifest.dropped if row.what == "study"} == {
        ("40000900", "the file is not there"), ("40000801", "0 words of findings or impression, fewer than 1"),
    }  # fmt: skip
    assert len(_all_records(manifest)) == 16
    assert _all_records(manifest)["40000701"]["prior_study_id"] == "40000801"  # without a text, but with a picture


def test_the_published_rule_can_be_had(tmp_path):
    records = _all_records(_prepare_mimic(tmp_path, rule=PriorRule("libra_v1")))
    assert records["40000700"]["prior"].endswith("01b-40000800.jpg")  # the last picture of the day before, a lateral


def test_two_preparations_write_the_same_bytes(tmp_path):
    digests = []
    for name in "ab":
        _prepare_mimic(tmp_path / name)
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name / "out").iterdir())])
    assert digests[0] == digests[1] and len(digests[0]) == 3


def test_a_deidentified_copy_keeps_priors_and_gaps_and_no_number(tmp_path):
    plain = _all_records(_prepare_mimic(tmp_path / "plain", pictures="dcm"))
    tool = Deidentifier(bytes(range(32)), Policy("refuse_declared"))
    exported = [
        tool.export(study, tmp_path / "plain" / "corpus", tmp_path / "clean")[0]
        for study in MimicCxr().read(Options(tmp_path / "plain" / "corpus"))
    ]
    records = _all_records(prepare(exported, tmp_path / "clean", OPTIONS))
    gaps = {name: sorted(str(record["gap_hours"]) for record in found.values()) for name, found in (("a", plain), ("b", records))}
    assert gaps["a"] == gaps["b"] and len(records) == 18
    text = (tmp_path / "clean" / "datalist.json").read_text() + (tmp_path / "clean" / "dropped.csv").read_text()
    assert not [number for number in ("1000000", "400007", "400008", "400009") if number in text]
    assert load_records(tmp_path / "clean" / "datalist.json", "test")[0]["patient_id"] == tool.pseudonym("patient", "10000006")
