# SPDX-License-Identifier: Apache-2.0
"""Run an evaluator during training."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from libra_monai.errors import ConfigError
from libra_monai.handlers.best import BestModel
from libra_monai.handlers.interval import steps_between
from libra_monai.networks.sharding import whole

logger = logging.getLogger(__name__)


class Validate(ValidationHandler):
    """MONAI's validation handler, every few epochs or steps, that also ends the training when patience has run out.

    It runs behind an optimiser step, never behind the end of an epoch, so that a run resumed from that step misses none.

    Args:
        interval: epochs, or `{"steps": n}`; None never validates.
        validator: the evaluator.
        best: its judge of what is best; `patience` stands there.
    """

    def __init__(self, interval: int | Mapping[str, int] | None, validator: Evaluator, best: BestModel | None = None) -> None:
        super().__init__(interval=1, validator=validator, epoch_level=False)
        self.every, self.best = interval, best

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer.

        Raises:
            ConfigError: there is no study to validate on.
        """
        if self.every is None:
            return
        if self.validator.state.epoch_length == 0:
            raise ConfigError("the validation split is empty", "Check `split`, or set `val_interval` to null to train without.")
        self.steps = steps_between(self.every, engine.state.epoch_length)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if it is time."""
        if engine.state.iteration % self.steps:
            return
        self.validator.state.trained_steps = engine.state.iteration
        with whole(self.validator.network):  # once: processes may have different numbers of batches
            super().__call__(engine)
        values = {k: v for k, v in self.validator.state.metrics.items() if isinstance(v, float)}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("epoch %d, step %d: %s", engine.state.epoch, engine.state.iteration, shown)
        if self.best is not None and self.best.stop:
            logger.info("nothing better in %d validations; training ends", self.best.patience)
            engine.terminate()
