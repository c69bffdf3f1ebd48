# SPDX-License-Identifier: Apache-2.0
"""The CheXpert rules read ordinary radiology sentences: scope of denial, doubt, resolution, normal anatomy, spelling."""

from __future__ import annotations

import math

import pytest

from libra_monai.errors import ConfigError
from libra_monai.metrics import ChexpertF1
from libra_monai.metrics.labelers import chexpert_labels

CASES = {
    "Possible left lower lobe pneumonia.": {"Pneumonia": -1},
    "Opacity behind ribs 4 to 6 may represent pneumonia.": {"Lung Opacity": 1, "Pneumonia": -1},
    "Probable small bilateral effusions.": {"Pleural Effusion": -1},
    "The heart is borderline enlarged.": {"Cardiomegaly": -1},
    "Heart size is stable.": {"Cardiomegaly": -1},
    "Cardiac silhouette is difficult to assess.": {"Cardiomegaly": -1},
    "The heart is not enlarged.": {"Cardiomegaly": 0, "No Finding": 1},
    "Heart and mediastinum are normal.": {"Cardiomegaly": 0, "Enlarged Cardiomediastinum": 0, "No Finding": 1},
    "Widened superior mediastinum.": {"Enlarged Cardiomediastinum": 1},
    "No focal consolidation to suggest pneumonia.": {"Consolidation": 0, "Pneumonia": 0, "No Finding": 1},
    "Atelectasis versus pneumonia at the left base.": {"Atelectasis": -1, "Pneumonia": -1},
    "Left lower lobe collapse and/or consolidation.": {"Atelectasis": -1, "Consolidation": -1},
    "No evidence of pneumothorax, pulmonary edema or pleural effusion.":
        {"Pneumothorax": 0, "Edema": 0, "Pleural Effusion": 0, "No Finding": 1},
    "No pneumothorax, small left effusion.": {"Pneumothorax": 0, "Pleural Effusion": 1},
    "There is no pneumothorax and the effusion is unchanged.": {"Pneumothorax": 0, "Pleural Effusion": 1},
    "No overt edema, however mild vascular congestion is present.": {"Edema": 1},
    "Neither edema nor effusion.": {"Edema": 0, "Pleural Effusion": 0, "No Finding": 1},
    "A small pneumothorax cannot be entirely excluded.": {"Pneumothorax": -1},
    "Pneumothorax is not clearly seen.": {"Pneumothorax": -1},
    "No pneumothorax is definitely identified.": {"Pneumothorax": 0, "No Finding": 1},
    "Congestive heart failure.": {"Edema": 1, "Cardiomegaly": -1},
    "No evidence of congestive heart failure.": {"Edema": 0, "No Finding": 1},
    "Nodular opacity in the right upper lobe.": {"Lung Lesion": 1, "Lung Opacity": 1},
    "Pericardial effusion is suspected.": {},
    "Emphysema. No acute abnormality.": {},
    "There is no free air below the diaphragm.": {"No Finding": 1},
    "The endotracheal tube has been removed. Lungs are clear.": {"Support Devices": 0, "No Finding": 1},
    "Interval removal of the left chest tube without evidence of pneumothorax.":
        {"Support Devices": 0, "Pneumothorax": 0, "No Finding": 1},
    "Effusion: none. Edema: mild.": {"Pleural Effusion": 0, "Edema": 1},
    "Left basilar opacity could represent atelectasis, aspiration, or pneumonia.":
        {"Lung Opacity": 1, "Atelectasis": -1, "Pneumonia": -1},
    "Bibasilar atelectasis. Underlying infection cannot be excluded.": {"Atelectasis": 1, "Pneumonia": -1},
    "Lungs are clear with the exception of left basilar atelectasis.": {"Atelectasis": 1},
    "Small right pleural effusoin and atelctasis.": {"Pleural Effusion": 1, "Atelectasis": 1},
    "Pulmonary oedema has resolved.": {"Edema": 0, "No Finding": 1},
    "NO PNEUMOTHORAX.\nSMALL EFFUSION.": {"Pneumothorax": 0, "Pleural Effusion": 1},
}  # fmt: skip


@pytest.mark.parametrize("text", CASES, ids=str)
def test_observations_are_read(text):
    assert {name: label for name, label in chexpert_labels(text).items() if label is not None} == CASES[text]


@pytest.mark.parametrize("text", [None, "", "  ", "...", "12"])
def test_a_text_without_words_has_no_label_at_all(text):
    assert set(chexpert_labels(text).values()) == {None}


def test_policies_differ_only_in_uncertain_observations():
    metric = ChexpertF1()
    metric.update(["Possible pneumonia."], ["Pneumonia."], [{"study_id": "a"}])
    values = metric.compute()
    assert values["chexpert14_micro_f1_uncertain0"] == 0 and values["chexpert14_micro_f1_uncertain1"] == 1


def test_labels_of_the_record_may_be_the_reference_and_nan_is_not_mentioned():
    metric = ChexpertF1(labels=True)
    study = {"study_id": "a", "finding_labels": {"Edema": 1.0, "Fracture": math.nan, "Pneumonia": None}}
    metric.update(["Edema."], ["text that says nothing"], [study])
    assert metric.compute()["chexpert14_micro_f1_uncertain0"] == 1
    with pytest.raises(ConfigError, match="'Edema' is 2"):
        metric.update(["Edema."], ["x"], [{"study_id": "b", "finding_labels": {"Edema": 2}}])
