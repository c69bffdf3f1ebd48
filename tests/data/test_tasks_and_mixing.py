# SPDX-License-Identifier: Apache-2.0
"""One study gives an item for every task it has a text for, and several sets of studies mix without losing their roots."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from libra_monai.data import MixedStudies, StudyDataset, expand_records, load_records
from libra_monai.errors import ConfigError
from libra_monai.types import FAILURE, IGNORE

from ..helpers import make_processor

STAGE_1 = ["findings", "impression", "question"]
STUDIES = [
    {"study_id": "1", "current": "a.png", "findings": "The lungs are clear.", "impression": "Heart size is normal.",
     "indication": "Pneumothorax.", "question": "Is there a pleural effusion?", "answer": "No."},
    {"study_id": "2", "current": "b.png", "findings": "Small left pleural effusion."},
    {"study_id": "3", "current": "b.png", "question": "Is the heart size normal?"},
    {"study_id": "4"},
    {"study_id": "5", "current": "a.png", "impression": "No pneumothorax."},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A datalist with a question, and its pictures."""
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "datalist.json").write_text(json.dumps({"training": STUDIES}))
    return tmp_path


def test_a_record_gives_an_item_for_every_text_it_has_and_none_for_the_others(folder):
    items = load_records(folder / "datalist.json", "training", prompts=STAGE_1)
    said = [(item["study_id"], item.get("prompt")) for item in items if FAILURE not in item]
    assert said == [("1", "findings"), ("1", "impression"), ("1", "question"), ("2", "findings"), ("5", "impression")]
    assert [item["study_id"] for item in items if FAILURE in item] == ["4"]  # still listed, once
    assert "prompt" not in load_records(folder / "datalist.json", "training")[0]


def test_a_limit_counts_studies_not_items(folder):
    assert len(load_records(folder / "datalist.json", "training", limit=1, prompts=STAGE_1)) == 3


def test_a_batch_asks_every_item_its_own_question_and_learns_its_own_answer(folder, tmp_path):
    processor = make_processor(tmp_path / "tokenizer", prompt="findings")
    items = load_records(folder / "datalist.json", "training", limit=2, prompts=STAGE_1)
    dataset = StudyDataset(items, processor.pictures(str(folder)))
    batch = processor.collate_for_training([dataset[i] for i in range(4)])
    assert not batch.failures and batch.study_ids == ["1", "1", "1", "2"] and len(batch.images) == 2
    decode = processor.tokenizer.decode
    asked = [decode([i for i in ids[mask].tolist() if i >= 0]) for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    answers = [decode([i for i in ids.tolist() if i != IGNORE], skip_special_tokens=True).strip() for ids in batch.target_ids]
    assert answers == ["The lungs are clear.", "Heart size is normal.", "No.", "Small left pleural effusion."]
    findings, impression = (f"Provide a detailed description of the {name} in the radiology image." for name in STAGE_1[:2])
    context = "Following clinical context: Indication: Pneumothorax."
    for text, words in zip(asked, [findings, impression, STUDIES[0]["question"], findings], strict=True):
        assert words in text
    assert context in asked[0] and context in asked[1] and "clinical context" not in asked[2]  # as published


def test_an_item_without_a_prompt_is_asked_the_workflows(folder, tmp_path):
    processor = make_processor(tmp_path / "tokenizer", prompt="impression")
    record = load_records(folder / "datalist.json", "training")[0]
    item = StudyDataset([record], processor.pictures(str(folder)))[0]
    assert processor.prompt_of(item).target == "impression"
    assert processor.prompt_of({**item, "prompt": "question"}).target == "answer"


@pytest.mark.parametrize(
    ("prompts", "says"),
    [(["finding"], "Did you mean 'findings'"), (["findings", "findings"], "every task once"), ([], "every task once"),
     (["findings_from_facts"], "no study has a text")],
)  # fmt: skip
def test_tasks_that_cannot_be_learned_are_refused(folder, prompts, says):
    with pytest.raises(ConfigError, match=says):
        expand_records(load_records(folder / "datalist.json", "training"), prompts)


class _Seeded(StudyDataset):
    """A dataset that also takes a place and a seed."""

    def __getitem__(self, index):
        place, seed = index if isinstance(index, tuple) else (index, None)
        return {**super().__getitem__(place), "seed": seed}


@pytest.fixture
def mixed(folder, tmp_path):
    """Two datasets with roots of their own: the second one's files lie in another folder."""
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50), dtype=np.uint8)).save(other / "a.png")
    processor = make_processor(tmp_path / "tokenizer")
    records = load_records(folder / "datalist.json", "training")
    first = _Seeded(records[:3], processor.pictures(str(folder)))
    return MixedStudies([first, _Seeded(records[:1], processor.pictures(str(other)))], [3, 1])


def test_a_mix_reads_every_study_from_its_own_root(mixed, tmp_path):
    assert len(mixed) == 4 and mixed.groups == [3, 1] and mixed.weights == [0.75, 0.25]
    assert [record["study_id"] for record in mixed.data] == ["1", "2", "3", "1"]
    assert [mixed[i]["study_id"] for i in range(4)] == ["1", "2", "3", "1"]
    assert not torch.equal(mixed[3]["current"], mixed[0]["current"])
    batch = make_processor(tmp_path / "tokenizer").collate([mixed[0], mixed[3], mixed[0]])
    assert len(batch.images) == 2 and batch.index["current"].tolist() == [0, 1, 0]  # one path, two pictures
    assert mixed[-1]["study_id"] == "1" and mixed[-4]["findings"] == mixed[0]["findings"]


def test_a_seed_beside_the_place_reaches_the_dataset(mixed):
    assert mixed[2, 7]["seed"] == 7 and mixed[2, 7]["study_id"] == "3" and mixed[2]["seed"] is None
    assert mixed[3, 9]["study_id"] == "1" and mixed[3, 9]["seed"] == 9


def test_a_mix_ends_where_its_studies_end(mixed):
    with pytest.raises(IndexError):
        mixed[4]
    assert len(list(mixed)) == 4


def test_without_weights_every_study_has_the_same_chance(mixed):
    assert MixedStudies(mixed.datasets).weights == [0.75, 0.25]


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, float("nan")], [1, -1]])
def test_weights_that_do_not_fit_are_refused(mixed, weights):
    with pytest.raises(ConfigError, match="positive one for each"):
        MixedStudies(mixed.datasets, weights)
    with pytest.raises(ConfigError, match="none of them empty"):
        MixedStudies([])
