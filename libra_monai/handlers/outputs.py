# SPDX-License-Identifier: Apache-2.0
"""Drafts of an evaluator to files: `predictions.jsonl`, one file a draft, and the HTML page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.files import append_jsonl, write_jsonl
from libra_monai.handlers.failures import FailureLog
from libra_monai.outputs import PagePictures, check_formats, write_formats, write_html_report
from libra_monai.outputs.html import MAX_STUDIES
from libra_monai.types import Failure, ReportDraft


class PredictionWriter:
    """Handler that writes `predictions.jsonl` and `report.html` when an evaluation ends.

    Until then each draft stands in `predictions.partial.jsonl`, so that a killed run loses one batch. Of several
    processes each keeps its own such file, and the first writes the rest for all.

    Args:
        output_dir: where to.
        title: heading of the page.
        pictures: reads what the page shows; None shows no pictures.
        failures: for the number of studies that failed.
    """

    def __init__(
        self, output_dir: str | Path, title: str, pictures: PagePictures | None = None, failures: FailureLog | None = None
    ) -> None:
        self.folder, self.title, self.pictures, self.failures = Path(output_dir), title, pictures, failures
        own = f".{ranks.rank()}" if ranks.is_secondary() else ""
        self.partial = self.folder / f"predictions.partial{own}.jsonl"
        self.drafts: list[ReportDraft] = []
        self.records: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.drafts, self.records = [], []
        self.partial.unlink(missing_ok=True)

    def _collect(self, engine: Engine) -> None:
        self.drafts += engine.state.output["drafts"]
        append_jsonl(self.partial, [draft.as_json() for draft in engine.state.output["drafts"]])
        self.records += engine.state.output["records"][: max(0, MAX_STUDIES - len(self.records))]

    def _write(self, engine: Engine) -> None:
        failed = len(self.failures.gathered()) if self.failures else 0
        drafts, records = in_order(ranks.gather(self.drafts)), in_order(ranks.gather(self.records))
        if ranks.is_main():
            write_jsonl(self.folder / "predictions.jsonl", [draft.as_json() for draft in drafts])
            scores, page = getattr(engine.state, "scores", None), self.folder / "report.html"
            write_html_report(page, self.title, drafts, records[:MAX_STUDIES], self.pictures, scores, failed)
        ranks.barrier()
        self.partial.unlink(missing_ok=True)


def in_order(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """One list of what the processes hold, each of which had every n-th study."""
    rows = itertools.zip_longest(*parts)
    return [item for row in rows for item in row if item is not None]


class DraftWriter:
    """Handler that writes each draft to its own files as it comes.

    Args:
        output_dir: drafts go to its subfolder `drafts`.
        formats: registered writers.
        failures: where a draft that a format cannot hold is noted; without it such a draft ends the run.

    Raises:
        ConfigError: a format is unknown, or its package is not installed.
    """

    def __init__(
        self, output_dir: str | Path, formats: Sequence[str] = ("text", "json"), failures: FailureLog | None = None
    ) -> None:
        check_formats(formats)
        self.folder, self.formats, self.failures = Path(output_dir) / "drafts", list(formats), failures

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for draft in engine.state.output["drafts"]:
            _, failed = write_formats(draft, self.folder, self.formats)
            if failed and self.failures is None:
                raise failed[0]
            for error in failed:
                self.failures.add([Failure(draft.study_id, error.file, error.stage, error.reason, error.remedy)])
