# SPDX-License-Identifier: Apache-2.0
"""The connectors that look at one picture only."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from libra_monai import build
from libra_monai.errors import ConfigError
from libra_monai.types import EncoderOutput

INDEX = {"current": torch.tensor([2, 0]), "prior": torch.tensor([1, -1])}


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_an_mlp_is_linear_layers_with_gelu_between_on_the_last_layer_of_the_current_picture(depth):
    torch.manual_seed(0)
    connector = build(kind="connector", name="mlp", width=6, hidden_size=10, depth=depth)
    features = torch.randn(3, 2, 5, 6)
    wanted = features[[2, 0], -1]
    state = connector.state_dict()
    for number in range(depth):
        wanted = F.gelu(wanted) if number else wanted
        wanted = wanted @ state[f"projection.{2 * number}.weight"].T + state[f"projection.{2 * number}.bias"]
    assert len(state) == 2 * depth
    assert torch.allclose(connector(EncoderOutput(features), INDEX, None)["image"], wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_prior_changes_nothing(name):
    connector = build(kind="connector", name=name, width=6, hidden_size=10)
    features = torch.randn(3, 1, 5, 6)
    before = connector(EncoderOutput(features), INDEX, None)["image"]
    features[1] += 1
    assert torch.equal(connector(EncoderOutput(features), INDEX, None)["image"], before)
    assert connector.views == ("current",)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_features_of_another_width_are_refused_in_words(name):
    connector = build(kind="connector", name=name, width=6, hidden_size=10)
    with pytest.raises(ConfigError, match=f"connector '{name}': width is 6, but the features have 7"):
        connector(EncoderOutput(torch.zeros(3, 1, 5, 7)), INDEX, None)


def test_an_mlp_without_layers_is_refused():
    with pytest.raises(ConfigError, match="depth is 0"):
        build(kind="connector", name="mlp", width=6, hidden_size=10, depth=0)
