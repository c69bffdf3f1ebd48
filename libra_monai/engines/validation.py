# SPDX-License-Identifier: Apache-2.0
"""Run an evaluator during training."""

from __future__ import annotations

import logging

from ignite.engine import Engine
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

logger = logging.getLogger(__name__)


class Validate(ValidationHandler):
    """MONAI's validation handler that also tells the evaluator how many steps have been trained.

    Args:
        interval: epochs between validations.
        validator: the evaluator.
    """

    def __init__(self, interval: int, validator: Evaluator) -> None:
        super().__init__(interval=interval, validator=validator, epoch_level=True)

    def __call__(self, engine: Engine) -> None:
        self.validator.state.trained_steps = engine.state.iteration
        super().__call__(engine)
        values = {k: v for k, v in self.validator.state.metrics.items() if isinstance(v, float)}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("epoch %d, step %d: %s", engine.state.epoch, engine.state.iteration, shown)

