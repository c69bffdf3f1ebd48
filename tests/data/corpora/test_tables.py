# SPDX-License-Identifier: Apache-2.0
"""Values of the corpora's tables are read as they were meant, and broken tables are named."""

from __future__ import annotations

import gzip
from datetime import datetime

import pytest

from libra_monai.data.corpora.tables import decode, label, labels_by_study, moment, natural_key, number, repair, rows
from libra_monai.errors import ConfigError


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("21800506", "213014.531", datetime(2180, 5, 6, 21, 30, 14, 531000)),
        ("21800506", "13.4", datetime(2180, 5, 6, 0, 0, 13, 400000)),  # leading zeros are lost
        ("21800506", "930", datetime(2180, 5, 6, 0, 9, 30)),
        ("21800506", "0.0", datetime(2180, 5, 6)),
        ("21800506.0", "93015.0", datetime(2180, 5, 6, 9, 30, 15)),
        ("2180-05-06", "09:30:15", datetime(2180, 5, 6, 9, 30, 15)),
        ("21800506", "235960", datetime(2180, 5, 6, 23, 59, 59)),  # a leap second
        ("21800506", "", datetime(2180, 5, 6)),
        ("21800506", "996199", datetime(2180, 5, 6)),
        ("21801306", "93015", None),
        ("2180", "93015", None),
        ("", "", None),
        ("yesterday", "noon", None),
    ],
)
def test_date_and_time_make_one_moment(date, time, expected):
    assert moment(date, time) == expected


def test_text_identifiers_are_ordered_by_their_numbers():
    names = ["study10", "study2", "study1", "x", "10", "9", "study2b"]
    assert sorted(names, key=natural_key) == ["9", "10", "study1", "study2", "study2b", "study10", "x"]


@pytest.mark.parametrize(("text", "value"), [("1.0", 1), ("0.0", 0), ("-1.0", -1), ("", None), ("2", None), ("nan", None), ("x", None)])
def test_labels_are_present_absent_uncertain_or_unknown(text, value):
    assert label(text) == value


def test_numbers_are_finite_or_none():
    assert [number(text) for text in ("10", "1e2", "", "inf", "nan", "ten")] == [10.0, 100.0, None, None, None, None]


def test_bytes_that_are_not_utf_8_are_read_as_windows_1252():
    assert decode("Größe".encode()) == ("Größe", True)
    assert decode("Größe “here”".encode("cp1252")) == ("Größe “here”", False)
    assert decode(b"a\x81b") == ("a\ufffdb", False)
    assert decode(b"\xef\xbb\xbfplain") == ("plain", True)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_tables_are_read_by_content_not_by_name(tmp_path, zipped, name):
    text = 'a,b,c\n1,"two, or\nthree",3\n\n4,5,6\n'.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(text) if zipped else text)
    assert list(rows(tmp_path / name, ["c", "a"], ["missing", "b"])) == [("3", "1", "", "two, or\nthree"), ("6", "4", "", "5")]
    assert list(rows(tmp_path / name, ["b"])) == [("two, or\nthree",), ("5",)]


def test_values_that_are_not_utf_8_can_be_repaired(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\nGr\xf6\xdfe\n")
    ((value,),) = rows(tmp_path / "t.csv", ["a"])
    assert repair(value) == ("Größe", False) and repair("ö") == ("ö", True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"a,x\n1,2\n", "column 'b' is missing"),
        (b"a,b\n1,2\n3\n", "line 3 is cut short"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 50_000)[:-40], "breaks off"),
        (b"\x1f\x8bnot really", "breaks off"),
    ],
)
def test_a_broken_table_is_named_with_its_remedy(tmp_path, content, said):
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as error:
        list(rows(tmp_path / "t.csv.gz", ["a", "b"]))
    assert "t.csv.gz" in str(error.value) and error.value.remedy


def test_the_first_of_repeated_label_rows_counts(tmp_path):
    (tmp_path / "t.csv").write_text("subject_id,study_id,Edema,Fracture\n1,2,1.0,\n1,2,0.0,0.0\n")
    assert labels_by_study(tmp_path / "t.csv", ("subject_id", "study_id")) == {("1", "2"): {"Edema": 1, "Fracture": None}}
