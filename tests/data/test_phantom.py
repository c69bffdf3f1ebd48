# SPDX-License-Identifier: Apache-2.0
"""Phantom studies are what they say: repeatable, true to side, varied, and marked as synthetic."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter

import numpy as np
import pydicom
import pytest

from libra_monai.data.phantom.anatomy import draw_body
from libra_monai.data.phantom.generate import SPLITS, generate
from libra_monai.data.phantom.radiograph import CELLS, draw_exposure, draw_radiograph, take_radiograph
from libra_monai.data.phantom.story import FINDINGS, Condition, draw_story
from libra_monai.data.phantom.wording import draw_indication, sentence, write_findings, write_impression
from libra_monai.errors import ConfigError
from libra_monai.metrics.labelers.findings import present_findings
from libra_monai.outputs.change_words import change_spans
from libra_monai.transforms import LoadRadiograph

SIDES = {"left", "right", "bilateral", None}
CHANGES = {"new", "worsened", "improved", "stable", "resolved", "removed", None}


def _hashes(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _truth(folder):
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def _stories(n=600):
    for number in range(n):
        rng = np.random.default_rng([3, number])
        yield draw_story(rng), rng


def test_one_seed_gives_the_same_folder_to_the_byte_with_any_number_of_workers(tmp_path):
    generate(tmp_path / "one", 9, 4, long_side=96, workers=1)
    generate(tmp_path / "two", 9, 4, long_side=96, workers=2)
    generate(tmp_path / "other", 9, 5, long_side=96, workers=1)
    one, two, other = (_hashes(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one["truth.jsonl"] != other["truth.jsonl"]


def test_a_complete_folder_is_reused_and_one_of_other_options_is_refused(tmp_path):
    generate(tmp_path, 2, 4, long_side=96, workers=1)
    before = (tmp_path / "phantom.json").stat().st_mtime_ns
    generate(tmp_path, 2, 4, long_side=96, workers=1)
    assert (tmp_path / "phantom.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="other options"):
        generate(tmp_path, 2, 5, long_side=96)


def test_a_folder_that_was_left_half_made_is_made_again(tmp_path):
    old, running = tmp_path / "a" / ".drawing-old", tmp_path / "a" / ".drawing-running"
    for folder in (old, running):
        (folder / "images").mkdir(parents=True)
    for folder in (old / "images", old):
        os.utime(folder, (0, 0))
    generate(tmp_path / "a", 2, 4, long_side=96, workers=1)
    assert len(_truth(tmp_path / "a")) >= 2
    assert running.is_dir() and not old.exists()  # another process may be drawing there


def test_a_users_studies_are_never_deleted(tmp_path):
    """A folder of studies looks much like a folder of phantoms."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_text("mine")
    (tmp_path / "datalist.json").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        generate(tmp_path, 2, 4)
    assert (tmp_path / "images" / "a.png").read_text() == "mine" == (tmp_path / "datalist.json").read_text()


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        generate(tmp_path, 2, 4)


def test_truth_uses_the_agreed_words_and_splits_are_disjoint_by_patient(phantom):
    seen: dict[str, str] = {}
    for study in _truth(phantom):
        assert set(study) == {"study_id", "patient_id", "split", "prior_study_id", "findings"}
        assert seen.setdefault(study["patient_id"], study["split"]) == study["split"]
        for finding in study["findings"]:
            assert set(finding) == {"finding", "side", "severity", "change"}
            assert finding["finding"] in FINDINGS
            assert finding["side"] in SIDES
            assert finding["severity"] in {"small", "moderate", "large", None}
            assert finding["change"] in CHANGES
            assert (finding["change"] is None) == (study["prior_study_id"] is None)
    assert set(seen.values()) == {"training", "validation", "test"}


def test_at_most_forty_percent_of_changes_are_stable_and_all_changes_occur():
    changes = Counter(s.change for story, _ in _stories() for visit in story for s in visit.statements if s.change)
    assert changes["stable"] / changes.total() <= 0.4
    assert set(changes) == CHANGES - {None}
    assert len({s.finding for story, _ in _stories(100) for v in story for s in v.statements}) >= 6


def test_studies_run_forward_in_time_and_number_one_to_five():
    for story, _ in _stories(200):
        assert 1 <= len(story) <= 5
        times = [visit.time for visit in story]
        assert times == sorted(set(times))


def test_words_of_comparison_stand_only_where_a_prior_exists():
    for story, rng in _stories():
        text = write_findings(story[0].statements, rng) + " " + write_impression(story[0].statements, rng)
        assert not change_spans(text), text


def test_the_whole_report_of_a_first_study_compares_with_nothing(phantom, records):
    first = [record for record in records if record["prior_study_id"] is None]
    assert len(first) == 12
    for record in first:
        text = (phantom / "reports" / f"{record['study_id']}.txt").read_text()
        assert not change_spans(text) and not re.search("follow-up|interval|prior", text, re.IGNORECASE), text
    rng = np.random.default_rng(0)
    again = {draw_indication(rng, True) for _ in range(200)} - {draw_indication(rng, False) for _ in range(200)}
    assert again == {"Follow-up.", "Evaluate for interval change."}


def test_every_statement_is_said_in_several_wordings():
    rng = np.random.default_rng(0)
    statements = {s for story, _ in _stories(100) for visit in story for s in visit.statements}
    for statement in sorted(statements, key=str):
        assert len({sentence(statement, rng) for _ in range(60)}) >= 2, statement


def test_reports_say_what_was_drawn():
    for story, rng in _stories():
        for visit in story:
            said = present_findings(write_findings(visit.statements, rng))
            assert said == {(c.finding, c.side) for c in visit.conditions}


def test_left_is_the_patients_left_the_right_half_of_the_picture():
    rng = np.random.default_rng(1)
    body = draw_body(rng, "M")
    exposure = draw_exposure(rng, ill=False, long_side=256)

    def picture(*conditions):
        return take_radiograph(body, list(conditions), exposure, np.random.default_rng(7))

    healthy = picture()
    for finding, size in (("Pleural Effusion", 0.9), ("Lung Lesion", 0.9), ("Pacemaker", 0.0), ("Pneumothorax", 0.9)):
        change = np.abs(picture(Condition(finding, "left", size, 5)) - healthy)
        middle = change.shape[1] // 2
        assert change[:, middle:].sum() > 2 * change[:, :middle].sum(), finding
    rows = slice(int(0.5 * healthy.shape[0]), int(0.65 * healthy.shape[0]))
    middle = healthy.shape[1] // 2
    assert healthy[rows, middle:].mean() > healthy[rows, :middle].mean()  # the heart's apex is on the patient's left


def test_statements_say_in_which_cells_of_the_picture_they_are_seen(phantom):
    rng = np.random.default_rng(1)
    body, exposure = draw_body(rng, "M"), draw_exposure(rng, ill=False, long_side=256)
    conditions = [Condition("Lung Lesion", "left", 0.9, 5), Condition("Gastric Tube", None, 0.0, 5)]
    picture, places = draw_radiograph(body, conditions, exposure, np.random.default_rng(7))
    assert np.array_equal(picture, take_radiograph(body, conditions, exposure, np.random.default_rng(7)))
    lesion, tube = (places[c.finding, c.side] for c in conditions)
    assert 0 < lesion.sum() < 25 and not lesion[:, : CELLS // 2].any()
    assert tube.any(axis=1).sum() > CELLS // 2 and tube[:, :5].sum() == 0  # runs down the middle
    datalist = json.loads((phantom / "datalist.json").read_text())
    said = [s for split in SPLITS for record in datalist[split] for s in record["statements"]]
    assert all(4 * len(s["cells"]) == CELLS**2 and int(s["cells"], 16) for s in said)


def test_a_larger_finding_changes_more_of_the_picture():
    rng = np.random.default_rng(2)
    body, exposure = draw_body(rng, "F"), draw_exposure(rng, ill=False, long_side=256)

    def change(finding, side, size):
        pictures = [
            take_radiograph(body, conditions, exposure, np.random.default_rng(7))
            for conditions in ([], [Condition(finding, side, size, 5)])
        ]
        return float(np.abs(pictures[1] - pictures[0]).mean())

    for finding, side in (("Pleural Effusion", "right"), ("Consolidation", "left"), ("Edema", "bilateral"),
                          ("Cardiomegaly", None), ("Pneumothorax", "right"), ("Lung Lesion", "left"),
                          ("Atelectasis", "right")):
        sizes = [change(finding, side, size) for size in (0.2, 0.55, 0.95)]
        assert sizes == sorted(sizes) and sizes[0] > 0, finding


def test_dicom_files_come_in_the_variety_of_hospitals_and_are_marked(phantom):
    seen = Counter()
    for path in (phantom / "images").rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        seen[ds.file_meta.TransferSyntaxUID] += 1
        seen[ds.PhotometricInterpretation] += 1
        seen[ds.Modality] += 1
        assert 12 <= ds.BitsStored <= 16
        assert float(ds.WindowWidth) > 1 and ds.WindowCenter is not None
        assert ds.ViewPosition in ("PA", "AP") and list(ds.PatientOrientation) == ["L", "F"]
        assert ds.get("ImageLaterality", ds.get("Laterality")) is not None
        assert "NOT FOR CLINICAL USE" in ds.ImageComments and "SYNTHETIC" in ds.SeriesDescription
        assert len({ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID}) == 3
        assert re.fullmatch(r"\d{8}", ds.StudyDate) and re.fullmatch(r"\d{6}", ds.StudyTime)
    assert {"MONOCHROME1", "MONOCHROME2", "DX", "CR"} <= set(seen)
    assert sum(key.startswith("1.2") for key in seen) >= 2


def test_the_same_picture_is_read_whatever_way_it_is_stored(tmp_path):
    from libra_monai.data.phantom.dicom import TRANSFER_SYNTAXES, Encoding, Identity, to_dicom

    rng = np.random.default_rng(3)
    brightness = take_radiograph(draw_body(rng, "F"), [], draw_exposure(rng, False, 128), rng)
    identity = Identity("P", "P-S1", draw_story(rng)[0].time, 1950, "F", "PA")
    pictures = []
    for syntax in TRANSFER_SYNTAXES:
        for modality, bits, inverted in (("DX", 12, False), ("CR", 16, True), ("DX", 15, True)):
            path = tmp_path / "x.dcm"
            encoding = Encoding(modality, bits, inverted, syntax)
            to_dicom(brightness, identity, encoding, np.random.default_rng(9)).save_as(path, enforce_file_format=True)
            pictures.append(np.asarray(LoadRadiograph()(path)[0], dtype=int))
    for other in pictures[1:]:
        assert np.abs(other - pictures[0]).max() <= 1  # rounding of the stored values


def test_everything_written_says_synthetic(phantom):
    for name in ("README.txt", "datalist.json", "phantom.json"):
        assert "ynthetic, not for clinical use" in (phantom / name).read_text()
    for report in (phantom / "reports").iterdir():
        assert "SYNTHETIC - NOT FOR CLINICAL USE" in report.read_text().splitlines()[0]
