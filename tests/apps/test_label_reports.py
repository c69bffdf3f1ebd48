# SPDX-License-Identifier: Apache-2.0
"""The store of reports: versions stay, writers never meet, texts cannot name a place outside."""

from __future__ import annotations

import multiprocessing
import random

import pytest

from libra_monai.apps.monailabel.learning.reports import CORRECTED, LONGEST, ORIGINAL, ReportStore, edit_distance, text_of
from libra_monai.errors import ConfigError

DRAFT = {"uid": "2.25.7", "findings": "Small left effusion. No pneumothorax.", "impression": None, "model": "small 1"}


def _correction(**more):
    return {"findings": "Small right effusion. No pneumothorax.", "impression": None, "draft": "2.25.7", "seconds": 31.5, **more}


def test_versions_are_numbered_kept_and_read_back_as_saved(tmp_path):
    store = ReportStore(tmp_path / "reports")
    assert store.ids(ORIGINAL) == [] and store.latest("s1", ORIGINAL) is None and store.versions("s1", CORRECTED) == []
    assert [store.save("s1", ORIGINAL, {**DRAFT, "n": n}) for n in range(3)] == [1, 2, 3]
    assert [one["n"] for one in store.versions("s1", ORIGINAL)] == [0, 1, 2]
    latest = ReportStore(tmp_path / "reports").latest("s1", ORIGINAL)
    assert latest["version"] == 3 and latest["image"] == "s1" and latest["time"].endswith("+00:00")
    assert {name: latest[name] for name in DRAFT} == DRAFT
    assert store.ids(ORIGINAL) == ["s1"] and store.ids(CORRECTED) == []


def test_a_correction_is_measured_against_the_draft_it_began_from(tmp_path):
    store = ReportStore(tmp_path)
    store.save("s1", ORIGINAL, DRAFT)
    store.save("s1", ORIGINAL, {**DRAFT, "uid": "2.25.8", "findings": "Something else altogether."})
    assert store.save("s1", CORRECTED, _correction()) == 1
    kept = store.latest("s1", CORRECTED)
    assert kept["edit_distance"] == {"characters": 4, "words": 1}  # left -> right
    assert (kept["draft"], kept["seconds"]) == ("2.25.7", 31.5)
    store.save("s1", CORRECTED, _correction(draft=None))
    assert store.latest("s1", CORRECTED)["edit_distance"] == {"characters": 38, "words": 5}  # all of it was written


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (_correction(draft="2.25.9"), "does not exist"),
        (_correction(findings="  "), "is empty"),
        (_correction(findings=["a"]), "no text"),
        (_correction(findings="a" * (LONGEST + 1)), "longer than"),
        (_correction(seconds="7"), "no number"),
        (_correction(seconds=float("nan")), "no number"),
    ],
)
def test_a_wrong_correction_is_refused_and_leaves_nothing(tmp_path, report, said):
    store = ReportStore(tmp_path)
    store.save("s1", ORIGINAL, DRAFT)
    with pytest.raises(ConfigError, match=said):
        store.save("s1", CORRECTED, report)
    assert store.versions("s1", CORRECTED) == [] and store.ids(CORRECTED) == []


def test_an_unknown_tag_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'original'"):
        ReportStore(tmp_path).save("s1", "orginal", DRAFT)


@pytest.mark.parametrize("image", ["../../s1", "/etc/passwd", "a/b", "..", "", "\x00", "ß" * 300])
def test_no_identifier_leaves_the_root(tmp_path, image):
    store = ReportStore(tmp_path / "store")
    store.save(image, ORIGINAL, DRAFT)
    store.save("plain", ORIGINAL, DRAFT)
    assert store.ids(ORIGINAL) == sorted([image, "plain"])
    assert store.latest(image, ORIGINAL)["image"] == image
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_claimed_number_without_a_report_is_skipped_and_not_used_again(tmp_path):
    store = ReportStore(tmp_path)
    store.save("s1", ORIGINAL, DRAFT)
    folder = next((tmp_path / ORIGINAL).iterdir())
    (folder / "000002.json").touch()  # what a kill between claim and write leaves
    assert store.latest("s1", ORIGINAL)["version"] == 1 and len(store.versions("s1", ORIGINAL)) == 1
    assert store.save("s1", ORIGINAL, DRAFT) == 3


def _write(root, writer):
    store = ReportStore(root)
    for n in range(15):
        store.save("s1", ORIGINAL, {**DRAFT, "writer": writer, "n": n})


def test_three_processes_lose_no_version(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, writer)) for writer in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
    found = ReportStore(tmp_path).versions("s1", ORIGINAL)
    assert sorted((one["writer"], one["n"]) for one in found) == [(w, n) for w in range(3) for n in range(15)]
    assert [one["version"] for one in found] == list(range(1, 46))


def _slow_distance(before, after):
    table = [list(range(len(after) + 1))]
    for i, a in enumerate(before, 1):
        table.append([i])
        for j, b in enumerate(after, 1):
            table[i].append(min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b)))
    return table[-1][-1]


def test_edit_distance_is_levenshtein():
    draw = random.Random(3)
    for _ in range(60):
        before, after = ("".join(draw.choices("ab ", k=draw.randrange(12))) for _ in range(2))
        assert edit_distance(before, after) == {
            "characters": _slow_distance(before, after), "words": _slow_distance(before.split(), after.split())
        }


def test_the_text_of_a_report_is_its_sections():
    assert text_of({"findings": "A.", "impression": "B."}) == "A.\nB." and text_of({"impression": "B."}) == "B." and text_of({}) == ""
