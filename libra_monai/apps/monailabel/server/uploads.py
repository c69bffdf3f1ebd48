# SPDX-License-Identifier: Apache-2.0
"""Studies that come by upload: a session of one picture, or of a picture and its prior.

A file is looked at before it is kept, by the input gate every study passes. Two files of two patients are refused. Names of
the files sent are not used. All sessions together have a bounded room. They are deleted after a day, and are not in the worklist: who
has the id has the study.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from libra_monai.apps.monailabel.server.quota import Quota, bytes_of
from libra_monai.apps.monailabel.sources.studies import Entry, EntryStudies, moment_of
from libra_monai.data.request import file_record, speaks_against
from libra_monai.data.sources.headers import Header, NotUsed, read_header
from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms import LoadRadiograph

PREFIX = "upload-"
VIEWS = ("current", "prior")
_KINDS = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"))


class Uploads(EntryStudies):
    """Uploaded sessions.

    Args:
        root: folder of the sessions; made with the first.
        keep: hours after which a session is deleted.
        quota: room of all of them; None is ten gigabytes.
    """

    def __init__(self, root: str | Path, keep: float = 24.0, quota: Quota | None = None) -> None:
        super().__init__(str(Path(root).resolve()))
        self.keep, self.quota = keep, quota or Quota()
        self._changing = threading.Lock()
        self.clean()
        folders = sorted(Path(self.root).glob(f"{PREFIX}*")) if Path(self.root).is_dir() else []
        for folder in folders:
            self.quota.hold(folder.name, bytes_of(folder))
        self._entries = {folder.name: _entry(folder, _files(folder)) for folder in folders if _files(folder)}

    def ids(self) -> list[str]:
        """None: sessions are known to who made them. Whoever asks for the list has old ones deleted."""
        self.clean()
        return []

    def add(self, streams: Sequence[BinaryIO], name: str | None = None, ordered: bool = True) -> tuple[str, str | None]:
        """Keep a session; its image id, and that of the prior.

        Args:
            streams: the current picture, and the prior if there is one.
            name: image id; None makes one that nobody can guess.
            ordered: False lets the dates of the two decide which is the current one, where both have one.

        Raises:
            ConfigError: too few or too many files, or pictures of two patients.
            StudyError: a file cannot be drafted from.
            UploadsFull: there is no room.
        """
        self.clean()
        if not 1 <= len(streams) <= len(VIEWS):
            raise ConfigError(f"{len(streams)} files were sent", "Send one picture, or the current one and its prior.")
        name = name or f"{PREFIX}{uuid.uuid4().hex}"
        with self.quota.room(name, sum(map(_size, streams))):
            return self._add(streams, name, ordered)

    def _add(self, streams: Sequence[BinaryIO], name: str, ordered: bool) -> tuple[str, str | None]:
        """Keep a session that has room."""
        folder, coming = Path(self.root) / name, Path(self.root) / f".coming-{uuid.uuid4().hex}"
        coming.mkdir(parents=True, mode=0o700)
        try:
            files = {view: _kept(stream, coming / view) for view, stream in zip(VIEWS, streams, strict=False)}
            if not ordered:
                files = _by_date(files)
            check_session(files)
            with self._changing:
                if name not in self._entries:  # else a session of MONAI Label that two clients name at once
                    coming.rename(folder)
                    self._entries = {**self._entries, name: _entry(folder, _files(folder))}
                return name, self._entries[name].about["prior"]
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def adopt(self, place: Path) -> str:
        """Take over a session of MONAI Label; the same one again is the same study.

        Args:
            place: its picture, or the folder of its pictures: two are told apart by their dates, or by the names `current` and `prior`.

        Raises:
            ConfigError, StudyError: as `add`; or nobody tells which of two pictures is the current one.
        """
        name = PREFIX + hashlib.sha256(str(place).encode()).hexdigest()[:32]
        if name in self._entries:
            return name
        files = sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else [place]
        if len(files) == len(VIEWS):
            files = _in_order(files)
        with contextlib.ExitStack() as opened:
            return self.add([opened.enter_context(path.open("rb")) for path in files], name)[0]

    def clean(self) -> None:
        """Delete sessions that are too old, and what a killed server left half done."""
        place, now = Path(self.root), time.time()
        for folder in place.iterdir() if place.is_dir() else ():
            if not folder.name.startswith((PREFIX, ".coming-")):
                continue
            limit = 1.0 if folder.name.startswith(".coming-") else self.keep
            try:
                age = now - folder.stat().st_mtime
            except FileNotFoundError:  # another request's, which has just been kept or refused
                continue
            if age > limit * 3600:
                with self._changing:
                    shutil.rmtree(folder, ignore_errors=True)
                    self.quota.free(folder.name)
                    self._entries = {name: entry for name, entry in self._entries.items() if name != folder.name}


def check_session(files: dict[str, Path]) -> None:
    """Refuse pictures that cannot be drafted from, and a prior that cannot be one.

    Args:
        files: view -> file.

    Raises:
        StudyError: a picture is refused by the input gate, or cannot be read.
        ConfigError: the two are of two patients, or in the wrong order.
    """
    for view, path in files.items():
        try:
            LoadRadiograph()(path)
        except StudyError as error:
            raise StudyError(view, error.stage, f"the {view} picture: {error.reason}", error.remedy) from error
    against = speaks_against(str(files["current"]), str(files["prior"])) if "prior" in files else None
    if against == "dated after the current study":
        raise ConfigError("the prior is dated after the current picture", "Send the later picture as the current one.")
    if against:
        raise ConfigError(f"the two pictures are of two patients ({against})", "Send pictures of one patient in one session.")


def _by_date(files: dict[str, Path]) -> dict[str, Path]:
    """The files with the later one as current, renamed if they came the other way round."""
    times = [header.time if (header := _header(path)) else None for path in files.values()]
    if len(times) < 2 or None in times or times[0] >= times[1]:
        return files
    current, prior = files["prior"], files["current"]
    swapped = {view: path.with_name(f"{view}-{path.suffix}") for view, path in (("current", current), ("prior", prior))}
    for view, path in (("current", current), ("prior", prior)):
        path.rename(swapped[view])
    return {view: path.rename(path.with_name(f"{view}{path.suffix}")) for view, path in swapped.items()}


def _in_order(files: list[Path]) -> list[Path]:
    """The current picture, then the prior."""
    named = {path.stem.lower(): path for path in files}
    if set(named) == set(VIEWS):
        return [named[view] for view in VIEWS]
    times = [header.time if (header := _header(path)) else None for path in files]
    if None in times or times[0] == times[1]:
        raise ConfigError("nothing tells which of the two pictures is the prior", "Name the files current and prior.")
    return files if times[0] > times[1] else files[::-1]


def _size(stream: BinaryIO) -> int:
    """Bytes of what was sent; it lies in memory or in a temporary file."""
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    stream.seek(0)
    return size


def _kept(stream: BinaryIO, place: Path) -> Path:
    """The file of a stream, with an ending by its first bytes."""
    head = stream.read(132)
    ending = ".dcm" if head[128:] == b"DICM" else next((end for magic, end in _KINDS if head.startswith(magic)), None)
    if ending is None:
        raise StudyError(place.name, "pixels", f"the {place.name} picture is no DICOM, PNG or JPEG file", "Send the picture itself, not an archive.")
    path = place.with_suffix(ending)
    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(stream, file, 1 << 20)
    return path


def _files(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.stem in VIEWS}
    return {view: found[view] for view in VIEWS if view in found} if "current" in found else {}


def _entry(folder: Path, files: dict[str, Path]) -> Entry:
    headers = {view: _header(path) for view, path in files.items()}
    current, prior = headers["current"], headers.get("prior")
    relative = {view: f"{folder.name}/{path.name}" for view, path in files.items()}
    prior_id = f"{folder.name}-prior" if "prior" in files else None
    times = [header.time if header else None for header in (current, prior)]
    gap = round((times[0] - times[1]).total_seconds() / 3600, 3) if all(times) else None
    earlier = [{"study_id": prior_id, "image": relative["prior"], "gap_hours": gap, "findings": None, "impression": None}] if prior_id else []
    record = {
        **file_record(str(files["current"]), str(files["prior"]) if prior_id else None),
        **relative,
        "study_id": folder.name,
        "prior_study_id": prior_id,
        "gap_hours": gap,
        "earlier": earlier,
    }
    view = current.view if current else None
    about = {"id": folder.name, **moment_of(times[0]), "view": view, "prior": prior_id}
    priors = ({"id": prior_id, **moment_of(times[1]), "view": prior.view if prior else None, "gap_hours": gap},) if prior_id else ()
    return Entry(record, about, priors, times[0])


def _header(path: Path) -> Header | None:
    try:
        return read_header(str(path), any_object=True)
    except NotUsed:
        return None
