# SPDX-License-Identifier: Apache-2.0
"""The model folder a training ends with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.checkpoints import save_model
from libra_monai.data.processor import StudyProcessor
from libra_monai.networks.report_model import ReportModel
from libra_monai.networks.sharding import whole

logger = logging.getLogger(__name__)


def save_run_model(
    network: ReportModel,
    processor: StudyProcessor,
    folder: Path,
    card: Mapping[str, Any],
    base: str | Mapping[str, str] | None,
    full: bool,
) -> None:
    """Write the model folder of a run; every process must call, the first writes.

    Args:
        network, processor, folder, card: see `save_model`.
        base: what the run got as `ckpt`; frozen parts then only point there.
        full: write every tensor all the same.
    """
    with whole(network):
        if ranks.is_main():
            save_model(network, processor, folder, card, base=None if full else base)
    ranks.barrier()


class SaveFinalModel:
    """Handler that saves the model folder `last` when training ends.

    Args:
        network, processor, card: what is saved.
        output_dir: parent of the folder.
        base: what the run got as `ckpt`; frozen parts then only point there.
        full: write every tensor all the same.
    """

    name = "last"

    def __init__(
        self,
        network: ReportModel,
        processor: StudyProcessor,
        card: Mapping[str, Any],
        output_dir: str | Path,
        base: str | Mapping[str, str] | None = None,
        full: bool = False,
    ) -> None:
        self.network, self.processor, self.card = network, processor, dict(card)
        self.base, self.full = base, full
        self.folder = Path(output_dir) / self.name

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        save_run_model(self.network, self.processor, self.folder, self.card, self.base, self.full)
        logger.info("saved %s", self.folder)
