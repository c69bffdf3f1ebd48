# SPDX-License-Identifier: Apache-2.0
"""What is trained on at a step follows from seed and position, on any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from monai.data import DataLoader

from libra_monai import ranks
from libra_monai.engines.sampling import EvaluationBatches, TrainingBatches
from libra_monai.errors import ConfigError


def _epochs(sampler, count=2):
    return [list(sampler) for _ in range(count)]


def _studies(batches):
    return [index for batch in batches for index, _ in batch]


def test_each_study_comes_once_an_epoch_with_a_new_order_and_new_draws():
    first, second = _epochs(TrainingBatches(23, 4, seed=3))
    assert len(first) == len(TrainingBatches(23, 4)) == 6
    assert sorted(_studies(first)) == sorted(_studies(second)) == list(range(23))
    assert _studies(first) != _studies(second)
    assert len({seed for batch in first + second for _, seed in batch}) == 46


@pytest.mark.parametrize("lengths", [None, [i * 7 % 13 for i in range(23)]])
@pytest.mark.parametrize("step", [0, 1, 5, 6, 9, 12])
def test_going_on_from_any_step_gives_what_would_have_come(lengths, step):
    unbroken = sum(_epochs(TrainingBatches(23, 4, seed=3, lengths=lengths), 3), [])
    again = TrainingBatches(23, 4, seed=3, lengths=lengths)
    again.start_at(step)
    assert sum(_epochs(again, 3), [])[: len(unbroken) - step] == unbroken[step:]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_with_workers_loses_no_epoch(workers):
    sampler = TrainingBatches(6, 2, seed=3)
    pairs = [(i, 0) for i in range(6)]

    class Studies:
        def __len__(self):
            return 6

        def __getitem__(self, key):
            return pairs[key[0]][0]

    loader = DataLoader(Studies(), batch_sampler=sampler, num_workers=workers, collate_fn=list, persistent_workers=workers > 0)
    assert [list(loader), list(loader)] == [[_studies([b]) for b in epoch] for epoch in _epochs(TrainingBatches(6, 2, seed=3))]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_step_without_overlap_and_draw_what_one_would(monkeypatch, world):
    alone = list(TrainingBatches(23, 4, seed=3))
    parts = []
    monkeypatch.setattr(ranks, "world_size", lambda: world)
    for number in range(world):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        parts.append(list(TrainingBatches(23, 4, seed=3)))
    assert {len(part) for part in parts} == {len(alone)}
    for step, batch in enumerate(alone):
        assert sorted(draw for part in parts for draw in part[step]) == sorted(batch)


def test_processes_share_an_evaluation_without_repeats_or_losses(monkeypatch):
    monkeypatch.setattr(ranks, "world_size", lambda: 3)
    seen = []
    for number in range(3):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        batches = EvaluationBatches(10, 2)
        assert len(list(batches)) == len(batches)
        seen += [index for batch in batches for index in batch]
    assert sorted(seen) == list(range(10))
    with pytest.raises(ConfigError, match="2 studies do not reach for 3 processes"):
        EvaluationBatches(2, 1)


def test_weights_decide_how_often_each_dataset_comes():
    sampler = TrainingBatches(100, 10, seed=1, groups=[90, 10], weights=[1, 1])
    counts = [Counter("small" if index >= 90 else "large" for index in _studies(epoch)) for epoch in _epochs(sampler, 4)]
    assert all(count == {"large": 50, "small": 50} for count in counts)
    chosen = Counter(index for epoch in _epochs(TrainingBatches(100, 10, seed=1, groups=[90, 10], weights=[9, 1]), 4) for index in _studies(epoch))
    assert set(chosen.values()) == {4}  # weights like the sizes: nothing comes more often


def test_of_a_mixed_dataset_none_comes_again_before_all_have_come():
    sampler = TrainingBatches(60, 10, seed=1, groups=[50, 10], weights=[1, 2])
    row = [index for epoch in _epochs(sampler, 5) for index in _studies(epoch) if index < 50]
    assert len(row) == 100 and set(Counter(row).values()) == {2}
    resumed = TrainingBatches(60, 10, seed=1, groups=[50, 10], weights=[1, 2])
    resumed.start_at(8)
    assert list(resumed) == _epochs(TrainingBatches(60, 10, seed=1, groups=[50, 10], weights=[1, 2]))[1][2:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "no study to train on"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"groups": [5, 5], "weights": [1]}, "do not fit"),
        ({"groups": [10, 0], "weights": [1, 1]}, "do not fit"),
        ({"groups": [5, 5], "weights": [0, 0]}, "do not fit"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainingBatches(**{"size": 10, "batch_size": 2, **options})


def test_similar_lengths_share_a_batch():
    lengths = np.random.default_rng(0).integers(1, 200, 400)
    plain, grouped = (list(TrainingBatches(400, 8, lengths=given)) for given in (None, lengths))
    spread = [np.mean([np.ptp(lengths[_studies([b])]) for b in batches]) for batches in (plain, grouped)]
    assert spread[1] < spread[0] / 5
