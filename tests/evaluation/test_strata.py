# SPDX-License-Identifier: Apache-2.0
"""Studies fall into the groups a reader expects, and each group is scored on its own studies."""

from __future__ import annotations

import pytest

from libra_monai.evaluation.strata import find_strata, group_names, score_strata
from libra_monai.metrics import Bleu, RougeL

STUDIES = [
    {"study_id": "a1", "patient_id": "a", "view": "PA"},
    {"study_id": "a2", "patient_id": "a", "view": "AP", "prior": "p", "prior_study_id": "a1", "gap_hours": 5},
    {"study_id": "a3", "patient_id": "a", "view": "AP", "prior": "p", "prior_study_id": "a2", "gap_hours": 24},
    {"study_id": "b2", "patient_id": "b", "view": None, "prior": "p", "prior_study_id": "elsewhere", "gap_hours": None},
]
REFERENCES = ["Clear lungs.", "Small left effusion.", "Edema and a left effusion. No pneumothorax.", "The heart is normal in size."]


def test_groups_of_each_stratum():
    strata = find_strata(STUDIES, REFERENCES)
    assert strata["prior"] == {"with prior": [1, 2, 3], "without prior": [0]}
    assert strata["gap"] == {"under 1 day": [1], "1 to 7 days": [2], "unknown": [3]}
    assert strata["view"] == {"AP": [1, 2], "PA": [0], "unknown": [3]}
    assert strata["projection"] == {"differs from prior": [1], "same as prior": [2], "unknown": [3]}
    assert strata["finding"] == {"Edema": [2], "Pleural Effusion": [1, 2], "none named": [0, 3]}
    assert sorted(row for rows in strata["length"].values() for row in rows) == [0, 1, 2, 3]
    assert list(strata["length"])[0].startswith("0 to 2")


def test_the_view_of_a_prior_outside_the_scored_studies_is_looked_up():
    others = {"elsewhere": {"view": "PA"}}
    strata = find_strata([{**STUDIES[3], "view": "PA"}], REFERENCES[3:], others)
    assert strata["projection"] == {"same as prior": [0]}


def test_a_study_of_several_findings_names_them_all():
    assert group_names(find_strata(STUDIES, REFERENCES), STUDIES)["a3"]["finding"] == "Edema; Pleural Effusion"


def test_a_group_is_scored_as_its_studies_alone():
    drafts = ["Clear.", "Small left effusion.", "Edema.", "The heart is large."]
    metric, alone = RougeL(), RougeL()
    metric.update(drafts, REFERENCES, STUDIES)
    alone.update(drafts[1:], REFERENCES[1:], STUDIES[1:])
    group = score_strata([metric], find_strata(STUDIES, REFERENCES), STUDIES, 50)["prior"]["with prior"]
    assert group["n"] == 3 and group["patients"] == 2
    assert group["metrics"]["rouge_l_coco"]["value"] == pytest.approx(alone.compute()["rouge_l_coco"])
    assert group["metrics"]["rouge_l_coco"]["low"] is None  # fewer than 5 studies


def test_intervals_of_a_group_are_those_of_its_studies():
    studies = [{"study_id": str(i), "prior": "p" if i % 2 else None} for i in range(40)]
    drafts = ["a b c d" if i % 3 else "a x c d" for i in range(40)]
    metric, alone = Bleu(order=1), Bleu(order=1)
    metric.update(drafts, ["a b c d"] * 40, studies)
    alone.update(drafts[1::2], ["a b c d"] * 20, studies[1::2])
    group = score_strata([metric], find_strata(studies, ["a b c d"] * 40), studies, 200)["prior"]["with prior"]
    span = group["metrics"]["bleu_1_coco"]
    assert (span["low"], span["high"]) == pytest.approx(alone.intervals(200)["bleu_1_coco"])
