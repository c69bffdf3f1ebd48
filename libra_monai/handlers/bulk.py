# SPDX-License-Identifier: Apache-2.0
"""Drafts of any number of studies: appended as they come, stopped when asked, gone on with by the same command."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.errors import Interrupted
from libra_monai.handlers.failures import FailureLog
from libra_monai.handlers.ledger import DraftLedger
from libra_monai.handlers.outputs import in_order
from libra_monai.outputs import PagePictures, write_html_report
from libra_monai.outputs.html import MAX_STUDIES
from libra_monai.types import ReportDraft

logger = logging.getLogger(__name__)


class BulkWriter:
    """Handler that appends drafts to the ledger, and keeps only the few that `report.html` shows.

    Args:
        ledger: of the run.
        title: heading of the page.
        pictures: reads what the page shows; None shows no pictures.
        failures: for the number of studies that failed.
    """

    def __init__(
        self, ledger: DraftLedger, title: str, pictures: PagePictures | None = None, failures: FailureLog | None = None
    ) -> None:
        self.ledger, self.title, self.pictures, self.failures = ledger, title, pictures, failures
        self.shown: list[tuple[ReportDraft, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        drafts, records = engine.state.output["drafts"], engine.state.output["records"]
        self.ledger.add(drafts, records)
        self.shown += list(zip(drafts, records, strict=True))[: max(0, MAX_STUDIES - len(self.shown))]

    def _write(self, engine: Engine) -> None:
        if self.ledger.interrupted:  # the next start takes the parts over
            return
        failed = len(self.failures.gathered()) if self.failures else 0
        shown = in_order(ranks.gather(self.shown))[:MAX_STUDIES]
        if ranks.is_main():
            total = self.ledger.merge()
            drafts, records = [draft for draft, _ in shown], [record for _, record in shown]
            scores, page = getattr(engine.state, "scores", None), Path(self.ledger.folder) / "report.html"
            write_html_report(page, self.title, drafts, records, self.pictures, scores, failed, total)
        ranks.barrier()


def run_bulk(evaluator: Any, ledger: DraftLedger) -> None:
    """Draft what remains. SIGINT or SIGTERM ends the run once the batch that is computed is written; a second
    SIGINT ends it at once.

    Args:
        evaluator: the engine.
        ledger: of the run.

    Raises:
        Interrupted: it was asked to stop; what is done is kept.
    """
    if not ledger.remaining_count:
        logger.warning("nothing remains to be drafted; see %s", ledger.path)
        return
    with _stopping(evaluator, ledger):
        if len(evaluator.data_loader):
            evaluator.run()
        else:  # fewer studies remain than there are processes; the others wait for this one at their end
            evaluator.fire_event(Events.COMPLETED)
    if ledger.interrupted:
        raise Interrupted(f"stopped when asked; the drafts so far stand in {ledger.path}", "The same command goes on.")


@contextmanager
def _stopping(evaluator: Any, ledger: DraftLedger) -> Iterator[None]:
    """Signals become a request to stop; only the main thread can hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        ledger.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        evaluator.terminate()

    before = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
