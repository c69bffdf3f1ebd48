# SPDX-License-Identifier: Apache-2.0
"""How often something happens in a training."""

from __future__ import annotations

from collections.abc import Mapping

from libra_monai.errors import ConfigError


def steps_between(interval: int | Mapping[str, int], epoch_length: int) -> int:
    """An interval in optimiser steps.

    Args:
        interval: epochs, or `{"steps": n}`, or `{"epochs": n}`.
        epoch_length: steps of an epoch.

    Raises:
        ConfigError: it is neither.
    """
    given = dict(interval) if isinstance(interval, Mapping) else {"epochs": interval}
    (unit, number), *more = given.items() or {"": 0}.items()
    if more or unit not in ("steps", "epochs") or isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigError(f"interval {interval!r} is no interval", 'Give a number of epochs, or {"steps": 200}.')
    return number if unit == "steps" else number * epoch_length
