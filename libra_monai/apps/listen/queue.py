# SPDX-License-Identifier: Apache-2.0
"""Studies on their way, on disk: a restart loses nothing that was acknowledged and answers nothing twice.

A study has a folder, named by a hash: `objects/` as received, `state.json`, later `earlier/` and `out/`. Every change is
one atomic write. Folders and logs carry no name of a patient; the objects do, so the folder belongs to the one user.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from libra_monai.files import hold, replacing, write_json

RECEIVING, DRAFTED, ANSWERED, FAILED = "receiving", "drafted", "answered", "failed"
BROKEN = 5  # times the usual wait for the rest of a study whose sender went away in the middle
FIRST_WAIT, LONGEST_WAIT = 10.0, 3600.0  # seconds before the second try, and at most


@dataclass
class State:
    """Where a study stands.

    Args:
        study_uid: of the study.
        status: `receiving`, `drafted`, `answered` or `failed`.
        objects: how many it has; a draft of fewer is not the last word.
        last: when the last object came, seconds of the epoch.
        broken: its sender went away without a goodbye.
        tries, next_try: of what is tried again, and when.
        sent: SOP instance UIDs that the archive has taken.
        reason: why it failed, without a word of the patient.
        emptied: its pictures and drafts were deleted.
    """

    study_uid: str
    status: str = RECEIVING
    objects: int = 0
    last: float = 0.0
    broken: bool = False
    tries: int = 0
    next_try: float = 0.0
    sent: list[str] = field(default_factory=list)
    reason: str = ""
    emptied: bool = False


class StudyQueue:
    """The work folder.

    Args:
        folder: is created, for its owner only.
        quiet: seconds without a new object after which a study is complete.
        clock: seconds of the epoch.

    Raises:
        ConfigError: another listener works there.
    """

    def __init__(self, folder: str | Path, quiet: float = 30.0, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.quiet, self.clock = Path(folder), quiet, clock
        self.studies = self.folder / "studies"
        self.studies.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self.folder, 0o700)
        self._held = hold(self.folder / ".lock", "listener")
        self._guard = threading.RLock()
        self._expected: dict[str, Path] = {}
        self._states: dict[str, State] = {}
        for path in self.studies.glob("*/state.json"):
            state = State(**json.loads(path.read_text(encoding="utf-8")))
            self._states[state.study_uid] = state
        self._adopt()

    def place(self, study_uid: str) -> Path:
        """Folder of a study."""
        return self.studies / _name(study_uid)

    def add(self, study_uid: str, sop_uid: str, content: bytes, fetched: bool = False) -> bool:
        """Keep a received object; when this returns it is on the disk. False if nothing changed by it.

        Args:
            study_uid, sop_uid: of the object.
            content: a whole DICOM file.
            fetched: it came by our own C-MOVE; nobody asked for a draft of its study.
        """
        with self._guard:
            earlier = self._expected.get(study_uid)
            if earlier is not None or fetched:
                if earlier is not None:
                    _keep(earlier / f"{_name(sop_uid)}.dcm", content)
                return False
            state, path = self._states.get(study_uid), self.place(study_uid) / "objects" / f"{_name(sop_uid)}.dcm"
            state = state or State(study_uid)
            state.last, state.broken = self.clock(), False
            if path.exists():  # sent again
                return False
            self._states[study_uid] = state
            self._save(state)
            _keep(path, content)
            state.objects += 1
            state.status, state.tries, state.next_try, state.reason = RECEIVING, 0, 0.0, ""
            state.emptied = False
            self._save(state)
            return True

    def interrupted(self, study_uid: str) -> None:
        """The sender of a study went away in the middle: its retry is waited for."""
        with self._guard:
            state = self._states.get(study_uid)
            if state is not None and state.status == RECEIVING:
                state.broken, state.last = True, self.clock()
                self._save(state)

    @contextmanager
    def expecting(self, study_uid: str, folder: Path) -> Iterator[None]:
        """Objects of a study go to a folder for as long as the block lasts: they were asked for as a prior."""
        with self._guard:
            self._expected[study_uid] = folder
        try:
            yield
        finally:
            with self._guard:
                self._expected.pop(study_uid, None)

    def due(self) -> list[State]:
        """Copies of the states that have something to be done now, oldest first."""
        with self._guard:
            ready = [state for state in self._states.values() if self._is_due(state)]
            return [State(**asdict(state)) for state in sorted(ready, key=lambda state: state.last)]

    def state(self, study_uid: str) -> State | None:
        """Where a study stands; None if nobody sent it."""
        with self._guard:
            return self._states.get(study_uid)

    def move(self, seen: State, status: str, reason: str = "") -> None:
        """Note that a step is done, unless objects have come since.

        Args:
            seen: the state the step began with.
            status: the new one.
            reason: of a failure.
        """
        with self._guard:
            state = self._states[seen.study_uid]
            if state.objects == seen.objects:
                state.status, state.reason, state.tries, state.next_try = status, reason, 0, 0.0
                self._save(state)

    def sent(self, study_uid: str, sop_uid: str) -> None:
        """Note that the archive has taken an object."""
        with self._guard:
            self._states[study_uid].sent.append(sop_uid)
            self._save(self._states[study_uid])

    def again(self, seen: State) -> float:
        """Try a step again later, each time after twice the wait; the wait in seconds."""
        with self._guard:
            state = self._states[seen.study_uid]
            wait = min(FIRST_WAIT * 2**state.tries, LONGEST_WAIT)
            state.tries, state.next_try = state.tries + 1, self.clock() + wait
            self._save(state)
            return wait

    def clean(self, keep: float) -> None:
        """Delete what lies in the folders of studies finished `keep` seconds ago; that they were answered is remembered.

        The objects' names stay, as empty files, so that one that is sent again is known.
        """
        with self._guard:
            for state in self._states.values():
                place = self.place(state.study_uid)
                if state.emptied or state.status not in (ANSWERED, FAILED) or self.clock() - state.last < keep:
                    continue
                for path in (place / "objects").glob("*.dcm"):
                    if path.stat().st_size:
                        path.write_bytes(b"")
                for name in ("earlier", "out"):
                    shutil.rmtree(place / name, ignore_errors=True)
                state.emptied = True
                self._save(state)

    def _is_due(self, state: State) -> bool:
        now = self.clock()
        if state.status == RECEIVING:
            wait = self.quiet * (BROKEN if state.broken else 1)
            return state.objects > 0 and now - state.last >= wait and now >= state.next_try
        return state.status == DRAFTED and now >= state.next_try

    def _adopt(self) -> None:
        """Count again what lies there: a process may have ended between an object and its state."""
        for state in self._states.values():
            objects = len(list((self.place(state.study_uid) / "objects").glob("*.dcm")))
            if objects > state.objects:
                state.objects, state.status, state.last = objects, RECEIVING, self.clock()
                self._save(state)

    def _save(self, state: State) -> None:
        write_json(self.place(state.study_uid) / "state.json", asdict(state))


def _keep(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: the sender forgets the object once it is acknowledged."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _name(uid: str) -> str:
    """A file name for a UID that a stranger sent."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
