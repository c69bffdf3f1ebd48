# SPDX-License-Identifier: Apache-2.0
"""Studies that could not be used: logged once, listed in `failed.jsonl`, told by the exit status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from libra_monai import ranks
from libra_monai.errors import StudiesFailed
from libra_monai.files import append_jsonl, write_jsonl
from libra_monai.types import Failure

logger = logging.getLogger(__name__)
FILE = "failed.jsonl"


class FailureLog:
    """The failures of one run; of several processes each keeps its own until the end, when the first writes them all.

    Args:
        output_dir: where `failed.jsonl` is written.
        earlier: has `failures` of earlier starts that still hold, such as a `DraftLedger`.
    """

    def __init__(self, output_dir: str | Path, earlier: Any = None) -> None:
        own = f".{ranks.rank()}" if ranks.is_secondary() else ""
        self.path = Path(output_dir) / f"{Path(FILE).stem}{own}.jsonl"
        self.failures: dict[tuple[str | None, str], Failure] = {}
        self.path.unlink(missing_ok=True)  # of an earlier run
        if earlier is not None:
            self.add(earlier.failures, logged=False)

    def add(self, failures: Iterable[Failure], logged: bool = True) -> None:
        """Note failures; each study and file is logged once, however often it comes by.

        Args:
            failures: from a batch.
            logged: off where the caller tells the user itself.
        """
        new = [f for f in failures if (f.study_id, f.file) not in self.failures]
        for failure in new:
            self.failures[failure.study_id, failure.file] = failure
            if logged:
                reason = f"{failure.reason}. {failure.remedy}"
                logger.error("study %s skipped: %s: %s", failure.study_id, failure.file, reason)
        if new:
            append_jsonl(self.path, [failure.as_json() for failure in new])  # rewriting would cost the square of their number

    def settle(self, study_ids: Iterable[str | None]) -> None:
        """Forget the failures of studies that were mended since.

        Args:
            study_ids: of the studies.
        """
        mended = set(study_ids)
        self.failures = {key: failure for key, failure in self.failures.items() if failure.study_id not in mended}
        if mended and self.failures:
            write_jsonl(self.path, [failure.as_json() for failure in self.failures.values()])
        elif mended:
            self.path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """What failed so far, for a checkpoint."""
        return {"failures": [failure.as_json() for failure in self.failures.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.add([Failure(**row) for row in state["failures"]], logged=False)

    def raise_if_any(self) -> None:
        """End the run with an error if a study failed; the others are done by then.

        Raises:
            StudiesFailed: names the first failure and the file that lists all.
        """
        failures = self.gathered()
        if not failures:
            return
        path = self.path.parent / FILE
        if ranks.is_main():
            write_jsonl(path, [failure.as_json() for failure in failures])
        else:
            self.path.unlink(missing_ok=True)
        raise StudiesFailed(
            f"{len(failures)} of the studies could not be used, first {failures[0].file}: {failures[0].reason}",
            f"{failures[0].remedy} All are listed in {path}.",
        )

    def gathered(self) -> list[Failure]:
        """The failures of all processes."""
        return list({key: failure for part in ranks.gather(self.failures) for key, failure in part.items()}.values())


class StudyFailures:
    """Handler that feeds a `FailureLog` from the batches of an engine, and from what could not be drafted of them.

    Args:
        log: shared by all engines of a run.
    """

    def __init__(self, log: FailureLog) -> None:
        self.log = log

    def attach(self, engine: Engine) -> None:
        """Listen to an engine."""
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._unread)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._undrafted)

    def _unread(self, engine: Engine) -> None:
        self.log.add(engine.state.batch.failures)

    def _undrafted(self, engine: Engine) -> None:
        output = engine.state.output
        if isinstance(output, dict):
            self.log.add(output.get("failures", ()))
