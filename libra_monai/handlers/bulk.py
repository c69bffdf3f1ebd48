# SPDX-License-Identifier: Apache-2.0
"""Drafts of any number of studies: appended as they come, stopped when asked, gone on with by the same command."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.errors import Interrupted
from libra_monai.handlers.failures import FailureLog
from libra_monai.handlers.format_retry import FormatRetry
from libra_monai.handlers.ledger import DraftLedger
from libra_monai.outputs import PagePictures, draft_from, write_html_report
from libra_monai.outputs.html import MAX_STUDIES

logger = logging.getLogger(__name__)


class BulkWriter:
    """Handler that appends drafts to the ledger, and in the end writes `report.html` of the first of all in its folder.

    Args:
        ledger: of the run.
        title: heading of the page.
        pictures: reads what the page shows; None shows no pictures.
        failures: for the number of studies that failed.
        records: of the whole run, for the pictures of studies that an earlier start drafted.
    """

    def __init__(
        self,
        ledger: DraftLedger,
        title: str,
        pictures: PagePictures | None = None,
        failures: FailureLog | None = None,
        records: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.ledger, self.title, self.pictures, self.failures, self.records = ledger, title, pictures, failures, records

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        self.ledger.add(engine.state.output["drafts"], engine.state.output["records"])

    def _write(self, engine: Engine) -> None:
        if self.ledger.interrupted:  # the next start takes the parts over
            return
        failed = len(self.failures.gathered()) if self.failures else 0
        if ranks.is_main():
            total = self.ledger.merge()
            drafts = [draft_from(row) for row in itertools.islice(self.ledger.rows(), MAX_STUDIES)]
            wanted = {draft.study_id for draft in drafts}
            known = {record["study_id"]: record for record in self.records if record["study_id"] in wanted}
            records = [known.get(draft.study_id, {}) for draft in drafts]
            scores, page = getattr(engine.state, "scores", None), Path(self.ledger.folder) / "report.html"
            write_html_report(page, self.title, drafts, records, self.pictures, scores, failed, total)
        ranks.barrier()


def run_bulk(evaluator: Any, ledger: DraftLedger, retry: FormatRetry | None = None) -> None:
    """Draft what remains, then write what an earlier start could not. SIGINT or SIGTERM ends the run once the batch that is computed is written; a second
    SIGINT ends it at once.

    Args:
        evaluator: the engine.
        ledger: of the run.
        retry: of formats that failed before.

    Raises:
        Interrupted: it was asked to stop; what is done is kept.
    """
    if not ledger.remaining_count:
        logger.warning("nothing remains to be drafted; see %s", ledger.path)
    with _stopping(evaluator, ledger):
        if ledger.remaining_count and len(evaluator.data_loader):
            evaluator.run()
        elif ledger.remaining_count or ledger.done:  # fewer remain than there are processes; at both ends all exchange what they have
            evaluator.fire_event(Events.EPOCH_COMPLETED)
            evaluator.fire_event(Events.COMPLETED)
        if retry is not None and not ledger.interrupted:
            retry.run()
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
