# SPDX-License-Identifier: Apache-2.0
"""The reader of findings knows denial, resolution and side in ordinary radiology sentences."""

from __future__ import annotations

import pytest

from libra_monai.metrics import FindingF1
from libra_monai.metrics.labelers.findings import Mention, present_findings, read_findings

CASES = [
    ("Small right pleural effusion.", {("Pleural Effusion", "right")}),
    ("No pleural effusion or pneumothorax.", set()),
    ("No change in the small right pleural effusion.", {("Pleural Effusion", "right")}),
    ("The effusion on the left has not significantly changed.", {("Pleural Effusion", "left")}),
    ("Right and left pleural effusions.", {("Pleural Effusion", "bilateral")}),
    ("Right greater than left pleural effusions.", {("Pleural Effusion", "bilateral")}),
    ("Bibasilar atelectasis.", {("Atelectasis", "bilateral")}),
    ("Small right effusion and left pneumothorax.", {("Pleural Effusion", "right"), ("Pneumothorax", "left")}),
    ("Consolidation in the left lung and small right effusion.",
     {("Consolidation", "left"), ("Pleural Effusion", "right")}),
    ("No evidence of pneumonia, but there is left basilar atelectasis.", {("Atelectasis", "left")}),
    ("The previously seen left pneumothorax has resolved.", set()),
    ("Interval resolution of the pulmonary edema.", set()),
    ("The left effusion has partially resolved.", {("Pleural Effusion", "left")}),
    ("Interval removal of the right chest tube without pneumothorax.", set()),
    ("The endotracheal tube has been removed.", set()),
    ("ET tube terminates above the carina.", {("Endotracheal Tube", None)}),
    ("Dobbhoff tube courses below the diaphragm.", {("Gastric Tube", None)}),
    ("NG tube courses below the diaphragm, tip not visualized.", {("Gastric Tube", None)}),
    ("The tip of the nasogastric tube is not included on this image.", {("Gastric Tube", None)}),
    ("An enteric tube passes into the stomach with its tip beyond the field of view.", {("Gastric Tube", None)}),
    ("Nasogastric tube is no longer seen.", set()),
    ("Right-sided PICC line ends in the SVC.", {("Central Line", "right")}),
    ("Left chest wall pacemaker with leads in place.", {("Pacemaker", "left")}),
    ("The heart is not enlarged.", set()),
    ("Heart size is normal.", set()),
    ("The cardiac silhouette is mildly enlarged.", {("Cardiomegaly", None)}),
    ("Moderate cardiomegaly.", {("Cardiomegaly", None)}),
    ("Mild pulmonary edema.", {("Edema", "bilateral")}),
    ("There is a 6 mm nodule in the right upper lobe.", {("Lung Lesion", "right")}),
    ("A pericardial effusion is suspected.", set()),
    ("The lungs are clear.", set()),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_findings_and_sides_are_read(text, expected):
    assert present_findings(text) == expected


def test_status_tells_denied_from_gone():
    assert read_findings("No pneumothorax.") == [Mention("Pneumothorax", None, "absent")]
    assert read_findings("The right chest tube has been removed.") == [
        Mention("Chest Drain", "right", "gone", change="removed")
    ]


@pytest.mark.parametrize("text", [None, "", "   ", "???"])
def test_nothing_is_read_from_nothing(text):
    assert read_findings(text) == []


def test_f1_counts_side_and_without_side():
    metric = FindingF1()
    metric.update(
        ["Left pleural effusion. Cardiomegaly.", "Lungs are clear."],
        ["Right pleural effusion. Cardiomegaly.", "Right pneumothorax."],
        [{"study_id": "a"}, {"study_id": "b"}],
    )
    assert metric.compute() == pytest.approx(
        {"finding_side_micro_f1": 2 / 5, "finding_micro_f1": 4 / 5, "laterality_swap_rate": 1}
    )


def test_truth_of_the_record_replaces_the_reference_text():
    study = {"study_id": "a", "statements": [
        {"finding": "Edema", "side": "bilateral", "severity": "small", "change": "new"},
        {"finding": "Pneumothorax", "side": "left", "severity": None, "change": "resolved"},
    ]}  # fmt: skip
    metric = FindingF1(truth=True)
    metric.update(["New mild pulmonary edema."], ["text that says nothing"], [study])
    assert metric.compute()["finding_side_micro_f1"] == 1
