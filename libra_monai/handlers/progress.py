# SPDX-License-Identifier: Apache-2.0
"""A progress bar for anything that takes longer than two seconds."""

from __future__ import annotations

from ignite.engine import Engine, Events
from tqdm import tqdm

from libra_monai import ranks
from libra_monai.handlers.ledger import DraftLedger


class Progress:
    """Handler with one bar per epoch, showing the loss where there is one.

    Args:
        label: what is going on.
        unit: what one step is called.
        ledger: of a bulk run, whose bar counts studies; those done before stand in it and not in the rate. Of several
            processes it counts the share of this one.
    """

    def __init__(self, label: str, unit: str = "batch", ledger: DraftLedger | None = None) -> None:
        self.label, self.unit, self.ledger = label, unit if ledger is None else "study", ledger
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._abort)

    def _open(self, engine: Engine) -> None:
        epochs = engine.state.max_epochs or 1
        label = f"{self.label} {engine.state.epoch}/{epochs}" if epochs > 1 else self.label
        done, total = 0, engine.state.epoch_length
        if self.ledger is not None:
            done, total = len(self.ledger.done) // ranks.world_size(), -(-self.ledger.remaining_count // ranks.world_size())
        self.bar = tqdm(total=done + total, initial=done, desc=label, unit=self.unit, delay=2, leave=False)

    def _step(self, engine: Engine) -> None:
        output = engine.state.output
        if self.bar is not None:
            if isinstance(output, dict) and output.get("loss") is not None:
                self.bar.set_postfix(loss=f"{float(output['loss']):.3f}", refresh=False)
            studies = 1 if self.ledger is None else sum(map(len, (output["drafts"], output["failures"], engine.state.batch.failures)))
            self.bar.update(studies)

    def _close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _abort(self, engine: Engine, error: BaseException) -> None:
        self._close(engine)
        raise error
