# SPDX-License-Identifier: Apache-2.0
"""What is done with a complete study: its prior is fetched, a draft written, the objects sent back."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from libra_monai.apps.listen.deliver import deliver, identity
from libra_monai.apps.listen.prior import fetch_earlier
from libra_monai.apps.listen.queue import ANSWERED, DRAFTED, FAILED, RECEIVING, State, StudyQueue
from libra_monai.apps.peers import Peer, PeerError
from libra_monai.data.chronology import Choice, PriorRule, to_record
from libra_monai.data.request import choice_of
from libra_monai.data.sources.study_folder import StudyFolder
from libra_monai.errors import StudyError
from libra_monai.files import append_jsonl
from libra_monai.outputs import write_formats
from libra_monai.types import Failure, ReportDraft

logger = logging.getLogger(__name__)
PRIOR_TRIES = 4  # of an archive that does not answer, before a draft is written without it
OTHER_TRIES = 4  # of an error nobody foresaw
NOT_ASKED = "the archive of earlier studies did not answer; a prior may exist"


class Worker:
    """Works on what is due, one study at a time.

    Args:
        queue: of studies.
        model: a loaded model (`report_record`).
        title: AE title of this side.
        target: where drafts go; None keeps them in the work folder.
        archive: where earlier studies come from; None looks at none.
        rule: how the prior is chosen; its `now` follows the clock.
        dated: False trusts dates in the future, which de-identified archives have.
        formats: registered writers; every DICOM object they write is sent.
    """

    def __init__(
        self,
        queue: StudyQueue,
        model: Any,
        title: str,
        target: Peer | None = None,
        archive: Peer | None = None,
        rule: PriorRule | None = None,
        formats: Sequence[str] = ("sr",),
        dated: bool = True,
    ) -> None:
        self.queue, self.model, self.title, self.target, self.archive = queue, model, title, target, archive
        self.rule, self.formats, self.dated = rule or PriorRule(), list(formats), dated

    def step(self) -> int:
        """Work on all that is due now; the number of studies."""
        due = self.queue.due()
        for state in due:
            try:
                self._draft(state) if state.status == RECEIVING else self._send(state)
            except PeerError as error:
                logger.warning("study %s: %s; again in %g s", self._name(state), error, self.queue.again(state))
            except StudyError as error:
                self._fail(state, error)
            except Exception as error:  # its text may quote what was sent
                self._unforeseen(state, error)
        return len(due)

    def _draft(self, state: State) -> None:
        place = self.queue.place(state.study_uid)
        choice = self._choose(state, [place / "objects"])
        notes: list[str] = []
        if self.archive is not None:
            notes = self._fetch(state, choice, place / "earlier")
            choice = self._choose(state, [place / "objects", place / "earlier"])
        out = place / "out"
        shutil.rmtree(out, ignore_errors=True)
        draft = self._written(choice)
        draft.warnings += notes
        _, failed = write_formats(draft, out, self.formats)
        if failed:
            raise failed[0]
        logger.info("study %s: drafted %s a prior", self._name(state), "with" if draft.prior_used else "without")
        self.queue.move(state, DRAFTED)
        self.step_sending(state.study_uid, state.objects)

    def step_sending(self, study_uid: str, objects: int) -> None:
        """Send at once what was just drafted, unless objects have come since."""
        state = self.queue.state(study_uid)
        if state.status == DRAFTED and state.objects == objects:
            self._send(State(**vars(state)))

    def _send(self, state: State) -> None:
        for path in sorted((self.queue.place(state.study_uid) / "out").glob("*.dcm")):
            uid = identity(path)
            if self.target is not None and uid not in state.sent:
                deliver([path], self.target, self.title)
                self.queue.sent(state.study_uid, uid)
        self.queue.move(state, ANSWERED)
        logger.info("study %s: answered", self._name(state))

    def _fetch(self, state: State, choice: Choice, folder: Path) -> list[str]:
        """Earlier studies into a folder; what the reader of the draft should know of it."""
        study, until = choice.study, f"{choice.study.time:%Y%m%d}" if choice.study.time else ""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            fetch_earlier(self.archive, self.title, study.patient_id, state.study_uid, until, folder, self.queue.expecting)
        except PeerError as error:
            if state.tries < PRIOR_TRIES:
                raise
            logger.warning("study %s: drafted without looking for a prior: %s", self._name(state), error)
            return [NOT_ASKED]
        return []

    def _choose(self, state: State, folders: list[Path]) -> Choice:
        """The study with its pictures and prior.

        Raises:
            StudyError: it is of two patients, or has no frontal picture.
        """
        source, rule = StudyFolder(), replace(self.rule, now=datetime.now() if self.dated else None)
        studies = source.gather(folders)
        return choice_of(studies, state.study_uid, rule, f"study {self._name(state)}", [reason for _, reason in source.skipped])

    def _written(self, choice: Choice) -> ReportDraft:
        record = to_record(choice)
        draft = self.model.report_record(record, Path(record["current"]).anchor)
        known = [*draft.warnings, *(note for note in choice.warnings if note.endswith("not used as prior"))]
        draft.warnings += [note for note in choice.warnings if note not in known]
        return draft

    def _fail(self, state: State, error: StudyError) -> None:
        name = self._name(state)
        logger.error("study %s: %s. %s", name, error.reason, error.remedy)
        row = Failure(name, error.file, error.stage, error.reason, error.remedy).as_json()
        append_jsonl(self.queue.folder / "failed.jsonl", [row | {"when": datetime.now().isoformat(timespec="seconds")}])
        self.queue.move(state, FAILED, error.reason)

    def _unforeseen(self, state: State, error: Exception) -> None:
        kind = type(error).__name__
        if state.tries >= OTHER_TRIES:
            self._fail(state, StudyError(f"study {self._name(state)}", "draft", f"unexpected error {kind}", "Report it."))
            return
        logger.error("study %s: unexpected error %s; again in %g s", self._name(state), kind, self.queue.again(state))

    def _name(self, state: State) -> str:
        """What logs call a study: the name of its folder."""
        return self.queue.place(state.study_uid).name[:12]
