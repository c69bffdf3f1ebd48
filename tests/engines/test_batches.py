# SPDX-License-Identifier: Apache-2.0
"""Batches of similar length waste less, and their order depends on the seed only."""

from __future__ import annotations

from libra_monai.data.dataset import StudyDataset
from libra_monai.engines import batches

RECORDS = [{"study_id": str(i), "findings": "x" * ((i * 37) % 101 + 1)} for i in range(96)]


def _order(**options):
    loader = batches(StudyDataset(RECORDS), lambda items: [item["study_id"] for item in items], 8, **options)
    return list(loader)


def _padding(order):
    lengths = {r["study_id"]: len(r["findings"]) for r in RECORDS}
    return sum(max(lengths[s] for s in batch) * len(batch) - sum(lengths[s] for s in batch) for batch in order)


def test_grouping_by_length_leaves_less_than_half_of_the_padding():
    plain, grouped = _order(shuffle=True, seed=3), _order(shuffle=True, seed=3, group_by="findings")
    assert sorted(sum(grouped, [])) == sorted(sum(plain, [])) == sorted(r["study_id"] for r in RECORDS)
    assert _padding(grouped) < 0.5 * _padding(plain)


def test_the_order_depends_on_the_seed_only_and_changes_every_epoch():
    one, two, other = (_order(shuffle=True, seed=s, group_by="findings") for s in (1, 1, 2))
    assert one == two != other
    loader = batches(
        StudyDataset(RECORDS), lambda items: [i["study_id"] for i in items], 8, shuffle=True, seed=1, group_by="findings"
    )
    assert list(loader) != list(loader)


def test_without_shuffling_the_order_is_that_of_the_list():
    assert sum(_order(group_by="findings"), []) == [r["study_id"] for r in RECORDS]
