# SPDX-License-Identifier: Apache-2.0
"""From studies to a datalist: what is kept, what is listed, and that a second run writes the same bytes."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from libra_monai.data import load_records
from libra_monai.data.chronology import PriorRule
from libra_monai.data.preparing import PrepareOptions, prepare
from libra_monai.data.schema import SPLITS
from libra_monai.data.studies import StudyImage
from libra_monai.errors import ConfigError
from tests.data.studies_made import at, hash_of, study

ALL = PrepareOptions(splits={"training": 1.0})


def picture(root, path, seed):
    """Write a picture and give its place."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 36), dtype=np.uint8)).save(root / path)


def with_pictures(root, studies):
    """Studies whose pictures are there, each different."""
    made = []
    for one in studies:
        images = tuple(replace(image, path=image.path.replace(".dcm", ".png")) for image in one.images)
        for image in images:
            picture(root, image.path, hash_of(image.path))
        made.append(replace(one, images=images))
    return made


def dropped(out):
    """Rows of `dropped.csv`."""
    with open(out / "dropped.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def some(patients=6, each=3, **more):
    """Studies of several patients, a day apart."""
    return [study(f"p{p}s{s}", 24.0 * s, f"p{p}", **more) for p in range(patients) for s in range(each)]


def test_shuffled_input_and_a_second_run_write_the_same_bytes(tmp_path):
    studies = with_pictures(tmp_path, some(8))
    written = []
    for run in range(2):
        random.Random(run).shuffle(studies)
        out = tmp_path / f"out{run}"
        prepare(studies, out, sources=[("table.csv", "00")], data_root=tmp_path)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1] and set(written[0]) == {"datalist.json", "manifest.json", "dropped.csv"}
    assert str(tmp_path).encode() not in b"".join(written[0].values())


def test_flow_adds_up_and_a_dry_run_writes_nothing(tmp_path):
    studies = with_pictures(tmp_path, [*some(4), study("x", 0, "p9", views=("LATERAL",)), study("y", 0, "p8")])
    (tmp_path / "p8/y/0.png").unlink()
    manifest = prepare(studies, tmp_path / "out", ALL, data_root=tmp_path, dry_run=True)
    assert not (tmp_path / "out").exists()
    flow = manifest.content["flow"]
    assert flow[0]["studies"] == 14 and flow[-1]["studies"] == 12 and sum(step["dropped"] for step in flow) == 2
    assert [(row.item, row.reason) for row in manifest.dropped if row.what == "study"] == [
        ("x", "no frontal picture"), ("y", "the file does not exist"),
    ]  # fmt: skip
    assert manifest.content["priors"]["with_prior"] == 8 and manifest.content["gap_hours"]["1-7 days"] == 8
    assert all(count == 0 for count in manifest.content["checks"].values())
    assert "14" in manifest.summary() and "p8" not in manifest.summary()


def test_duplicate_rows_are_dropped_once_and_named(tmp_path):
    one = with_pictures(tmp_path, some(1, 2))
    out = tmp_path / "out"
    prepare([*one, one[0]], out, ALL, data_root=tmp_path)
    assert [record["study_id"] for record in load_records(out / "datalist.json", "training")] == ["p0s0", "p0s1"]
    assert [row["reason"] for row in dropped(out)] == ["the study id stands twice"]


def test_a_patient_has_one_split_and_test_comes_first(tmp_path):
    studies = with_pictures(tmp_path, [study("a", 0, split="training"), study("b", 1, split="test"), study("c", 2)])
    out = tmp_path / "out"
    manifest = prepare(studies, out, ALL, data_root=tmp_path)
    assert manifest.content["splits"] == {"training": 0, "validation": 0, "test": 2}
    assert dropped(out)[0]["reason"] == "its patient is also in split test"
    assert manifest.content["checks"]["patients_disjoint_across_splits"] == 0


def test_a_patient_keeps_its_split_when_others_are_added(tmp_path):
    def splits(count):
        datalist = prepare(some(count, 1), tmp_path, PrepareOptions(check="exists"), dry_run=True).datalist
        return {record["patient_id"]: split for split in SPLITS for record in datalist[split]}

    for one in some(200, 1):
        picture(tmp_path, one.images[0].path + ".png", 1)
        (tmp_path / (one.images[0].path + ".png")).rename(tmp_path / one.images[0].path)
    few, many = splits(50), splits(200)
    assert all(many[patient] == split for patient, split in few.items())
    assert 140 <= sum(split == "training" for split in many.values()) <= 178


@pytest.mark.parametrize("check", ["content", "pixels"])
def test_a_picture_that_is_in_two_splits_stays_in_the_test_split(tmp_path, check):
    studies = with_pictures(tmp_path, [study("a", 0, "p1", split="training"), study("b", 5, "p2", split="test")])
    source, target = tmp_path / studies[1].images[0].path, tmp_path / studies[0].images[0].path
    with Image.open(source) as image:
        image.save(target, compress_level=9 if check == "pixels" else 6)  # other bytes, same pixels
    if check == "content":
        target.write_bytes(source.read_bytes())
    options = replace(ALL, check=check)
    manifest = prepare(studies, tmp_path / "out", options, data_root=tmp_path)
    assert manifest.content["counts"]["pictures_in_two_splits"] == 1
    assert manifest.content["splits"] == {"training": 0, "validation": 0, "test": 1}
    assert dropped(tmp_path / "out")[-1]["reason"] == "same picture as in study b (test)"


def test_a_study_sent_twice_is_not_its_own_prior(tmp_path):
    studies = with_pictures(tmp_path, [study("a", 0), study("b", 5), study("b-again", 9)])
    (tmp_path / studies[2].images[0].path).write_bytes((tmp_path / studies[1].images[0].path).read_bytes())
    manifest = prepare(studies, tmp_path / "out", ALL, data_root=tmp_path)
    records = {record["study_id"]: record for record in manifest.datalist["training"]}
    assert set(records) == {"a", "b"} and records["b"]["prior_study_id"] == "a"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("../secret.png", "path leaves the data root"), ("/etc/hosts", "not relative"), ("nowhere.png", "does not exist"),
     ("link.png", "path leaves the data root"), ("a\0b.png", "cannot be read"), ("", "not relative")],
)  # fmt: skip
def test_paths_that_leave_the_root_or_lead_nowhere_are_listed(tmp_path, path, reason):
    root = tmp_path / "root"
    good = with_pictures(root, [study("good", 0)])
    picture(tmp_path, "secret.png", 1)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    bad = study("bad", 1, images=(StudyImage("i", path, "PA", at(1)),))
    manifest = prepare([*good, bad], tmp_path / "out", ALL, data_root=root)
    assert manifest.content["flow"][-1]["studies"] == 1
    assert [row["reason"] for row in dropped(tmp_path / "out") if reason in row["reason"]]


def test_blank_and_broken_pictures_are_seen_only_by_the_pixel_check(tmp_path):
    studies = with_pictures(tmp_path, some(1, 3))
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / studies[0].images[0].path)
    (tmp_path / studies[1].images[0].path).write_bytes(b"\x89PNG broken")
    counts = {
        check: prepare(studies, tmp_path, replace(ALL, check=check), dry_run=True).content["splits"]["training"]
        for check in ("exists", "content", "pixels")
    }
    assert counts == {"exists": 3, "content": 3, "pixels": 1}


def test_texts_are_cleaned_by_name_and_short_ones_dropped(tmp_path):
    texts = ({"findings": "1. No ___ edema.", "impression": None}, {"findings": "___", "impression": ""}, {"findings": "No edema at all."})
    studies = [replace(one, sections=text) for one, text in zip(with_pictures(tmp_path, some(1, 3)), texts, strict=True)]
    options = replace(ALL, cleaners=("no_numbering", "no_underscores"), require=("findings", "impression"), min_words=2)
    records = prepare(studies, tmp_path / "out", options, data_root=tmp_path).datalist["training"]
    assert [(r["study_id"], r["findings"]) for r in records] == [("p0s0", "No edema."), ("p0s2", "No edema at all.")]
    assert records[1]["prior_study_id"] == "p0s1" and records[1]["prior_findings"] is None  # a prior needs no report
    assert records[1]["earlier"][1]["findings"] == "No edema."
    assert dropped(tmp_path / "out")[0]["reason"] == "0 words of findings or impression, fewer than 2"


def test_limit_takes_the_first_studies_only(tmp_path):
    def endless():
        yield from with_pictures(tmp_path, some(1, 3))
        raise AssertionError("read too far")

    assert prepare(endless(), tmp_path, replace(ALL, limit=2), dry_run=True).content["flow"][0]["studies"] == 2


def test_rule_and_options_stand_in_the_manifest(tmp_path):
    studies = with_pictures(tmp_path, some(2))
    prepare(studies, tmp_path / "out", ALL, [("t.csv", "ab")], PriorRule("libra-v1", 30), tmp_path, {"odd rows": 2, "none": 0})
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert content["prior_rule"]["name"] == "libra_v1" and content["prior_rule"]["max_gap_hours"] == 30
    assert content["sources"] == [{"path": "t.csv", "sha256": "ab"}] and content["notes"] == {"odd rows": 2}
    assert content["pictures"]["files"] == 6 and content["priors"]["skipped"] == {"further back than allowed": 2}


@pytest.mark.parametrize(
    ("options", "says"),
    [({"check": "pixel"}, "check 'pixel'"), ({"require": ("finding",)}, "Did you mean 'findings'"), ({"splits": {"test": 0.5}}, "sum to 1"),
     ({"splits": {"train": 1.0}}, "split 'train'"), ({"limit": 0}, "limit 0"), ({"privacy": "open"}, "privacy 'open'")],
)  # fmt: skip
def test_senseless_options_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        PrepareOptions(**options)


def test_nothing_left_is_an_error_that_names_the_reason(tmp_path):
    with pytest.raises(ConfigError, match="no study is left of 3; the most frequent reason: the file does not exist"):
        prepare(some(1), tmp_path / "out", data_root=tmp_path)
    assert not (tmp_path / "out").exists()


def test_no_spreadsheet_takes_a_reason_for_a_formula(tmp_path):
    odd = study("=1+1", 0, views=())
    prepare([*with_pictures(tmp_path, some(1)), odd], tmp_path / "out", ALL, data_root=tmp_path)
    assert dropped(tmp_path / "out")[0]["study_id"] == "'=1+1"
