# SPDX-License-Identifier: Apache-2.0
"""The gradient of a step is that of all its tokens, however the step is cut up; what is random follows from its number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from libra_monai.data import load_records
from libra_monai.data.dataset import StudyDataset
from libra_monai.engines import TrainingStep, learning_rate_schedule, parameter_groups
from libra_monai.errors import ConfigError, TrainingError
from libra_monai.losses import TokenLoss
from libra_monai.types import LanguageOutput


@pytest.fixture(scope="module")
def batch(phantom, tiny):
    records = load_records(phantom / "datalist.json", "training")[:5]
    dataset = StudyDataset(records, tiny.processor.pictures(str(phantom)))
    return tiny.processor.collate_for_training([dataset[i] for i in range(5)])


class _Kept(torch.optim.SGD):
    """Changes nothing and keeps the gradients it was given."""

    def step(self, closure=None):
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None]


def _engine(network, optimizer, iteration=1):
    state = SimpleNamespace(device=torch.device("cpu"), iteration=iteration, output=None)
    return SimpleNamespace(
        network=network, optimizer=optimizer, state=state, scaler=None, non_blocking=False, loss_function=TokenLoss(),
        inferer=lambda part, network: network(part), fire_event=lambda event: None,
    )  # fmt: skip


def _gradients(tiny, batch, **options):
    """Loss and gradients of one step of the connector."""
    tiny.model.set_trainable({"connector": True})
    optimizer = _Kept([p for p in tiny.model.parameters() if p.requires_grad], lr=0.0)
    engine = _engine(tiny.model, optimizer)
    output = TrainingStep(max_grad_norm=None, **options)(engine, batch)
    tiny.model.set_trainable({})
    tiny.model.eval()
    return output, optimizer.seen


def test_micro_batches_of_unequal_length_give_the_gradient_of_the_whole(tiny, batch):
    whole, wanted = _gradients(tiny, batch)
    lengths = (batch.target_ids >= 0).sum(dim=1)
    assert len(set(lengths.tolist())) > 1  # a mean of means would differ
    for size in (1, 2, 3):
        cut, seen = _gradients(tiny, batch, micro_batch=size)
        assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5) and cut["num_tokens"] == whole["num_tokens"] == lengths.sum()
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(wanted, seen, strict=True))


def test_parts_of_a_batch_hold_their_own_pictures_once(batch):
    parts = batch.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert sum((part.study_ids for part in parts), []) == batch.study_ids
    for start, part in zip((0, 2, 4), parts, strict=True):
        assert len(part.images) == len(torch.cat([r[r >= 0] for r in part.index.values()]).unique())
        for view, rows in part.index.items():
            for place, row in enumerate(rows.tolist()):
                before = int(batch.index[view][start + place])
                assert (row < 0) == (before < 0)
                assert row < 0 or torch.equal(part.images[row], batch.images[before])
    assert batch.split(5) == [batch] and batch.split(9) == [batch]


class _Toy(nn.Module):
    """One weight whose loss is what the test wants it to be."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.ones(3)), factor

    def forward(self, part):
        noise = torch.rand(())
        return LanguageOutput((self.weight * self.factor).sum() * (1 + noise), torch.tensor(4))


def test_randomness_of_a_step_follows_from_seed_and_number(batch):
    losses = {}
    for seed, iteration in ((1, 7), (1, 7), (1, 8), (2, 7)):
        network = _Toy()
        torch.rand(3)  # whatever was drawn before
        engine = _engine(network, torch.optim.SGD(network.parameters(), lr=0.1), iteration)
        losses.setdefault((seed, iteration), set()).add(TrainingStep(seed=seed)(engine, batch)["loss"])
    assert all(len(values) == 1 for values in losses.values()) and len(set().union(*losses.values())) == 3


def test_no_number_stops_before_the_weights_change(batch):
    for what in ("loss", "gradient norm"):
        network = _Toy(float("nan") if what == "loss" else 1.0)
        engine = _engine(network, torch.optim.SGD(network.parameters(), lr=0.1))
        if what == "gradient norm":
            network.weight.register_hook(lambda grad: grad * float("inf"))
        with pytest.raises(TrainingError, match=f"the {what} of step 1 is"):
            TrainingStep()(engine, batch)
        assert torch.equal(network.weight.detach(), torch.ones(3))


def test_a_step_without_studies_is_passed_over(tiny, batch):
    network = _Toy()
    engine = _engine(network, torch.optim.SGD(network.parameters(), lr=0.1))
    nobody = tiny.processor.collate([])
    assert TrainingStep()(engine, nobody)["loss"] is None
    assert torch.equal(network.weight.detach(), torch.ones(3))


@pytest.mark.parametrize("amp", [True, "bf16", "fp16"])
def test_autocast_trains_on_the_cpu_too(tiny, batch, amp):
    whole, wanted = _gradients(tiny, batch)
    half, seen = _gradients(tiny, batch, amp=amp)
    assert half["loss"] == pytest.approx(whole["loss"], rel=0.05)
    a, b = torch.cat([g.flatten() for g in wanted]), torch.cat([g.flatten() for g in seen])
    assert torch.cosine_similarity(a, b, dim=0) > 0.98


def test_an_unknown_float_type_is_refused(tiny, batch):
    with pytest.raises(ConfigError, match="amp is 'fp8'"):
        _gradients(tiny, batch, amp="fp8")


def test_parts_have_rates_of_their_own_and_decay_is_for_matrices(tiny):
    tiny.model.set_trainable({"connector": True, "language": True})
    groups = parameter_groups(tiny.model, {"connector": 2e-5}, weight_decay=0.1)
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    by_name = {group["name"]: group for group in optimizer.param_groups}
    assert {name: group["lr"] for name, group in by_name.items()} == {
        "connector matrices": 2e-5, "connector vectors": 2e-5, "language matrices": 1e-3, "language vectors": 1e-3,
    }  # fmt: skip
    assert all(group["weight_decay"] == (0.1 if name.endswith("matrices") else 0) for name, group in by_name.items())
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in tiny.model.parameters())
    with pytest.raises(ConfigError, match="conector.*Did you mean 'connector'"):
        parameter_groups(tiny.model, {"conector": 1e-5})
    tiny.model.set_trainable({})
    with pytest.raises(ConfigError, match="nothing to train"):
        parameter_groups(tiny.model)


def test_schedules_by_name():
    def rates(name, **options):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = learning_rate_schedule(optimizer, range(10), 10, name, 0.1, options)
        row = []
        for _ in range(100):
            row.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return row

    assert rates("cosine")[10] == 1.0 and rates("cosine")[99] < 0.001 and rates("cosine")[55] == pytest.approx(0.5)
    assert rates("linear")[55] == pytest.approx(0.5) and rates("constant_with_warmup")[99] == 1.0
    assert rates("cosine_with_min_lr", min_lr_rate=0.2)[99] == pytest.approx(0.2, abs=0.01)
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        rates("cosinus")
    with pytest.raises(ConfigError, match="schedule 'cosine'"):
        rates("cosine", floor=1)
