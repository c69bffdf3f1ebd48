# SPDX-License-Identifier: Apache-2.0
"""The change labeler knows how radiologists compare; its metrics count flips, false comparisons and swapped sides."""

from __future__ import annotations

import itertools

import pytest

from libra_monai.metrics import ChangeF1, FalseComparison, FindingF1
from libra_monai.metrics.labelers import present_findings, read_changes
from libra_monai.metrics.labelers.changes import change_claims, claims_change

EFFUSION = "Pleural Effusion"
CASES = {
    "The left pleural effusion is larger, while the right has decreased.":
        {(EFFUSION, "left", "worsened"), (EFFUSION, "right", "improved")},
    "Right pleural effusion, previously moderate, is now large.": {(EFFUSION, "right", "worsened")},
    "Nodule in the left upper lobe measures 8 mm, previously 6 mm.": {("Lung Lesion", "left", "worsened")},
    "There is a right pneumothorax measuring 2 cm, decreased from 3 cm.": {("Pneumothorax", "right", "improved")},
    "No increase in the left pleural effusion.": {(EFFUSION, "left", "stable")},
    "Pulmonary edema has not significantly changed.": {("Edema", "bilateral", "stable")},
    "The right pneumothorax has not resolved.": {("Pneumothorax", "right", "stable")},
    "Right effusion has nearly resolved.": {(EFFUSION, "right", "improved")},
    "Near complete resolution of the left effusion.": {(EFFUSION, "left", "improved")},
    "Persistent but improved pulmonary edema.": {("Edema", "bilateral", "improved")},
    "Previously seen right pneumothorax is not visualized.": {("Pneumothorax", "right", "resolved")},
    "Small left effusion, not seen on the previous examination.": {(EFFUSION, "left", "new")},
    "There is no longer a right pneumothorax.": {("Pneumothorax", "right", "resolved")},
    "Patient is status post extubation.": {("Endotracheal Tube", None, "removed")},
    "ETT, NGT and right IJ line are unchanged in position.":
        {("Endotracheal Tube", None, "stable"), ("Gastric Tube", None, "stable"), ("Central Line", "right", "stable")},
    "Interval placement of a left chest tube with resolution of the pneumothorax.":
        {("Chest Drain", "left", "new"), ("Pneumothorax", None, "resolved")},
    "The cardiac silhouette remains enlarged.": {("Cardiomegaly", None, "stable")},
    "The heart has returned to normal size.": {("Cardiomegaly", None, "resolved")},
    "The heart is enlarged.": set(),
    "The heart size is mildly increased.": set(),
    "Heart size is increased compared to the prior study.": {("Cardiomegaly", None, "worsened")},
    "The heart has become mildly enlarged since the prior study.": {("Cardiomegaly", None, "new")},
    "Heart size is normal and unchanged.": set(),
    "Bilateral opacities, worse on the right.": set(),
    "Left greater than right pleural effusions.": set(),
    "No new consolidation.": set(),
    "No pneumothorax.": set(),
    "Decreased lung volumes with increased bibasilar atelectasis.": {("Atelectasis", "bilateral", "worsened")},
    "Left lower lobe opacity.": set(),
    "There is a small effusion on the left. This has increased since the prior.": {(EFFUSION, "left", "worsened")},
    "A right central line was removed and a left one was placed.":
        {("Central Line", "right", "removed"), ("Central Line", "left", "new")},
    "Right chest tube in place. The tube has been removed in the interval. No pneumothorax.":
        {("Chest Drain", "right", "removed")},
    "No pneumothorax after chest tube removal.": {("Chest Drain", None, "removed")},
    "Edema has given way to clear lungs.": {("Edema", "bilateral", "resolved")},
    "Pulmonary edema has given way to right consolidation.": {("Edema", "bilateral", "resolved")},
    "Gastric tube out.": {("Gastric Tube", None, "removed")},
    "The enteric tube is now out.": {("Gastric Tube", None, "removed")},
    "Gastric tube has been taken out.": {("Gastric Tube", None, "removed")},
    "Right chest tube is out and left chest tube remains.":
        {("Chest Drain", "right", "removed"), ("Chest Drain", "left", "stable")},
    "An NG tube is seen with its tip out of the field of view.": set(),
    "New right lower lobe consolidation, likely pneumonia.":
        {("Consolidation", "right", "new"), ("Pneumonia", "right", "new")},
    "New left opacity, possibly pneumonia.": {("Lung Opacity", "left", "new")},
    "Left lower lobe opacity, likely atelectasis.": set(),
    "Stable right effusion with atelectasis, likely pneumonia.": {(EFFUSION, "right", "stable")},
    "Improved aeration at the left base with residual atelectasis.": {("Atelectasis", "left", "improved")},
    "Improved aeration with no effusion.": set(),
    "The endotracheal tube has been replaced.": {("Endotracheal Tube", None, "new")},
    "Interval exchange of the right chest tube.": {("Chest Drain", "right", "new")},
    "The NG tube was exchanged for a feeding tube.": {("Gastric Tube", None, "new")},
    "Right IJ catheter has been exchanged for a left PICC.":
        {("Central Line", "right", "removed"), ("Central Line", "left", "new")},
    "ET tube has been replaced by a tracheostomy tube.": {("Endotracheal Tube", None, "removed"), ("Support Devices", None, "new")},
    "The ET tube should be replaced.": set(),
    "There is more effusion on the right than on the left.": set(),
    "Less likely pneumonia.": set(),
    "Right lower lobe opacity, not present on ___.": {("Lung Opacity", "right", "new")},
    "Left lower lobe consolidation seen on May 3 has cleared.": {("Consolidation", "left", "resolved")},
    "Mild cardiomegaly and moderate edema, improved.": {("Edema", "bilateral", "improved")},
    "Status post aortic valve replacement.": set(),
    "A chest tube remains.\nThe ET tube has been\nwithdrawn.":
        {("Chest Drain", None, "stable"), ("Endotracheal Tube", None, "removed")},
}  # fmt: skip


@pytest.mark.parametrize("text", CASES, ids=str)
def test_changes_are_read(text):
    assert change_claims(text) == CASES[text]


NAMES = {
    ("Pneumothorax", "right"): ("right apical pneumothorax", "pneumothorax on the right"),
    (EFFUSION, "left"): ("left-sided pleural effusion", "pleural fluid at the left base"),
    ("Edema", "bilateral"): ("interstitial edema",),
}
FRAMES = {
    "new": ("New {}.", "{} has developed.", "{} was not present on the prior study.", "There is now a small {}."),
    "worsened": ("{} has enlarged.", "Interval increase in {}.", "Progression of the {}.", "{} is more extensive."),
    "improved": ("Resolving {}.", "{} has partially cleared.", "Reduction in the {}.", "{} is less pronounced."),
    "stable": ("{} persists.", "{} is neither larger nor smaller.", "Again seen is a {}.", "No change in the {}."),
    "resolved": ("{} has disappeared.", "Interval resolution of {}.", "The prior {} is no longer evident."),
    None: ("{} is noted.", "Moderate {}.", "Findings include a {}."),
}
CROSSED = [
    (frame.format(name), (*key, change))
    for change, frames in FRAMES.items()
    for frame, (key, names) in itertools.product(frames, NAMES.items())
    for name in names
]


@pytest.mark.parametrize(("text", "expected"), CROSSED, ids=[text for text, _ in CROSSED])
def test_any_name_fits_any_frame(text, expected):
    assert [(line.finding, line.side, line.change) for line in read_changes(text)] == [expected]


def test_statements_joined_in_one_sentence_keep_their_own_change():
    parts = [
        ("the right pleural effusion has increased", (EFFUSION, "right", "worsened")),
        ("left lower lobe consolidation is unchanged", ("Consolidation", "left", "stable")),
        ("pulmonary edema has improved", ("Edema", "bilateral", "improved")),
        ("the right apical pneumothorax has resolved", ("Pneumothorax", "right", "resolved")),
    ]
    for (one, a), (two, b) in itertools.permutations(parts, 2):
        for joint in ("{} and {}.", "{}, but {}.", "{}; {}.", "{} while {}.", "Although {}, {}.", "{}, {}."):
            assert change_claims(joint.format(one, two)) == {a, b}, joint.format(one, two)


def test_a_line_has_severity_and_one_line_stands_for_both_mentions():
    text = "Small right pleural effusion. The right effusion has increased. Left effusion has increased."
    (line,) = read_changes(text)
    assert (line.finding, line.side, line.severity, line.change) == (EFFUSION, "bilateral", "small", "worsened")


def test_change_f1_with_and_without_stable_and_direction_flips():
    metric = ChangeF1()
    metric.update(
        ["Left effusion has increased. Stable cardiomegaly.", "Edema has improved."],
        ["Left effusion has decreased. Stable cardiomegaly.", "Edema has improved."],
        [{"study_id": "a"}, {"study_id": "b"}],
    )
    assert metric.compute() == pytest.approx(
        {"change_micro_f1": 2 / 3, "change_micro_f1_without_stable": 1 / 2, "direction_flip_rate": 1 / 2}
    )


def test_statements_of_the_record_replace_the_reference_text():
    metric = ChangeF1(truth=True)
    statements = [
        {"finding": "Edema", "side": "bilateral", "severity": "small", "change": "new"},
        {"finding": "Pneumothorax", "side": "left", "severity": None, "change": None},
    ]
    metric.update(["New mild pulmonary edema."], ["text"], [{"study_id": "a", "statements": statements}])
    assert metric.compute()["change_micro_f1"] == 1


def test_only_studies_without_prior_can_compare_falsely():
    metric = FalseComparison()
    texts = ["Unchanged effusion.", "No effusion. No prior for comparison.", "Stable effusion.", "Stable."]
    studies = [{"study_id": "a", "prior": None}, {"study_id": "b", "prior": None}, {"study_id": "c", "prior": "p.png"}]
    metric.update(texts, ["x"] * 4, [*studies, {"study_id": "d"}])
    assert metric.compute() == {"false_comparison_rate": 0.5}
    assert claims_change("No significant interval change.") and not claims_change("Normal chest.")


def test_no_study_without_prior_leaves_the_rate_out():
    metric = FalseComparison()
    metric.update(["Stable effusion."], ["x"], [{"study_id": "a"}])
    assert metric.compute() == {}


def test_swapped_sides_are_counted_among_findings_matched_with_a_side():
    metric = FindingF1()
    metric.update(["Left effusion. Right nodule."], ["Right effusion. Right nodule. Edema."], [{"study_id": "a"}])
    assert metric.compute()["laterality_swap_rate"] == 0.5


def test_an_explanation_lies_where_the_finding_lies():
    assert present_findings("New right lower lobe consolidation, likely pneumonia.") == {("Consolidation", "right"), ("Pneumonia", "right")}
    assert present_findings("Improved aeration at the left base with residual atelectasis.") == {("Atelectasis", "left")}
    assert present_findings("Gastric tube out. Edema has given way to clear lungs.") == set()
