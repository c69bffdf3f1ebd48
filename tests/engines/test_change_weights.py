# SPDX-License-Identifier: Apache-2.0
"""Sentences that tell a change count more in the loss, word for word where they stand."""

from __future__ import annotations

import pytest
import torch

from libra_monai import paths
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.checkpoints import load_pretrained
from libra_monai.engines import PriorText, WeighChangesd
from libra_monai.errors import ConfigError
from libra_monai.types import IGNORE, WEIGHTS

TEXT = "Unchanged small left pleural effusion. The right pneumothorax has increased and is now large. No edema."


@pytest.fixture(scope="module")
def processor():
    return load_pretrained(paths.tiny_model()).processor


def _item(text, **more):
    return {"study_id": "s", "findings": text, "record": {"study_id": "s"}, "picture_paths": {}, **more}


def test_sentences_take_the_weight_of_the_change_they_claim(processor):
    item = WeighChangesd({"stable": 2.5, "worsened": 4.0})(_item(TEXT))
    batch = processor.collate_for_training([item, _item("The heart is enlarged.")])
    said = {
        weight: processor.tokenizer.decode(batch.target_ids[0][batch.weights[0] == weight]) for weight in (2.5, 4.0)
    }
    assert said[2.5].strip() == "Unchanged small left pleural effusion."
    assert said[4.0].strip() == "The right pneumothorax has increased and is now large."
    assert bool((batch.weights[1] == 1).all())


def test_a_sentence_with_two_claims_takes_the_higher_weight():
    item = WeighChangesd({"stable": 2.0, "new": 3.0})(_item("New edema and an unchanged left effusion."))
    assert item[WEIGHTS]["findings"] == [(0, 41, 3.0)]


def test_what_is_masked_stays_masked(processor):
    masked = PriorText("mask")(_item(TEXT))
    batch = processor.collate_for_training([WeighChangesd({"stable": 2.5})(masked)])
    unlearned = processor.tokenizer.decode(batch.target_ids[0][(batch.weights[0] == 0) & (batch.target_ids[0] != IGNORE)])
    assert unlearned.strip().startswith("Unchanged small") and "No edema" not in unlearned


def test_reports_without_claims_have_no_weights(processor):
    item = WeighChangesd({"stable": 2.5})(_item("The heart is enlarged. No pleural effusion."))
    assert WEIGHTS not in item and processor.collate_for_training([item]).weights is None


@pytest.mark.parametrize("weights, word", [({"larger": 2.0}, "larger"), ({"stable": -1.0}, "stable")])
def test_a_change_that_does_not_exist_and_a_negative_weight_are_refused(weights, word):
    with pytest.raises(ConfigError, match=word):
        WeighChangesd(weights)


def test_the_workflow_weighs_what_the_pairs_claim_in_training_only(phantom, tmp_path):
    options = {"datalist": str(phantom / "datalist.json"), "output_dir": str(tmp_path), "change_weights": {"stable": 2.5}}
    workflow = LibraWorkflow("train", ["stage/align", "stage/phantom_pairs"], options)
    workflow.initialize()
    dataset = workflow.parser.get_parsed_content("train#dataset")
    collate = workflow.parser.get_parsed_content("processor").collate_for_training
    batches = [collate([dataset[(number, seed)]]) for number in range(len(dataset)) for seed in (1, 2)]
    weights = torch.cat([batch.weights[0] for batch in batches if batch.weights is not None])
    assert set(weights.tolist()) == {1.0, 2.5}
    plain = workflow.parser.get_parsed_content("validate#dataset")
    assert all(WEIGHTS not in plain[number] for number in range(len(plain)))
