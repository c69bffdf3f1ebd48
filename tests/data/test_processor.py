# SPDX-License-Identifier: Apache-2.0
"""Batches hold each picture once, and one bad study never stops the others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from libra_monai.data import StudyDataset, ensure_phantom, load_records, request_records, request_root
from libra_monai.data.processor import StudyProcessor, check_same_size
from libra_monai.data.schema import complete
from libra_monai.errors import ConfigError
from libra_monai.types import IGNORE

from ..helpers import make_processor


@pytest.fixture
def processor(tmp_path):
    """A small processor."""
    return make_processor(tmp_path / "tokenizer")


@pytest.fixture
def studies(tmp_path):
    """Three studies of one patient, the second of which has a missing file, and their folder."""
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    items = [
        {"study_id": "1", "current": "a.png", "findings": "The lungs are clear."},
        {"study_id": "2", "current": "missing.png", "prior": "a.png", "findings": "x"},
        {"study_id": "3", "current": "b.png", "prior": "a.png", "findings": "Small left pleural effusion. No pneumothorax."},
    ]
    return [complete(item, "test") for item in items], tmp_path


def _batch(processor, studies, **options):
    records, root = studies
    dataset = StudyDataset(records, processor.pictures(str(root), **options))
    return processor.collate([dataset[i] for i in range(len(records))])


def test_a_picture_that_two_studies_share_stands_in_the_batch_once(processor, studies):
    batch = _batch(processor, studies)
    assert batch.study_ids == ["1", "3"]
    assert batch.images.shape == (2, 3, 28, 28)  # a as current of 1 and prior of 3, and b
    assert batch.index["current"].tolist() == [0, 1] and batch.index["prior"].tolist() == [-1, 0]
    assert batch.index["lateral"].tolist() == [-1, -1]


def test_a_bad_study_is_noted_and_the_others_go_on(processor, studies):
    batch = _batch(processor, studies)
    assert len(batch) == 2 and len(batch.failures) == 1
    failure = batch.failures[0]
    assert failure.study_id == "2" and failure.file.endswith("missing.png")
    assert failure.stage == "pixels" and "does not exist" in failure.reason and failure.remedy


def test_a_batch_of_only_bad_studies_is_empty_not_an_error(processor, studies):
    records, root = studies
    dataset = StudyDataset(records[1:2], processor.pictures(str(root)))
    batch = processor.collate([dataset[0]])
    assert len(batch) == 0 and batch.images.shape == (0, 3, 28, 28) and batch.target_ids is None


def test_remembered_pictures_equal_fresh_ones(processor, studies):
    assert torch.equal(_batch(processor, studies).images, _batch(processor, studies, remember=True).images)


def test_pictures_are_normalised_from_one_grey_channel(processor):
    picture = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    out = processor.normalise([picture])
    assert out.shape == (1, 3, 16, 16) and torch.equal(out[:, 0], out[:, 2])
    assert torch.allclose(out[0, 0], (picture[0] / 255 - 0.5307) / 0.2583)


def test_prompts_are_padded_left_and_targets_right(processor, studies):
    studies[0][0]["indication"] = "Chest pain."
    batch = _batch(processor, studies)
    assert bool(batch.attention_mask[0].all()) and not bool(batch.attention_mask[1, 0])
    assert batch.target_ids[0, -1] == IGNORE and batch.target_ids[1, -1] == processor.tokenizer.eos_token_id


def test_training_leaves_out_studies_without_a_target(processor, studies):
    records, root = studies
    records[0]["findings"] = None
    dataset = StudyDataset(records, processor.pictures(str(root)))
    batch = processor.collate_for_training([dataset[0], dataset[2]])
    assert batch.study_ids == ["3"] and "no findings" in batch.failures[0].reason
    assert processor.collate([dataset[0], dataset[2]]).study_ids == ["1", "3"]  # drafting needs no target


def test_a_prompt_without_pictures_opens_no_file(tmp_path):
    processor = make_processor(tmp_path / "t", prompt="findings_from_facts")
    record = complete({"study_id": "1", "current": "nowhere.png", "findings": "x", "statements": []}, "test")
    batch = processor.collate([StudyDataset([record], processor.pictures("."))[0]])
    assert len(batch) == 1 and len(batch.images) == 0
    record["statements"] = None
    batch = processor.collate([StudyDataset([record], processor.pictures("."))[0]])
    assert len(batch) == 0 and "statements" in batch.failures[0].reason


def test_a_processor_comes_back_from_its_file(processor, tmp_path):
    processor.save(tmp_path / "model")
    back = StudyProcessor.load(tmp_path / "model", prompt="impression")
    assert back.settings == {**processor.settings, "prompt": "impression"}
    assert back.tokenizer("clear").input_ids == processor.tokenizer("clear").input_ids


def test_pictures_of_another_size_than_the_encoders_are_refused(processor):
    class Encoder:
        image_size, channels = 112, 3

    with pytest.raises(ConfigError, match="image_size is 28, but the encoder takes 112"):
        check_same_size(processor, Encoder())


@pytest.mark.parametrize(
    ("content", "split", "says"),
    [
        (None, "test", "does not exist"),
        ("not json", "test", "is not JSON"),
        ([], "test", "not an object"),
        ({}, "test", "no studies in split 'test'. Put studies"),
        ({"test": []}, "test", "no studies in split 'test'"),
        ({"training": [{"study_id": "1", "current": "a"}]}, "test", "It has studies in: training"),
        ({"test": []}, "tset", "Did you mean 'test'"),
    ],
)
def test_a_bad_datalist_is_refused_with_file_and_field(tmp_path, content, split, says):
    path = tmp_path / "datalist.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=says) as caught:
        load_records(path, split)
    assert str(path) in str(caught.value) or "split 'tset'" in str(caught.value)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"current": "a"}, "field 'study_id' is missing"),
        ({"study_id": "1", "current": "a", "piror": "b"}, "Did you mean 'prior'"),
        ({"study_id": "1", "current": 5}, "field 'current' is int, not str"),
        ({"study_id": "1", "current": "a", "prior": ""}, "field 'prior' is empty. What is absent is null"),
        ({"study_id": "good", "current": "a"}, "'good' stands twice"),
        (7, "must be an object, not int"),
    ],
)
def test_a_bad_record_is_listed_with_its_place_and_the_others_go_on(tmp_path, processor, item, says):
    path = tmp_path / "datalist.json"
    Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40)).save(tmp_path / "a.png")
    good = {"study_id": "good", "current": "a.png"}
    path.write_text(json.dumps({"test": [good, item]}))
    batch = _batch(processor, (load_records(path, "test"), tmp_path))
    assert batch.study_ids == ["good"]
    failure = batch.failures[0]
    assert failure.file == f"{path}, test[1]" and failure.stage == "record"
    assert says in f"{failure.reason}. {failure.remedy}"


def test_without_a_root_paths_are_relative_to_the_datalist(tmp_path):
    assert request_root(None, str(tmp_path / "d" / "datalist.json")) == str((tmp_path / "d").resolve())
    assert request_root("elsewhere", str(tmp_path / "datalist.json")) == "elsewhere"


def test_studies_that_stand_in_a_folder_are_used_and_phantoms_are_drawn_only_into_an_empty_one(tmp_path):
    (tmp_path / "datalist.json").write_text("{}")
    (tmp_path / "images").mkdir()
    assert ensure_phantom(str(tmp_path)) == str(tmp_path / "datalist.json")
    (tmp_path / "datalist.json").unlink()
    with pytest.raises(ConfigError, match="not empty"):
        ensure_phantom(str(tmp_path))
    assert (tmp_path / "images").is_dir()


def test_a_request_needs_something_to_read():
    with pytest.raises(ConfigError, match="Set `current`"):
        request_records(None)
    with pytest.raises(ConfigError, match="without a current"):
        request_records(None, prior="a.png")
