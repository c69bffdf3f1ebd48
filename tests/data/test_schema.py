# SPDX-License-Identifier: Apache-2.0
"""The record's fields, the shipped JSON Schema, and their agreement."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from libra_monai.data import load_records
from libra_monai.data.schema import FIELDS, SPLITS, complete, json_schema
from libra_monai.errors import ConfigError

MINIMAL = {"study_id": "1", "current": "a.png"}
EARLIER = {"study_id": "0", "image": "b.png", "gap_hours": 1.5, "findings": None, "impression": "x"}
GOOD = [
    MINIMAL,
    MINIMAL | dict.fromkeys(set(FIELDS) - set(MINIMAL)),
    MINIMAL | {"earlier": [EARLIER], "skipped_priors": [{"study_id": "0", "reason": "r"}], "image_uids": ["1.2"], "age": 4.5},
    MINIMAL | {"finding_labels": {"Edema": -1, "Fracture": None}, "statements": [{"finding": "Edema"}], "gap_hours": 0},
]
BAD = [
    ({"study_id": "1"}, "current"),
    (MINIMAL | {"curent": "a"}, "curent"),
    (MINIMAL | {"current": None}, "current"),
    (MINIMAL | {"sex": ""}, "sex"),
    (MINIMAL | {"age": "50"}, "age"),
    (MINIMAL | {"age": True}, "age"),
    (MINIMAL | {"age": -1}, "age"),
    (MINIMAL | {"gap_hours": -0.1}, "gap_hours"),
    (MINIMAL | {"earlier": {}}, "earlier"),
    (MINIMAL | {"earlier": ["x"]}, "earlier[0]"),
    (MINIMAL | {"earlier": [EARLIER, EARLIER | {"image": None}]}, "earlier[1].image"),
    (MINIMAL | {"earlier": [EARLIER | {"gap_hours": -1}]}, "earlier[0].gap_hours"),
    (MINIMAL | {"earlier": [EARLIER | {"text": "x"}]}, "earlier[0].text"),
    (MINIMAL | {"finding_labels": {"Edema": 2}}, "finding_labels.Edema"),
    (MINIMAL | {"image_uids": [7]}, "image_uids[0]"),
    (MINIMAL | {"unread_views": [""]}, "unread_views[0]"),
    (MINIMAL | {"skipped_priors": [{"study_id": "0"}]}, "skipped_priors[0].reason"),
]


def test_the_shipped_schema_is_the_one_of_the_code():
    shipped = json.loads(files("libra_monai.data").joinpath("datalist_schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema()
    Draft202012Validator.check_schema(shipped)


@pytest.mark.parametrize("item", GOOD)
def test_good_items_pass_both_checks(item):
    Draft202012Validator(json_schema()).validate({"training": [item]})
    assert set(complete(item, "x")) == set(FIELDS)


@pytest.mark.parametrize(("item", "field"), BAD, ids=[field for _, field in BAD])
def test_bad_items_fail_both_checks_and_the_field_is_named(item, field):
    assert not Draft202012Validator(json_schema()).is_valid({"training": [item]})
    with pytest.raises(ConfigError, match=r"list\.json, training\[3\]") as error:
        complete(item, "list.json, training[3]")
    assert f"'{field}'" in str(error.value)


def test_a_bad_item_of_a_file_is_named_and_the_others_load(tmp_path):
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"test": [MINIMAL, MINIMAL | {"study_id": "2", "gap_hours": -3}, MINIMAL | {"study_id": "3"}]}))
    records = load_records(path, "test")
    assert [record["study_id"] for record in records] == ["1", "2", "3"]
    assert records[1]["failure"].file == f"{path}, test[1]" and "gap_hours" in records[1]["failure"].reason


def test_phantom_datalists_fulfil_the_schema(phantom):
    content = json.loads((phantom / "datalist.json").read_text(encoding="utf-8"))
    Draft202012Validator(json_schema()).validate(content)
    assert sum(len(content[split]) for split in SPLITS) > 12
