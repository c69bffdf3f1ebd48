# SPDX-License-Identifier: Apache-2.0
"""Formats that an earlier start could not write, for studies whose draft stands: written now if what was wrong is mended.

Nothing is drafted again. The text comes from `predictions.jsonl`; the study's files are read once more, since writers want their headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from libra_monai import ranks
from libra_monai.data.dataset import StudyDataset
from libra_monai.data.processor import StudyProcessor
from libra_monai.errors import StudyError
from libra_monai.handlers.failures import FailureLog
from libra_monai.handlers.ledger import DraftLedger
from libra_monai.outputs import draft_from, drafts_of, write_formats
from libra_monai.types import Failure, Generation, ReportDraft


class FormatRetry:
    """Writes every format of the studies that `DraftLedger.failures` names; processes share them out.

    Args:
        ledger: of the run.
        failures: from which mended ones are taken.
        records: of the whole run.
        pictures: the transform that reads a record's files.
        processor, card: of the model.
        output_dir: drafts go to its subfolder `drafts`.
        formats: registered writers.
    """

    def __init__(
        self,
        ledger: DraftLedger,
        failures: FailureLog,
        records: Sequence[Mapping[str, Any]],
        pictures: Callable,
        processor: StudyProcessor,
        card: Mapping[str, Any],
        output_dir: str | Path,
        formats: Sequence[str],
    ) -> None:
        self.ledger, self.failures, self.records, self.pictures = ledger, failures, records, pictures
        self.processor, self.card = processor, dict(card)
        self.folder, self.formats = Path(output_dir) / "drafts", list(formats)

    def run(self) -> None:
        """Try them all, until the run is asked to stop; every process must call."""
        names = ranks.gather(sorted({str(failure.study_id) for failure in self.ledger.failures}))[0]
        mine = set(names[ranks.rank() :: ranks.world_size()])
        rows = {row["study_id"]: row for row in self.ledger.rows() if row["study_id"] in mine} if mine else {}
        known = [dict(record) for record in self.records if record["study_id"] in rows]
        tried: list[str] = []
        left: list[Failure] = []
        bar = tqdm(known, desc="writing formats that failed", unit="study", delay=2, leave=False, disable=ranks.is_secondary())
        for record in bar:
            if self.ledger.interrupted:
                break
            tried.append(record["study_id"])
            left += self._left(record, rows[record["study_id"]])
        everywhere = [name for part in ranks.gather(tried) for name in part]
        if ranks.is_main():
            self.failures.settle(everywhere)
        self.failures.add(left)

    def _left(self, record: dict[str, Any], row: Mapping[str, Any]) -> list[Failure]:
        """What still cannot be written of a study."""
        try:
            draft = self._draft(record, row)
            failed = write_formats(draft, self.folder, self.formats)[1]
        except StudyError as error:
            failed = [error]
        return [Failure(record["study_id"], error.file, error.stage, error.reason, error.remedy) for error in failed]

    def _draft(self, record: dict[str, Any], row: Mapping[str, Any]) -> ReportDraft:
        batch = self.processor.collate([StudyDataset([record], self.pictures)[0]])
        if batch.failures:
            failure = batch.failures[0]
            raise StudyError(failure.file, failure.stage, failure.reason, failure.remedy)
        fresh = drafts_of(batch, [Generation([], text=row["prediction"])], self.processor, self.card)[0]
        told = draft_from(row)
        return replace(fresh, warnings=told.warnings, evidence=told.evidence, evidence_note=told.evidence_note)
