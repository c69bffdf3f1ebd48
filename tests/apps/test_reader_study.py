# SPDX-License-Identifier: Apache-2.0
"""Reader studies: blinded, balanced, kept whole, and counted right."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

import pytest

from libra_monai.apps.main import main
from libra_monai.apps.monailabel.readers.reader_results import agreement_csv, answers_csv, results
from libra_monai.apps.monailabel.readers.reader_study import CASES, ReaderStudy
from libra_monai.errors import ConfigError

SYSTEMS = ("alpha", "beta")


def _case(number, **more):
    drafts = [{"system": name, "findings": f"{name.upper()} text {number}.", "model": f"{name} 1", "evidence": []} for name in SYSTEMS]
    return {"case": f"c{number}", "image": f"s{number}", "prior": None, "drafts": drafts} | more


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / CASES).write_text("".join(json.dumps(_case(n)) + "\n" for n in range(20)), encoding="utf-8")
    return ReaderStudy(folder)


def _give(study, reader, preferred, errors=None, cases=None):
    """Answer as somebody who knows the systems would."""
    for case in study.order(reader):
        if cases is not None and case.case not in cases:
            continue
        sides = {case.system(side): side for side in ("left", "right")}
        wanted = preferred(case.case)
        found = {sides[name]: names for name, names in (errors(case.case) if errors else {}).items()}
        study.answer(reader, case.case, sides.get(wanted, "equal"), found, 2.0)


def test_each_system_stands_on_the_left_in_half_of_the_cases(study):
    lefts = Counter(case.system("left") for case in study.order("ann"))
    assert lefts == {"alpha": 10, "beta": 10}


def test_order_and_sides_follow_from_seed_and_reader_alone(study):
    seen = [(case.case, case.system("left")) for case in study.order("ann")]
    assert [(case.case, case.system("left")) for case in ReaderStudy(study.folder).order("ann")] == seen
    assert [(case.case, case.system("left")) for case in study.order("bob")] != seen
    (study.folder / "study.json").write_text('{"seed": 1}')
    assert [(case.case, case.system("left")) for case in ReaderStudy(study.folder).order("ann")] != seen
    assert sorted(case for case, _ in seen) == sorted(case["case"] for case in study.cases)


def test_what_a_reader_gets_names_no_system(study):
    told = json.dumps([case.blinded() for case in study.order("ann")])
    assert not any(name in told for name in SYSTEMS) and "evidence" not in told and "model" not in told


def test_marks_do_not_tell_the_drafts_apart(tmp_path):
    plain, longer = "GENERATED, NOT REVIEWED.", "GENERATED, NOT REVIEWED - synthetic."
    drafts = [{"system": "a", "findings": "x", "marks": [plain]}, {"system": "b", "findings": "y", "marks": [longer]}]
    (tmp_path / CASES).write_text(json.dumps({"case": "1", "drafts": drafts}))
    study = ReaderStudy(tmp_path)
    assert study.marks == [longer] and "mark" not in json.dumps(study.order("ann")[0].blinded())


def test_an_answer_is_kept_by_system_and_told_by_side(study):
    case = study.order("ann")[0]
    seen = study.answer("ann", case.case, "right", {"left": ["wrong_side", "omission"]}, 12.34, "as seen")
    assert seen["preference"] == "right" and seen["errors"] == {"left": ["omission", "wrong_side"], "right": []}
    kept = study.answers("ann")[case.case]
    assert kept["preferred"] == case.system("right") and kept["errors"][case.system("left")] == ["omission", "wrong_side"]
    assert kept["seconds"] == 12.3 and kept["revisions"] == 0 and kept["comment"] == "as seen"


def test_a_later_answer_replaces_and_adds_its_seconds(study):
    case = study.order("ann")[0].case
    study.answer("ann", case, "left", {}, 10.0)
    study.answer("ann", case, "equal", {}, 5.5)
    kept = study.answers("ann")[case]
    assert (kept["preferred"], kept["seconds"], kept["revisions"]) == ("equal", 15.5, 1)


def test_a_write_that_fails_leaves_the_answers_before(study, monkeypatch):
    first, second = study.order("ann")[:2]
    study.answer("ann", first.case, "left", {}, 1.0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError):
        study.answer("ann", second.case, "left", {}, 1.0)
    assert list(study.answers("ann")) == [first.case] and [path.name for path in (study.folder / "answers").iterdir()] == ["ann.json"]


def test_cases_that_changed_are_not_mixed_with_answers_to_the_old(study):
    study.answer("ann", "c0", "left", {}, 1.0)
    (study.folder / CASES).write_text(json.dumps(_case(0)) + "\n")
    with pytest.raises(ConfigError, match="has changed since ann began"):
        ReaderStudy(study.folder).answers("ann")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": "lefft"}, "Did you mean 'left'"),
        ({"errors": {"left": ["omision"]}}, "Did you mean 'omission'"),
        ({"errors": {"top": []}}, "side 'top'"),
        ({"seconds": -1.0}, "no seconds"),
        ({"seconds": float("nan")}, "no seconds"),
        ({"case": "c99"}, "'c99' is not in first"),
        ({"reader": "../ann"}, "no name of a reader"),
        ({"reader": "Dr. Ann"}, "no names of persons"),
        ({"comment": "x" * 2001}, "longer than 2000"),
    ],
)
def test_answers_that_make_no_sense_are_refused(study, change, message):
    with pytest.raises(ConfigError, match=message):
        study.answer(**{"reader": "ann", "case": "c0", "preference": "left", "errors": {}, "seconds": 1.0} | change)
    assert study.readers() == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("", "has no cases"),
        (json.dumps(_case(1)) + "\n" + json.dumps(_case(1)), "line 2: case 'c1' stands twice"),
        (json.dumps(_case(1, drafts=[])), "line 1: not two `drafts`"),
        (json.dumps(_case(1, drafts=[{"system": "a"}, {"system": "a"}])), "without two different names"),
        (json.dumps(_case(1, drafts=[{"system": "a", "findings": 3}, {"system": "b"}])), "no text"),
        (json.dumps({"drafts": []}), "no `case`"),
    ],
)
def test_files_that_are_no_study_say_where(tmp_path, lines, message):
    (tmp_path / CASES).write_text(lines)
    with pytest.raises(ConfigError, match=message):
        ReaderStudy(tmp_path)


def test_results_count_by_system_whatever_the_side(study):
    _give(study, "ann", lambda case: "alpha" if int(case[1:]) < 15 else "equal", lambda case: {"beta": ["wrong_change"]})
    told = results(study)
    assert told["preferred"] == {"alpha": 15, "beta": 0, "equal": 5}
    assert told["errors"]["beta"]["wrong_change"] == 20 and told["errors"]["alpha"]["wrong_change"] == 0
    assert told["readers"][0]["seconds_median"] == 2.0 and told["readers"][0]["seconds_total"] == 40.0


def test_kappa_of_a_worked_example(study):
    # 20 cases. ann: alpha 10, beta 10. bob follows her in 8 + 6: observed 0.7; bob says alpha 12, beta 8; chance 0.5. So 0.4.
    _give(study, "ann", lambda case: "alpha" if int(case[1:]) < 10 else "beta")
    _give(study, "bob", lambda case: "alpha" if int(case[1:]) < 8 or int(case[1:]) in (10, 11, 12, 13) else "beta")
    row = results(study)["agreement"][0]
    assert row == {"measure": "preference", "kind": "cohen", "readers": "ann bob", "n": 20, "observed": 0.7, "kappa": 0.4}


def test_three_readers_have_fleiss_kappa_on_what_all_have_read(study):
    _give(study, "ann", lambda case: "alpha")
    _give(study, "bob", lambda case: "beta" if case == "c0" else "alpha")
    _give(study, "cyd", lambda case: "alpha", cases=[f"c{n}" for n in range(10)])
    rows = [row for row in results(study)["agreement"] if row["measure"] == "preference"]
    assert [(row["kind"], row["n"]) for row in rows] == [("cohen", 20), ("cohen", 10), ("cohen", 10), ("fleiss", 10)]
    # 10 cases of 3: one 2-1, nine 3-0. Observed (9 + 1/3) / 10; chance (29/30)^2 + (1/30)^2
    chance = (29 / 30) ** 2 + (1 / 30) ** 2
    assert rows[-1]["kappa"] == pytest.approx(((9 + 1 / 3) / 10 - chance) / (1 - chance), abs=1e-4)


def test_errors_are_judged_once_a_draft(study):
    _give(study, "ann", lambda case: "alpha", lambda case: {"beta": ["omission"]})
    _give(study, "bob", lambda case: "alpha", lambda case: {"beta": ["omission"]} if int(case[1:]) < 10 else {})
    row = next(row for row in results(study)["agreement"] if row["measure"] == "omission")
    assert row["n"] == 40 and row["observed"] == 0.75 and row["kappa"] == 0.5  # chance 1/2 * 1/4 + 1/2 * 3/4


def test_tables_hold_every_answer_and_no_formula(study):
    case = study.order("ann")[3].case
    study.answer("ann", case, "left", {"right": ["other"]}, 4.0, "=HYPERLINK(1)")
    row = next(csv.DictReader(io.StringIO(answers_csv(study))))
    assert (row["case"], row["place"], row["seconds"], row["right_other"], row["left_other"]) == (case, "4", "4.0", "1", "0")
    assert row["comment"] == "'=HYPERLINK(1)" and row["preferred"] == row["left"]
    assert agreement_csv(study).splitlines() == ["measure,kind,readers,n,observed,kappa"]


def _predictions(path, model, studies):
    same = {"findings": None, "model": model, "marks": ["M."], "prior_study_id": "p"}
    lines = [{"study_id": study, "prediction": f"{model} on {study}.", **same} for study in studies]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_a_study_is_made_of_two_files_and_its_results_told(tmp_path, capsys):
    first = _predictions(tmp_path / "a.jsonl", "m 1", ["s1", "s2", "s3"])
    second = _predictions(tmp_path / "b.jsonl", "m 2", ["s3", "s2", "s4"])
    folder = tmp_path / "two"
    assert main(["reader-study", "make", "--first", first, "--second", second, "--seed", "3", "--out", str(folder)]) == 0
    assert "2 cases" in capsys.readouterr().out
    study = ReaderStudy(folder)
    assert [case["case"] for case in study.cases] == ["s2", "s3"] and study.seed == 3 and study.systems == ["m 1", "m 2"]
    assert study.cases[0]["drafts"][0]["findings"] == "m 1 on s2." and study.cases[0]["prior"] == "p"
    _give(study, "ann", lambda case: "m 2")
    assert main(["reader-study", "results", str(folder)]) == 0
    assert "preferred: m 1 0, m 2 2, equal 0" in capsys.readouterr().out
    assert (folder / "answers.csv").read_text().count("\n") == 3


def test_two_files_of_one_model_need_names(tmp_path, capsys):
    first = _predictions(tmp_path / "a.jsonl", "m 1", ["s1"])
    assert main(["reader-study", "make", "--first", first, "--second", first, "--out", str(tmp_path / "same")]) == 2
    assert "--names" in capsys.readouterr().err


@pytest.fixture
def client(study):
    """The routes over the study, in a server without authentication."""
    fastapi = pytest.importorskip("fastapi", reason="the label app is not installed")
    from fastapi.testclient import TestClient

    from libra_monai.apps.monailabel.readers.reader_routes import router

    app = fastapi.FastAPI()
    app.include_router(router(study.folder.parent, lambda: None, lambda: None))
    return TestClient(app)


def _put(client, case, **more):
    body = {"reader": "ann", "preference": "left", "errors": {"left": ["omission"]}, "seconds": 3.5} | more
    return client.put(f"/libra/reader-study/first/answers/{case}", json=body)


def test_results_are_told_only_when_nobody_can_be_unblinded_any_more(client, study):
    assert client.get("/libra/reader-study/first/results").status_code == 409  # nobody has answered
    for number, case in enumerate(study.order("ann")):
        told = _put(client, case.case)
        assert told.status_code == 200 and told.json()["answered"] == number + 1
        done = number == 19
        for name in ("results", "answers.csv", "agreement.csv"):
            assert client.get(f"/libra/reader-study/first/{name}").status_code == (200 if done else 409)
    _put(client, "c0", reader="bob")
    refused = client.get("/libra/reader-study/first/answers.csv")
    assert refused.status_code == 409 and "bob has not finished" in refused.json()["detail"] and "alpha" not in refused.text


@pytest.mark.parametrize(
    ("path", "status"),
    [("none?reader=ann", 404), ("first?reader=../ann", 422), ("first?reader=Dr.%20Ann", 422), ("first", 422), ("..%2Ffirst?reader=ann", 404)],
)
def test_what_is_no_study_and_no_reader_is_refused(client, path, status):
    assert client.get(f"/libra/reader-study/{path}").status_code == status


@pytest.mark.parametrize(
    "wrong",
    [{"preference": "top"}, {"errors": {"left": ["x"]}}, {"errors": {"mid": []}}, {"seconds": -1}, {"reader": "../x"}],
)
def test_answers_that_make_no_sense_are_refused_over_http(client, study, wrong):
    assert _put(client, "c0", **wrong).status_code == 422 and _put(client, "c99").status_code == 422
    assert study.readers() == []


def test_a_reader_who_comes_back_finds_the_answers_given(client, study):
    _put(client, "c3", comment="blurred")
    cases = client.get("/libra/reader-study/first?reader=ann").json()["cases"]
    given = {case["case"]: case["answer"] for case in cases if case["answer"]}
    wanted = {"preference": "left", "errors": {"left": ["omission"], "right": []}, "seconds": 3.5}
    assert given["c3"] == {**wanted, "comment": "blurred", "revisions": 0}
    assert [case["case"] for case in cases] == [case.case for case in study.order("ann")] and len(given) == 1
