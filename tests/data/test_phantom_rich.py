# SPDX-License-Identifier: Apache-2.0
"""Rich phantoms say what they draw, in wordings of which a third stays unseen; plain phantoms stay as they were."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import product

import numpy as np
import pydicom
import pytest

from libra_monai.data import load_records
from libra_monai.data.phantom.anatomy import draw_body
from libra_monai.data.phantom.counterfactual import RandCounterfactualPrior
from libra_monai.data.phantom.generate import SPLITS, generate
from libra_monai.data.phantom.rich import words
from libra_monai.data.phantom.rich.details import MALPOSITIONED, RichStatement, detail_of, retell
from libra_monai.data.phantom.rich.frontal import Film, draw_film, draw_frontal
from libra_monai.data.phantom.rich.lateral import draw_lateral
from libra_monai.data.phantom.rich.wording import chosen, frames_of, nouns_of, say, write_findings, write_impression
from libra_monai.data.phantom.story import DEVICES, Condition, draw_story
from libra_monai.errors import ConfigError
from libra_monai.metrics.labelers import present_findings
from libra_monai.metrics.labelers.changes import change_claims, claims_change
from libra_monai.transforms import LoadRadiograph

# of seed 5, 8 patients, made by the code from before rich phantoms
PLAIN_TRUTH = "e8b18fe1919060b2aaacf365d6a2881806cda1e90ce93a367cfd44b77e72dca4"
PLAIN_REPORTS = "9e467d491510b4a4ca8749b15ab40e4fd75cb1b7faa2fb3108601846303ea241"
PLAIN_PICTURE = [  # means of 4 x 4 parts of one picture; another draw of the noise alone moves them by about 1
    [10690.9, 9036.3, 8435.8, 11045.1],
    [8732.1, 10558.5, 9614.1, 8711.9],
    [8169.3, 7599.7, 8443.7, 10217.5],
    [7100.7, 6786.7, 7134.7, 7955.8],
]
GONE = ("resolved", "removed")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Folder of 30 rich patients, a test split in held-out words, half of the first studies polluted."""
    folder = tmp_path_factory.mktemp("rich") / "studies"
    splits = {"training": 0.4, "validation": 0.2, "test": 0.4}
    generate(folder, 30, 5, splits, long_side=128, workers=1, rich=True, held_out=True, polluted=0.5)
    return folder


@pytest.fixture(scope="module")
def studies(rich):
    datalist = json.loads((rich / "datalist.json").read_text())
    return [(split, record) for split in SPLITS for record in datalist[split]]


def _visits(n):
    for number in range(n):
        rng = np.random.default_rng([6, number])
        for visit in retell(draw_story(rng)):
            yield visit.statements, rng


def _f1(wanted, found):
    hits = sum(len(w & f) for w, f in zip(wanted, found, strict=True))
    return 2 * hits / (sum(map(len, wanted)) + sum(map(len, found)))


def _of_findings(statements):
    return {(s.finding, s.side) for s in statements if s.change not in GONE}


def _of_changes(statements):
    return {(s.finding, s.side, s.change) for s in statements if s.change}


def test_plain_phantoms_are_those_from_before_there_were_rich_ones(tmp_path):
    generate(tmp_path, 8, 5, workers=1)
    assert hashlib.sha256((tmp_path / "truth.jsonl").read_bytes()).hexdigest() == PLAIN_TRUTH
    reports = "".join(path.read_text() for path in sorted((tmp_path / "reports").iterdir()))
    assert hashlib.sha256(reports.encode()).hexdigest() == PLAIN_REPORTS
    pixels = pydicom.dcmread(tmp_path / "images" / "PH5-00003" / "PH5-00003-S1" / "1.dcm").pixel_array
    means = [[part.mean() for part in np.array_split(band, 4, 1)] for band in np.array_split(pixels, 4, 0)]
    assert pixels.shape == (448, 444) and np.abs(np.array(means) - PLAIN_PICTURE).max() < 0.5
    assert "rich" not in json.loads((tmp_path / "phantom.json").read_text())


def test_one_seed_gives_the_same_rich_folder_with_any_number_of_workers(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        generate(tmp_path / name, 8, 4, long_side=96, workers=workers, rich=True)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file())
    assert all((tmp_path / "one" / p).read_bytes() == (tmp_path / "two" / p).read_bytes() for p in files)


def test_a_plain_folder_is_no_rich_one_and_options_need_rich(tmp_path):
    generate(tmp_path / "a", 2, 4, long_side=96, workers=1)
    with pytest.raises(ConfigError, match="other options"):
        generate(tmp_path / "a", 2, 4, long_side=96, workers=1, rich=True)
    generate(tmp_path / "b", 2, 4, long_side=96, workers=1, rich=True)
    with pytest.raises(ConfigError, match="other options"):
        generate(tmp_path / "b", 2, 4, long_side=96, workers=1)
    with pytest.raises(ConfigError, match="options of rich phantoms"):
        generate(tmp_path / "c", 2, 4, held_out=True)
    with pytest.raises(ConfigError, match="not a share"):
        generate(tmp_path / "c", 2, 4, rich=True, polluted=2)


def test_every_kind_of_statement_has_six_wordings_and_a_third_is_held_out():
    tables = [words.DISEASE, words.HEART, words.DEVICE, words.MISPLACED]
    stock = [words.CLEAR, words.NO_CONSOLIDATION, words.NO_PLEURA, words.NO_EFFUSION, words.NO_PNEUMOTHORAX,
             words.NORMAL_HEART, words.BONES, words.NORMAL]  # fmt: skip
    lists = [frames for table in tables for frames in table.values()] + stock
    for entries in lists:
        training, held_out = chosen(entries, "training"), chosen(entries, "held_out")
        assert len(set(entries)) == len(entries) >= 6
        assert 3 * len(held_out) == len(entries) and not set(training) & set(held_out)
        assert chosen(entries, "all") == entries


def test_readers_of_reports_read_every_wording_of_every_statement():
    statements = {s for said, _ in _visits(250) for s in said}
    assert {(s.finding, s.change) for s in statements} >= {("Lung Lesion", "worsened"), ("Pacemaker", None)}
    wanted, found, said_changes, read_changes = [], [], [], []
    for said in sorted(statements, key=str):
        for frame, noun in product(frames_of(said), nouns_of(said)[:2]):
            text = say(said, frame, noun)
            wanted.append(_of_findings([said]))
            found.append(present_findings(text))
            said_changes.append(_of_changes([said]))
            read_changes.append(change_claims(text))
    assert len(wanted) > 5000
    assert _f1(wanted, found) >= 0.98 and _f1(said_changes, read_changes) >= 0.98


@pytest.mark.parametrize("wordings", ["training", "held_out"])
def test_labels_read_from_reports_are_the_truth(wordings):
    wanted, found, said_changes, read_changes = [], [], [], []
    for statements, rng in _visits(150):
        text = f"{write_findings(statements, rng, wordings)} {write_impression(statements, rng, wordings)}"
        wanted.append(_of_findings(statements))
        found.append(present_findings(text))
        said_changes.append(_of_changes(statements))
        read_changes.append(change_claims(text))
    assert _f1(wanted, found) >= 0.98 and _f1(said_changes, read_changes) >= 0.98


def test_truth_keeps_its_words_and_the_datalist_says_zone_tip_and_position(rich, studies):
    for line in (rich / "truth.jsonl").read_text().splitlines():
        for finding in json.loads(line)["findings"]:
            assert set(finding) == {"finding", "side", "severity", "change"}
    said = [(s, record["findings"]) for _, record in studies for s in record["statements"]]
    for s, text in said:
        assert set(s) == {"finding", "side", "severity", "change", "zone", "tip", "position", "cells"}
        assert int(s["cells"], 16) and 4 * len(s["cells"]) == 256, s
        assert (s["zone"] is not None) == (s["finding"] in ("Consolidation", "Lung Lesion"))
        assert (s["tip"] is not None) == (s["position"] is not None) == (s["finding"] in DEVICES)
        if s["zone"]:
            assert f"{s['zone']} " in text
        if s["tip"] and s["change"] != "removed":
            assert s["tip"] in text
    assert {s["zone"] for s, _ in said} == {"upper", "middle", "lower", None}
    assert {s["position"] for s, _ in said} == {"satisfactory", "malpositioned", None}


def test_a_malposition_is_said_in_words_in_findings_and_impression():
    seen = Counter()
    for statements, rng in _visits(120):
        wrong = [s for s in statements if s.position == MALPOSITIONED and s.change not in GONE]
        findings, impression = write_findings(statements, rng), write_impression(statements, rng)
        assert all(s.tip in findings and s.tip in impression for s in wrong)
        told = any(word in findings.lower() for word in ("malposition", "misplaced", "abnormal position", "repositioned"))
        assert told == bool(wrong), findings
        seen.update(s.finding for s in wrong)
    assert set(seen) == set(DEVICES)


def test_the_test_split_uses_held_out_words_and_the_others_never_do(studies):
    held_out = {"Heart size is normal.": False, "The heart is not enlarged.": True, "Cardiac size is within normal limits.": True}
    used = {(sentence, split) for split, record in studies for sentence in held_out if sentence in record["findings"]}
    assert used
    assert all((split == "test") == held_out[sentence] for sentence, split in used)


def test_polluted_reports_cite_a_prior_that_is_not_there_and_say_so(studies):
    first = [record for _, record in studies if record["prior"] is None]
    polluted = [record for record in first if record.get("polluted")]
    assert 0.25 < len(polluted) / len(first) < 0.75
    for record in first:
        assert claims_change(f"{record['findings']} {record['impression']}") == bool(record.get("polluted"))
    assert all(s["change"] is None for record in polluted for s in record["statements"])
    assert not any(record.get("polluted") for _, record in studies if record["prior"])


def test_about_a_third_of_studies_has_a_lateral_view_that_is_read(rich, studies):
    lateral = [record for _, record in studies if record["lateral"]]
    assert 0.15 < len(lateral) / len(studies) < 0.45
    views = set()
    for record in lateral:
        side, front = (pydicom.dcmread(rich / record[name]) for name in ("lateral", "current"))
        assert side.StudyInstanceUID == front.StudyInstanceUID and side.SeriesInstanceUID != front.SeriesInstanceUID
        assert [front.SOPInstanceUID, side.SOPInstanceUID] == record["image_uids"]
        assert list(side.PatientOrientation) == ["P", "F"] and "NOT FOR CLINICAL USE" in side.ImageComments
        assert LoadRadiograph()(rich / record["lateral"])[0].numel() > 0
        views.add(side.ViewPosition)
    assert views == {"LL", "LATERAL"}
    assert len(load_records(rich / "datalist.json", "training")) == sum(split == "training" for split, _ in studies)


def _film(seed=1):
    film = draw_film(np.random.default_rng(seed), ill=False, long_side=256)
    return Film(film.exposure, 0.0, None)


def _seed_of(finding, **wanted):
    return next(n for n in range(2000) if all(getattr(detail_of(finding, n), k) == v for k, v in wanted.items()))


def test_zones_lie_above_each_other_and_tips_end_where_the_words_say():
    body, film = draw_body(np.random.default_rng(1), "M"), _film()

    def rows(condition):
        _, places = draw_frontal(body, [condition], film, np.random.default_rng(7))
        return np.flatnonzero(places[condition.finding, condition.side].any(axis=1))

    for finding, size in (("Consolidation", 0.5), ("Lung Lesion", 0.3)):
        seeds = [_seed_of(finding, zone=zone) for zone in ("upper", "middle", "lower")]
        middles = [rows(Condition(finding, "right", size, seed)).mean() for seed in seeds]
        assert middles == sorted(middles) and middles[2] - middles[0] > 3, finding
    ends = [rows(Condition("Endotracheal Tube", None, 0.0, _seed_of("Endotracheal Tube", place=place))).max()
            for place in ("high", "trachea", "bronchus")]  # fmt: skip
    assert ends == sorted(set(ends))
    ends = [rows(Condition("Central Line", "right", 0.0, _seed_of("Central Line", place=place))).max()
            for place in ("svc", "junction", "atrium")]  # fmt: skip
    assert ends == sorted(ends) and ends[0] < ends[2]


def test_side_markers_stand_on_the_side_they_name():
    letters = Counter()
    for number in range(60):
        film = draw_film(np.random.default_rng(number), ill=False, long_side=128)
        if film.marker is not None:
            letters[film.marker.letter] += 1
            assert (film.marker.across < 0.5) == (film.marker.letter == "R")  # the patient's right is the left edge
    assert set(letters) == {"R", "L"} and 35 < letters.total() < 60


def test_the_lateral_view_has_the_heart_in_front_and_fluid_behind():
    body, film = draw_body(np.random.default_rng(1), "M"), _film()

    def picture(*conditions):
        return draw_lateral(body, list(conditions), film, np.random.default_rng(7))

    healthy = picture()
    rows, columns = healthy.shape
    level = healthy[int(0.57 * rows) : int(0.64 * rows)]  # of the heart
    behind = level[:, int(0.57 * columns) : int(0.62 * columns)].mean()
    assert level[:, int(0.30 * columns) : int(0.42 * columns)].mean() > behind + 0.1
    assert level[:, int(0.68 * columns) : int(0.76 * columns)].mean() > behind  # the spine
    change = np.abs(picture(Condition("Pleural Effusion", "left", 0.25, 5)) - healthy)
    assert change[:, columns // 2 :].sum() > 2 * change[:, : columns // 2].sum()
    large = picture(Condition("Cardiomegaly", None, 0.95, 5))  # reaches back towards the spine
    assert large[int(0.57 * rows) : int(0.64 * rows), int(0.57 * columns) : int(0.62 * columns)].mean() > behind + 0.05


def test_turned_pairs_of_rich_phantoms_are_told_with_zone_and_tip(rich):
    records = load_records(rich / "datalist.json", "training")
    change = RandCounterfactualPrior(records, 1.0, 0.0)
    assert change.rich
    told = change.set_random_state(seed=1)._told(
        [{"finding": "Central Line", "side": "left", "severity": None, "change": "new", "zone": None,
          "tip": "in the right atrium", "position": "malpositioned", "cells": "0"}]
    )  # fmt: skip
    assert "in the right atrium" in told["findings"] and change_claims(told["findings"]) == {("Central Line", "left", "new")}


def test_a_statement_gives_truth_and_record():
    said = RichStatement("Consolidation", "left", "small", "new", zone="upper")
    assert said.as_json() == {"finding": "Consolidation", "side": "left", "severity": "small", "change": "new"}
    assert said.as_record() == said.as_json() | {"zone": "upper", "tip": None, "position": None}
