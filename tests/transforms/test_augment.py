# SPDX-License-Identifier: Apache-2.0
"""Training changes pictures and sections anew every epoch, and the same way in every run of one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import RandAffine
from monai.utils import set_determinism
from PIL import Image

from libra_monai.data import StudyDataset
from libra_monai.data.schema import complete
from libra_monai.engines import batches, chain
from libra_monai.transforms import FitSquare, LoadRadiograph, RandDropSectionsd, RandViewsd, StudyPicturesd


@pytest.fixture
def loader(tmp_path):
    """Makes the training loader of one study with a prior and one without, as the train workflow does."""
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    items = [
        {"study_id": "1", "current": "a.png", "prior": "b.png", "indication": "Cough.", "findings": "x"},
        {"study_id": "2", "current": "b.png", "indication": "Cough.", "findings": "x"},
    ]

    def make():
        pictures = StudyPicturesd([LoadRadiograph(), FitSquare(28, 0)], str(tmp_path), remember=True)
        views = RandViewsd(["current", "prior"], [RandAffine(prob=1.0, translate_range=[6, 6], padding_mode="zeros")])
        transform = chain(pictures, [RandDropSectionsd(["indication"], 0.5), views])
        dataset = StudyDataset([complete(item, "test") for item in items], transform)
        return batches(dataset, lambda items: items, batch_size=2)

    return make


def _epochs(loader, number):
    return [next(iter(loader)) for _ in range(number)]


def test_every_epoch_draws_anew(loader):
    set_determinism(seed=1)
    epochs = _epochs(loader(), 12)
    pictures = [items[0]["current"] for items in epochs]
    assert not any(torch.equal(pictures[0], other) for other in pictures[1:])
    assert {items[0]["indication"] for items in epochs} == {"Cough.", None}


def test_one_seed_draws_the_same_in_every_run(loader):
    runs = []
    for _ in range(2):
        set_determinism(seed=1)
        runs.append(_epochs(loader(), 3))
    for one, two in zip(*runs, strict=True):
        assert all(torch.equal(a["current"], b["current"]) for a, b in zip(one, two, strict=True))
        assert [a["indication"] for a in one] == [b["indication"] for b in two]


def test_views_are_drawn_apart_absent_ones_stay_absent_and_pixels_stay_uint8(loader):
    set_determinism(seed=1)
    first, second = _epochs(loader(), 1)[0]
    assert second["prior"] is None
    assert first["current"].dtype == torch.uint8 and first["current"].shape == (1, 28, 28)
    assert not torch.equal(first["prior"], second["current"])  # one file, two draws


def test_the_workflow_never_flips():
    """Reports name sides; a flip would teach the wrong one."""
    from libra_monai import paths

    text = "".join(path.read_text() for path in Path(paths.bundle_root()).rglob("configs/*.json"))
    assert "Flip" not in text and "RandViewsd" in text
