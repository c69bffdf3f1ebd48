# SPDX-License-Identifier: Apache-2.0
"""What a training is about to do, said before its first step."""

from __future__ import annotations

import logging
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from libra_monai import ranks
from libra_monai.networks import parameter_table

logger = logging.getLogger(__name__)


class Announce:
    """Handler that logs which parts are trained, with how many parameters, and how long the run is.

    Args:
        network: the report model.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Any) -> None:
        steps, sampler = engine.state.epoch_length, engine.data_loader.batch_sampler
        logger.info("what is trained:\n%s", parameter_table(self.network))
        logger.info(
            "%d epochs of %d steps; %d studies a step, on %d process%s",
            engine.state.max_epochs, steps, sampler.batch_size, ranks.world_size(), "" if ranks.world_size() == 1 else "es",
        )  # fmt: skip
