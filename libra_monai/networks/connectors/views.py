# SPDX-License-Identifier: Apache-2.0
"""From rows of distinct pictures to studies: every connector gathers the same way."""

from __future__ import annotations

import torch
from torch import Tensor

from libra_monai.errors import ConfigError
from libra_monai.types import EncoderOutput


def check_features(name: str, features: EncoderOutput, width: int, num_layers: int | None = None) -> None:
    """Refuse features of another shape than a connector was built for, in words.

    Args:
        name: registered name of the connector.
        features: layers [U,L,N,D].
        width: D the connector was built for.
        num_layers: L it was built for, or None if any will do.

    Raises:
        ConfigError: they differ.
    """
    _, layers, _, found = features.layers.shape
    for what, have, want in (("width", found, width), ("num_layers", layers, num_layers)):
        if want is not None and have != want:
            raise ConfigError(f"connector '{name}': {what} is {want}, but the features have {have}", "Make them equal.")


def gather_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Values of each study's picture.

    Args:
        values: [U,...] one entry per distinct picture.
        rows: LongTensor[B]; every study must have the picture.

    Returns:
        [B,...].

    Raises:
        ValueError: a study lacks the picture (row -1).
    """
    if bool((rows < 0).any()):
        raise ValueError("a study of the batch has no current picture")
    return values.index_select(0, rows)


def with_prior(values: Tensor, index: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Values of current and prior pictures, the current one standing in for an absent prior.

    This is how Libra was trained (a dummy prior repeats the current picture), without encoding it twice.

    Args:
        values: [U,...] one entry per distinct picture.
        index: view -> LongTensor[B]; `prior` holds -1 where there is none.

    Returns:
        current [B,...] and prior [B,...].
    """
    current = index["current"]
    prior = torch.where(index["prior"] < 0, current, index["prior"])
    return gather_rows(values, current), gather_rows(values, prior)
