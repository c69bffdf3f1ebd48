# SPDX-License-Identifier: Apache-2.0
"""Studies of a local folder: DICOM files of any layout, and PNG and JPEG pictures.

Headers say whose and when a DICOM picture is, and priors are found by the project's rule, as `libra-monai report` does.
A PNG or JPEG file says nothing: each is a study of its own without a prior, unless a `datalist.json` in the folder tells
more. The folder is looked through again in the background; only new and changed files are opened.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from libra_monai import paths
from libra_monai.apps.monailabel.sources.studies import Entry, EntryStudies, entry_of, newest_first, with_safe_ids
from libra_monai.data.chronology import PriorRule, choose_priors
from libra_monai.data.datalist import load_records
from libra_monai.data.schema import FIELDS, SPLITS
from libra_monai.data.sources.headers import Header, NotUsed, read_header
from libra_monai.data.sources.study_folder import StudyFolder
from libra_monai.errors import ConfigError, StudyError
from libra_monai.outputs.names import file_name
from libra_monai.types import FAILURE, Record

logger = logging.getLogger(__name__)
DATALIST = "datalist.json"
_PICTURES = (".png", ".jpg", ".jpeg")
_NOT_DICOM = "not a DICOM file"


class LocalStudies(EntryStudies):
    """A folder of studies.

    Args:
        root: the folder.
        home: folder of the app's own files, which is not looked into.
        rule: how priors are chosen; its `now` follows the clock.
        refresh: seconds after which the folder is looked through again.
        dated: False trusts dates in the future, which de-identified archives have.

    Raises:
        ConfigError: the folder does not exist.
    """

    def __init__(
        self, root: str | Path, home: str | Path | None = None, rule: PriorRule | None = None, refresh: float = 10.0, dated: bool = True
    ) -> None:
        super().__init__(str(Path(root).resolve()))
        if not Path(root).is_dir():
            raise ConfigError(f"--studies {root} is no folder", "Give an existing folder, or the address of a DICOMweb server.")
        self.home = None if home is None else Path(home).resolve()
        self.rule, self.refresh, self.dated = rule or PriorRule(), refresh, dated
        self._headers = RememberedHeaders()
        self._scanning, self._scanned = threading.Lock(), -float("inf")
        self.scan()

    def ids(self) -> list[str]:
        """All image ids, newest study first; of a folder that changed, those of the look before."""
        if time.monotonic() - self._scanned > self.refresh and not self._scanning.locked():
            threading.Thread(target=self._scan_quietly, name="label-scan", daemon=True).start()
        return super().ids()

    def scan(self) -> None:
        """Look through the folder now."""
        with self._scanning:
            left_out: Counter[str] = Counter()
            source = StudyFolder(self._headers)
            rule = replace(self.rule, now=datetime.now() if self.dated else None)
            entries: dict[str, Entry] = {}
            for choice in choose_priors(source.read(Path(self.root), None, self.home), rule):
                if choice.current is None:
                    left_out["without a usable frontal picture"] += 1
                else:
                    entries[file_name(choice.study.study_id)] = entry_of(choice)
            pictures = []
            for path, reason in source.skipped:
                if reason == _NOT_DICOM and path.lower().endswith(_PICTURES):
                    pictures.append(path)
                elif reason != _NOT_DICOM:
                    left_out[reason] += 1
            entries |= self._pictures(pictures, left_out)
            self._entries, self.left_out, self._scanned = newest_first(entries), left_out, time.monotonic()

    def _scan_quietly(self) -> None:
        try:
            self.scan()
        except Exception as error:  # the list of before stays; its text may name a patient
            logger.error("the studies folder cannot be looked through (%s)", type(error).__name__)
            self._scanned = time.monotonic()

    def _entry(self, image_id: str) -> Entry:
        if image_id not in self._entries and time.monotonic() - self._scanned > 1.0:
            self.scan()  # it may have come since
        return super()._entry(image_id)

    def _pictures(self, found: list[str], left_out: Counter[str]) -> dict[str, Entry]:
        """Entries of PNG and JPEG files; the datalist's studies, then what it does not name."""
        listed = self._listed(left_out)
        named = {record[view] for record in listed for view in ("current", "prior", "lateral") if record.get(view)}
        entries = {record["study_id"]: _entry_of_record(record) for record in listed if record["current"] in found}
        for path in found:
            if path in named:
                continue
            name = file_name(re.sub(r"[^\w.-]", "_", str(Path(path).with_suffix("")), flags=re.ASCII))
            if name in entries:  # a.png beside a.jpg
                name = file_name(f"{name}\0{path}")
            entries[name] = _entry_of_record({**dict.fromkeys(FIELDS), "study_id": name, "current": path, "earlier": []})
        return entries

    def _listed(self, left_out: Counter[str]) -> list[dict[str, Any]]:
        """The studies of the folder's datalist."""
        place = Path(self.root) / DATALIST
        records: list[Record] = []
        for split in SPLITS if place.is_file() else ():
            try:
                records += load_records(place, split)
            except ConfigError:  # no studies in this split, or no datalist of ours
                continue
        return [record for one in records if (record := self._complete(one, left_out)) is not None]

    def _complete(self, record: Record, left_out: Counter[str]) -> dict[str, Any] | None:
        """A record of the datalist with safe ids and paths, its prior among the earlier studies; None if it cannot be used."""
        if FAILURE in record:
            left_out[f"in {DATALIST}: {record[FAILURE].reason}"] += 1
            return None
        try:
            for view in ("current", "prior", "lateral"):
                if record.get(view):
                    paths.inside(self.root, record[view])
        except StudyError as error:
            left_out[f"in {DATALIST}: {error.reason}"] += 1
            return None
        earlier = list(record.get("earlier") or ())
        prior = record.get("prior_study_id") or (f"{record['study_id']}-prior" if record.get("prior") else None)
        if prior and all(one["study_id"] != prior for one in earlier):
            texts = {name: record.get(f"prior_{name}") for name in ("findings", "impression")}
            earlier.insert(0, {"study_id": prior, "image": record["prior"], "gap_hours": record.get("gap_hours"), **texts})
        return with_safe_ids({**record, "prior_study_id": prior, "earlier": earlier})


class RememberedHeaders:
    """Headers of files, read again only when a file has changed."""

    def __init__(self, read: Callable[[str], Header] = read_header) -> None:
        self._read = read
        self._known: dict[str, tuple[tuple[int, int], Header | str]] = {}

    def __call__(self, path: str) -> Header:
        """See `read_header`."""
        try:
            status = os.stat(path)
        except OSError as error:
            raise NotUsed(f"the file cannot be opened ({type(error).__name__})") from error
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            try:
                found: Header | str = self._read(path)
            except NotUsed as reason:
                found = str(reason)
            known = self._known[path] = (stamp, found)
        if isinstance(known[1], str):
            raise NotUsed(known[1])
        return known[1]


def _entry_of_record(record: Record) -> Entry:
    priors = tuple(
        {"id": one["study_id"], "date": None, "time": None, "view": None, "gap_hours": one["gap_hours"]}
        for one in record.get("earlier") or ()
    )
    about = {"id": record["study_id"], "date": None, "time": None, "view": record.get("view"), "prior": record.get("prior_study_id")}
    return Entry(record, about, priors)
