# SPDX-License-Identifier: Apache-2.0
"""`libra-monai report FOLDER`: the newest study of each patient, with its lateral and prior."""

from __future__ import annotations

import json
import shutil

import pytest

from libra_monai.apps.main import main
from tests.data.studies_made import at, write_dicom


@pytest.fixture
def tree(phantom, records, tmp_path):
    """The files of two phantom patients with priors in one folder, in an order that says nothing; and the truth."""
    chosen = list(dict.fromkeys(r["patient_id"] for r in records if len(r["earlier"]) > 1))[:2]
    newest = {}
    for number, record in enumerate(sorted((r for r in records if r["patient_id"] in chosen), key=lambda r: r["study_uid"])):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(phantom / record["current"], tmp_path / "in" / f"{number}")
        best = newest.get(record["patient_id"])
        if best is None or len(record["earlier"]) > len(best["earlier"]):
            newest[record["patient_id"]] = record
    return tmp_path / "in", list(newest.values())


def _drafts(out):
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_each_patients_newest_study_is_drafted_with_its_prior(tree, records, tmp_path, capsys):
    folder, newest = tree
    assert main(["report", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    drafts = _drafts(tmp_path / "out")
    assert set(drafts) == {record["study_uid"] for record in newest}
    uids = {record["study_id"]: record["study_uid"] for record in records}
    for record in newest:
        draft = drafts[record["study_uid"]]
        assert draft["prior_study_id"] == uids[record["prior_study_id"]] and draft["prior_used"]
        assert draft["patient_id"] == record["patient_id"]
    assert len(list((tmp_path / "out").glob("*.html"))) == 2
    assert capsys.readouterr().out.count("NOT REVIEWED") == 2


def test_files_in_any_order_give_the_draft_of_the_folder(tree, tmp_path):
    folder, _ = tree
    files = sorted(map(str, folder.iterdir()), reverse=True)
    assert main(["report", *files, "--out", str(tmp_path / "a"), "--format", "json", "--device", "cpu"]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "b"), "--format", "json", "--device", "cpu"]) == 0
    assert _drafts(tmp_path / "a") == _drafts(tmp_path / "b")


def test_a_folder_and_the_files_named_by_hand_give_one_text(tree, phantom, tmp_path):
    folder, newest = tree
    record = newest[0]
    by_hand = ["--current", str(phantom / record["current"]), "--prior", str(phantom / record["prior"])]
    assert main(["report", *by_hand, "--out", str(tmp_path / "hand"), "--format", "json", "--device", "cpu"]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "tree"), "--format", "json", "--device", "cpu"]) == 0
    (hand,) = _drafts(tmp_path / "hand").values()
    assert hand["prediction"] == _drafts(tmp_path / "tree")[record["study_uid"]]["prediction"] and hand["prior_used"]


def test_a_prior_of_another_patient_is_not_used_and_the_draft_says_so(tree, phantom, tmp_path):
    _, newest = tree
    one, other = newest
    paths = ["--current", str(phantom / one["current"]), "--prior", str(phantom / other["current"])]
    assert main(["report", *paths, "--out", str(tmp_path / "out"), "--format", "json", "--device", "cpu"]) == 0
    (draft,) = _drafts(tmp_path / "out").values()
    assert not draft["prior_used"] and "another patient identifier" in " ".join(draft["warnings"])


def test_one_bad_patient_is_listed_and_the_others_are_drafted(tree, tmp_path, capsys):
    folder, newest = tree
    write_dicom(folder / "lateral", "Z", view="LATERAL", time=at(0))
    assert main(["report", str(folder), "--out", str(tmp_path / "out"), "--format", "json", "--device", "cpu"]) == 1
    assert len(_drafts(tmp_path / "out")) == len(newest)
    (line,) = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert "no usable frontal picture (views: LATERAL)" in json.loads(line)["reason"]
    assert "1 of 3 studies failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to report on"),
        (["EMPTY"], "no chest radiograph in"),
        (["nowhere"], "nowhere does not exist"),
        (["EMPTY", "--prior", "a.dcm"], "--current, --prior or --lateral were given"),
        (["--prior", "a.dcm"], "nothing to report on"),
    ],
)
def test_wrong_requests_end_in_one_line(tmp_path, capsys, words, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("x")
    words = [word.replace("EMPTY", str(tmp_path / "empty")) for word in words]
    assert main(["report", *words, "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


def test_text_of_the_request_is_refused_for_two_patients(tree, tmp_path, capsys):
    assert main(["report", str(tree[0]), "--indication", "Cough.", "--out", str(tmp_path / "out")]) == 2
    assert "--indication was given for 2 patients" in capsys.readouterr().err
