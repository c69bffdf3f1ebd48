# SPDX-License-Identifier: Apache-2.0
"""Every name of a finding with every way to say what became of it: 14,000 sentences read without an error."""

from __future__ import annotations

from libra_monai.metrics.labelers import read_changes

SIDED = {
    "Pleural Effusion": (
        "{s} pleural effusion", "{s}-sided pleural effusion", "pleural effusion on the {s}", "{s} pleural fluid",
        "{s} pleural fluid collection", "effusion at the {s} base", "pleural effusion in the {s} hemithorax",
        "{s} hydrothorax", "layering effusion on the {s} side",
    ),
    "Pneumothorax": (
        "{s} pneumothorax", "{s}-sided pneumothorax", "{s} apical pneumothorax", "pneumothorax on the {s}",
        "pneumothorax at the {s} apex",
    ),
    "Consolidation": (
        "{s} lower lobe consolidation", "consolidation in the {s} upper zone", "{s} mid zone airspace consolidation",
        "consolidative opacity in the {s} lung", "{s} basal consolidation",
        "focal consolidation within the {s} upper lobe",
    ),
    "Lung Opacity": (
        "{s} lower lobe opacity", "hazy opacity in the {s} mid zone", "{s} upper lobe airspace opacity",
        "patchy opacification of the {s} lung base", "ill-defined opacity at the {s} base", "{s} lung infiltrate",
    ),
    "Atelectasis": (
        "{s} basilar atelectasis", "atelectasis at the {s} lung base", "{s} lower lobe atelectasis",
        "{s} basal plate-like atelectasis", "subsegmental atelectasis in the {s} lower lobe",
        "volume loss at the {s} base", "linear atelectasis on the {s}",
    ),
    "Lung Lesion": (
        "{s} lung nodule", "{s} upper lobe nodule", "nodule in the {s} lung", "pulmonary nodule on the {s}",
        "{s} lower lobe mass", "nodular lesion in the {s} upper zone", "mass in the {s} mid zone",
        "rounded {s} lung nodule",
    ),
}  # fmt: skip
MIDDLE = {
    "Edema": (
        "pulmonary edema", "interstitial edema", "bilateral pulmonary edema", "pulmonary vascular congestion",
        "alveolar edema",
    ),
    "Cardiomegaly": (
        "cardiomegaly", "cardiac enlargement", "enlargement of the heart", "enlarged cardiac silhouette",
    ),
}  # fmt: skip
SIDED_DEVICES = {
    "Central Line": (
        "{s} central venous catheter", "{s} internal jugular central line", "{s} subclavian catheter",
        "{s}-sided PICC", "{s} IJ catheter", "central line on the {s}", "{s} upper extremity PICC line",
        "{s} chest wall port",
    ),
    "Chest Drain": (
        "{s} chest tube", "{s}-sided chest drain", "{s} pleural drain", "{s} pigtail catheter",
        "{s} thoracostomy tube", "{s} intercostal drain", "chest tube on the {s}",
    ),
    "Pacemaker": (
        "{s}-sided pacemaker", "{s} pectoral pacemaker", "{s} chest wall pacer", "{s} dual-chamber pacemaker",
        "pacemaker on the {s}", "{s} ICD", "{s}-sided cardiac device",
    ),
}  # fmt: skip
MIDDLE_DEVICES = {
    "Endotracheal Tube": (
        "endotracheal tube", "ET tube", "ETT", "tracheal tube",
    ),
    "Gastric Tube": (
        "nasogastric tube", "enteric tube", "NG tube", "orogastric tube", "feeding tube", "gastric tube",
    ),
}  # fmt: skip
SAID = {
    None: (
        "There is {a} {np}.", "{np} is present.", "{np} is noted.", "Small {np}.",
        "Note is made of {a} moderate {np}.", "A small {np} is demonstrated.", "Large {np}.",
        "The study shows {a} {np}.", "{np} is identified.", "Findings include {a} {np}.",
    ),
    "new": (
        "New {np}.", "There is a new {np}.", "There is now a small {np}.", "{np}, new since the prior.",
        "{np} is new compared with the previous study.", "Interval development of {a} {np}.", "{np} has developed.",
        "Newly developed {np}.", "A small {np} has appeared since the prior examination.",
        "{np} was not present on the prior study.", "{np}, not seen previously.", "Newly seen {np}.",
        "Interval appearance of {a} {np}.", "{np} was not present on ___.", "{np} is now seen.", "A small {np} is now present.", "{np} is new.",
        "Since the last study {a} {np} has developed.", "There has been interval development of {a} {np}.",
    ),
    "worsened": (
        "{np} has increased.", "Increased {np}.", "Increasing {np}.", "{np} has worsened since the prior study.",
        "Worsening {np}.", "Interval increase in {np}.", "Interval worsening of {np}.",
        "The {np} is larger than before.", "{np} has progressed.", "Progression of {np}.",
        "{np} is more extensive than previously.", "{np} is now larger.", "The {np} has grown in size.",
        "{np} has become larger.", "There has been an increase in the size of the {np}.", "{np} appears worse.",
        "{np} shows interval increase in size.", "The {np} has enlarged.",
        "{np} is more pronounced on the current study.", "Enlarging {np}.",
        "The {np}, previously small, is now moderate.",
        "Compared to the prior, the {np} has increased, now moderate.",
        "Greater extent of the {np} compared with prior.", "{np} has increased from small to moderate.",
        "Deterioration of the {np}.", "The {np} is bigger.",
        "Slight aggravation of the {np}.", "{np} has advanced over the past year.", "There is more {np} than before.",
    ),
    "improved": (
        "{np} has decreased.", "Decreased {np}.", "Decreasing {np}.", "{np} has improved since the prior study.",
        "Improving {np}.", "Interval decrease in {np}.", "Interval improvement of {np}.",
        "The {np} is smaller than before.", "{np} has partially resolved.", "Partial resolution of {np}.",
        "{np} is less extensive than previously.", "{np} is now smaller.", "The {np} has diminished in size.",
        "{np} has become smaller.", "There has been a decrease in the size of the {np}.", "{np} appears improved.",
        "{np} shows interval decrease in size.", "Resolving {np}.", "{np} is less pronounced on the current study.",
        "The {np}, previously large, is now small.", "{np} has regressed.", "Partial clearing of the {np}.",
        "Reduction in the {np}.", "{np} has nearly resolved.", "The {np} has been reduced in size.",
        "{np} has lessened.", "{np} is much milder.", "{np} is dwindling.", "There is less {np} than on the last film.",
    ),
    "stable": (
        "{np} is unchanged.", "Unchanged {np}.", "Stable {np}.", "{np} is stable.", "Persistent {np}.",
        "{np} persists.", "No change in the {np}.", "No significant interval change in {np}.",
        "{np} has not changed.", "{np} is not significantly changed.", "{np} remains.", "Again seen is {a} {np}.",
        "{np} is again noted.", "{np} is similar to prior.", "Similar {np}.", "The {np} shows no interval change.",
        "{np}, unchanged from the prior study.", "{np} without significant change.",
        "Unchanged appearance of the {np}.", "{np} is essentially unchanged compared to the prior.",
        "There is unchanged {np}.", "{np} remains stable in size.", "Redemonstrated {np}.",
        "{np} is neither larger nor smaller.", "{np} appears similar in size.", "As before, there is {a} {np}.",
        "{np} is the same as before.", "{np} is no different.",
    ),
    "resolved": (
        "{np} has resolved.", "Resolution of {np}.", "Interval resolution of the {np}.", "{np} is no longer seen.",
        "Previously seen {np} is no longer visualized.", "Resolved {np}.", "{np} has cleared.",
        "The prior {np} is no longer evident.", "{np} has completely resolved.",
        "The previously described {np} has disappeared.", "There is no longer {a} {np}.",
        "Complete resolution of {np}.", "{np} seen previously is not seen today.",
        "The {np} seen on the prior study has resolved.", "Previous {np} is not visible anymore.",
        "{np} no longer identified.", "{np} has subsided completely.", "The {np} questioned on 5/14 is no longer seen.",
    ),
}  # fmt: skip
SAID_OF_DEVICES = {
    None: (
        "{np} is in place.", "There is {a} {np}.", "{np} in situ.", "{np} is noted.",
        "{np} with tip in standard position.",
    ),
    "new": (
        "New {np}.", "Interval placement of {a} {np}.", "{np} has been placed.",
        "{np} has been inserted since the prior study.", "A new {np} is in place.", "Newly placed {np}.",
        "Interval insertion of {a} {np}.", "{np} is new.", "There is now {a} {np} in place.",
        "There has been placement of {a} {np}.", "{np}, new since prior.",
    ),
    "stable": (
        "{np} is unchanged.", "Unchanged {np}.", "{np} is unchanged in position.", "Stable position of the {np}.",
        "{np} remains in place.", "{np} is again seen.", "{np} is stable in position.",
        "Unchanged position of the {np}.", "The {np} remains in stable position.", "{np} is in unchanged position.",
    ),
    "removed": (
        "{np} has been removed.", "Interval removal of the {np}.", "{np} has been withdrawn.",
        "{np} is no longer present.", "Removal of {np}.", "The previously seen {np} has been removed.",
        "{np} is no longer seen.", "Status post removal of {np}.", "{np} was removed.", "{np} no longer in place.",
        "{np} removed in the interval.", "There has been interval removal of the {np}.",
    ),
}  # fmt: skip


def _wrong(names, frames, sides):
    for finding, nouns in names.items():
        for noun in nouns:
            for side in sides:
                known = side or ("bilateral" if finding == "Edema" else None)
                for change, sentences in frames.items():
                    for sentence in sentences:
                        text = sentence.format(np=noun.format(s=side), a="a")
                        text = text[0].upper() + text[1:]
                        read = {(line.finding, line.side, line.change) for line in read_changes(text)}
                        if read != {(finding, known, change)}:
                            yield text, read


def test_any_finding_in_any_frame():
    assert list(_wrong(SIDED, SAID, ("right", "left"))) == []
    assert list(_wrong(MIDDLE, SAID, (None,))) == []


def test_any_device_in_any_frame():
    assert list(_wrong(SIDED_DEVICES, SAID_OF_DEVICES, ("right", "left"))) == []
    assert list(_wrong(MIDDLE_DEVICES, SAID_OF_DEVICES, (None,))) == []
