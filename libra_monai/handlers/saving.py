# SPDX-License-Identifier: Apache-2.0
"""Model folders during training: the best by the key metric, and the last."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai.checkpoints import save_model
from libra_monai.data.processor import StudyProcessor
from libra_monai.networks.report_model import ReportModel

logger = logging.getLogger(__name__)


class SaveFinalModel:
    """Handler that saves the model folder `last` when training ends.

    Args:
        network, processor, card: what is saved.
        output_dir: parent of the folder.
    """

    name = "last"

    def __init__(
        self, network: ReportModel, processor: StudyProcessor, card: Mapping[str, Any], output_dir: str | Path
    ) -> None:
        self.network, self.processor, self.card = network, processor, dict(card)
        self.folder = Path(output_dir) / self.name

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        save_model(self.network, self.processor, self.folder, self.card)
        logger.info("saved %s", self.folder)


class SaveBestModel(SaveFinalModel):
    """Handler that saves the model folder `best` whenever the key metric of an evaluator improves."""

    name = "best"

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._save_if_best)

    def _save_if_best(self, engine: Engine) -> None:
        if engine.state.best_metric_epoch == engine.state.epoch:
            self._save(engine)
