# SPDX-License-Identifier: Apache-2.0
"""Files of drafts and references: what can be read one way only is read, everything else is one clear line."""

from __future__ import annotations

import json

import pytest

from libra_monai.errors import ConfigError
from libra_monai.evaluation.files import notes
from libra_monai.evaluation.pairs import pair
from libra_monai.evaluation.texts import read_drafts, read_references, references_within


def _write(path, rows):
    if isinstance(rows, str):
        path.write_text(rows, encoding="utf-8", newline="")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_json_lines_csv_and_a_json_list_read_alike(tmp_path):
    rows = [{"study_id": 50414267, "text": "Clear.\nNo edema, no \"mass\"."}, {"study_id": "b", "text": "Line\u2028two"}]
    wanted = {"50414267": rows[0]["text"], "b": rows[1]["text"]}
    assert read_drafts(_write(tmp_path / "a.jsonl", rows)).texts == wanted
    assert read_drafts(_write(tmp_path / "a.json", json.dumps(rows))).texts == wanted
    table = 'study_id,text\n50414267.0,"Clear.\nNo edema, no ""mass""."\nb,"Line\u2028two"\n'
    assert read_drafts(_write(tmp_path / "a.csv", table)).texts == wanted
    assert read_drafts(_write(tmp_path / "b.csv", "\ufeff" + table.replace("study_id,text", "study_id;text")
                              .replace("267.0,", "267.0;").replace("b,", "b;"))).texts == wanted  # fmt: skip


def test_long_and_odd_texts_are_read_whole(tmp_path):
    long = "Small effusion, " * 15_000
    rows = [{"study_id": "a", "text": long}, {"study_id": "b", "text": "\ud83d lung \u202e"}, {"study_id": "c", "text": float("nan")},
            {"study_id": "d", "text": None}, {"study_id": "e"}]  # fmt: skip
    texts = read_drafts(_write(tmp_path / "a.jsonl", rows)).texts
    assert texts["a"] == long and texts["b"] == "\ufffd lung \u202e" and texts["c"] == texts["d"] == texts["e"] == ""
    table = f'study_id,text\na,"{long}"\nb,NaN\nc,\n'
    assert read_drafts(_write(tmp_path / "a.csv", table)).texts == {"a": long, "b": "", "c": ""}


BAD = [
    ("a.jsonl", [{"study_id": "a", "text": "x"}, {"study_id": "a", "text": "y"}], "row 2: study_id 'a' stands twice"),
    ("a.jsonl", [{"study_id": "a", "txt": "x"}], "no key 'prediction' or 'text'.*it has study_id, txt"),
    ("a.jsonl", [{"text": "x"}], "row 1: no study_id"),
    ("a.jsonl", [{"study_id": math, "text": "x"} for math in (float("nan"),)], "row 1: no study_id"),
    ("a.jsonl", [{"study_id": "a", "text": ["x"]}], "row 1: 'text' is list, not text"),
    ("a.jsonl", [{"study_id": "a", "text": "x", "finding_labels": {"Edema": 0.5}}], "'finding_labels.Edema' is 0.5"),
    ("a.jsonl", '{"study_id": "a", "text": "x"}\n{"study_id"', "line 2: not JSON"),
    ("a.jsonl", "[1, 2]", "row 0: no object"),
    ("a.jsonl", "", "no rows"),
    ("a.csv", "study_id,text\na,x,y\n", "line 2: more cells than columns"),
    ("a.csv", "id,text\na,x\n", "line 2: no study_id"),
]


@pytest.mark.parametrize(("name", "content", "says"), BAD)
def test_what_cannot_be_read_is_said_with_file_place_and_remedy(tmp_path, name, content, says):
    with pytest.raises(ConfigError, match=says) as error:
        read_drafts(_write(tmp_path / name, content))
    assert name in str(error.value) and error.value.remedy and "\n" not in str(error.value)


def test_missing_files_and_wrong_encodings_are_said(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_drafts(tmp_path / "none.jsonl")
    (tmp_path / "latin.csv").write_bytes("study_id,text\na,naïve\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 at byte 18"):
        read_drafts(tmp_path / "latin.csv")


def test_labels_that_are_nan_count_as_not_mentioned(tmp_path):
    rows = [{"study_id": "a", "text": "x", "finding_labels": {"Edema": float("nan"), "Fracture": 1.0}, "gap_hours": float("nan")}]
    record = read_references(_write(tmp_path / "a.jsonl", rows)).records["a"]
    assert record["finding_labels"] == {"Edema": None, "Fracture": 1} and record["gap_hours"] is None


def test_a_datalist_gives_records_and_names_items_that_are_none(tmp_path):
    items = [{"study_id": "a", "current": "a.png", "findings": "Clear.", "view": "PA"}, {"study_id": "b"},
             {"study_id": "c", "current": "c.png", "finding_labels": {"Edema": float("nan")}}]  # fmt: skip
    found = read_references(_write(tmp_path / "d.json", json.dumps({"test": items})))
    assert found.texts == {"a": "Clear."} and found.records["a"]["view"] == "PA" and len(found.unusable) == 2
    with pytest.raises(ConfigError, match="no studies in split 'training'"):
        read_references(tmp_path / "d.json", split="training")


def _texts(tmp_path, name, texts):
    return read_drafts(_write(tmp_path / name, [{"study_id": s, "text": t} for s, t in texts.items()]))


def test_order_does_not_matter_and_what_is_missing_is_counted(tmp_path):
    drafts = _texts(tmp_path, "p.jsonl", {"c": "3", "a": "", "z": "?"})
    references = _texts(tmp_path, "r.jsonl", {"a": "1", "b": "2", "c": "3", "d": ""})
    pairs = pair(drafts, references)
    assert [s["study_id"] for s in pairs.studies] == ["a", "c"] and pairs.drafts == ["", "3"]
    assert pairs.coverage["references_without_draft"] == {"n": 1, "first": ["b"]}
    assert pairs.coverage["drafts_without_reference"] == {"n": 1, "first": ["z"]}
    assert len(notes(pairs.coverage)) == 3
    assert pair(drafts, references, "empty").drafts == ["", "", "3"]


def test_files_without_a_common_study_are_refused_with_an_example_of_each(tmp_path):
    with pytest.raises(ConfigError, match="such as 's1'.*such as '1'"):
        pair(_texts(tmp_path, "p.jsonl", {"s1": "a"}), _texts(tmp_path, "r.jsonl", {"1": "a"}))


def test_repeated_rows_with_one_text_count_once(tmp_path):
    rows = [{"study_id": "a", "text": "x"}] * 3
    found = read_drafts(_write(tmp_path / "p.jsonl", rows))
    assert found.texts == {"a": "x"} and found.repeated == 2


def test_references_may_stand_beside_the_drafts(tmp_path):
    path = _write(tmp_path / "p.jsonl", [{"study_id": "a", "prediction": "x", "reference": "y", "marks": ["M."]}])
    assert references_within(path).texts == {"a": "y"} and read_drafts(path).marks == ["M."]
    with pytest.raises(ConfigError, match="Give the references as --references"):
        references_within(_write(tmp_path / "q.jsonl", [{"study_id": "a", "prediction": "x"}]))
