# SPDX-License-Identifier: Apache-2.0
"""Muon for hidden matrices and AdamW for the rest are one optimizer: to the schedule, to a checkpoint and to the user."""

from __future__ import annotations

import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn

from libra_monai.engines import MuonAdamW, parameter_groups
from libra_monai.errors import ConfigError


class _Network(nn.Module):
    """Parts as a report model has them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(1, 32, 3), nn.Flatten(), nn.Linear(32 * 4, 48), nn.Linear(48, 32))
        self.connector = nn.ModuleDict({"mix": nn.Linear(32, 64), "gate": nn.Linear(64, 3)})
        self.language = nn.Linear(64, 64)

    def forward(self, pictures):
        return self.language(self.connector["mix"](self.encoder(pictures)).relu()) + self.connector["gate"].weight.sum()


def _steps(network, optimizer, numbers):
    for number in numbers:
        optimizer.zero_grad()
        pictures = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(number))
        network(pictures).square().mean().backward()
        optimizer.step()


def test_matrices_between_hidden_states_take_muon_and_all_else_adamw():
    network = _Network()
    optimizer = MuonAdamW(parameter_groups(network))
    named = {id(p): name for name, p in network.named_parameters()}
    taken = {named[id(p)] for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    assert taken == {"encoder.2.weight", "encoder.3.weight", "connector.mix.weight"}  # no convolution, gate, bias; no other part
    rest = [named[id(p)] for group in optimizer.param_groups if not group["muon"] for p in group["params"]]
    assert sorted([*taken, *rest]) == sorted(named.values())


def test_every_step_is_that_of_pytorchs_own_rules():
    ours, theirs = _Network(), _Network()
    optimizer = MuonAdamW(parameter_groups(ours), lr=2e-3, matrix_lr=5e-3)
    hidden = [theirs.encoder[2].weight, theirs.encoder[3].weight, theirs.connector["mix"].weight]
    rest = [p for p in theirs.parameters() if not any(p is one for one in hidden)]
    muon = torch.optim.Muon(hidden, lr=5e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=2e-3, weight_decay=0.0, fused=True)
    for number in range(4):
        _steps(ours, optimizer, [number])
        muon.zero_grad()
        _steps(theirs, adam, [number])
        muon.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_saved_state_goes_on_to_the_bit_and_the_schedule_moves_both_rates():
    def training():
        network = _Network()
        optimizer = MuonAdamW(parameter_groups(network))
        return network, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))

    network, optimizer, schedule = training()
    _steps(network, optimizer, [1, 2])
    schedule.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.5e-3, 1.5e-3}
    saved = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    saved = copy.deepcopy(saved)  # a loaded state shares its tensors
    again, other, resumed = training()
    again.load_state_dict(saved["network"])
    other.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["schedule"])
    for run in ((network, optimizer), (again, other)):
        _steps(*run, [3, 4])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert {group["lr"] for group in other.param_groups} == {0.5e-3, 1.5e-3}


def test_where_no_matrix_is_trained_the_error_names_the_other_optimizer():
    with pytest.raises(ConfigError, match="AdamW"):
        MuonAdamW(parameter_groups(_Network()), parts=("vision",))


def test_parts_that_are_all_matrices_need_no_adamw():
    network = _Network()
    network.encoder.requires_grad_(False)
    network.connector.requires_grad_(False)
    network.language.bias.requires_grad_(False)
    before = network.language.weight.clone()
    _steps(network, MuonAdamW(parameter_groups(network), parts=("language",)), [1])
    assert not torch.equal(before, network.language.weight)


def test_sharded_matrices_are_refused():
    with patch("libra_monai.engines.muon.DTensor", nn.Parameter), pytest.raises(ConfigError, match="sharded"):
        MuonAdamW(parameter_groups(_Network()))
