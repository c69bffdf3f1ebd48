# SPDX-License-Identifier: Apache-2.0
"""Studies of an archive over DICOMweb: chest radiographs only, as the archive keeps them, priors by the project's rule.

Which studies there are is asked by QIDO-RS, whose and when and from which side each picture is by their metadata, through the
same code that reads files: a study has here the prior that `libra-monai report` finds in a folder of the same files. Pictures
are fetched when a study is opened, and never converted. Storing back is `libra_monai.apps.monailabel.sources.store_back`.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom import Dataset

from libra_monai.apps.monailabel.server.pictures import read_picture
from libra_monai.apps.monailabel.server.security import is_loopback
from libra_monai.apps.monailabel.sources.fetched import FetchedPictures
from libra_monai.apps.monailabel.sources.studies import AUTO, EVERY, Entry, entry_of, newest_first, unknown
from libra_monai.apps.peers import Candidate, PeerError, is_one_patient, parse_peer
from libra_monai.apps.web_archive import MOST, NotThere, WebArchive, object_name
from libra_monai.data.chronology import Choice, PriorRule, choose_priors
from libra_monai.data.request import choice_of
from libra_monai.data.sources.headers import TAGS, Header, NotUsed, header_of, read_header
from libra_monai.data.sources.study_folder import StudyFolder
from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms.gate import MODALITIES
from libra_monai.transforms.levels import WideLevels
from libra_monai.transforms.tags import shown
from libra_monai.types import Record

logger = logging.getLogger(__name__)
FOLDER = "fetched"  # within the app's folder
EARLIER = 8  # earlier studies that are offered, and fetched, for one study
MISSING = "the archive lists it and does not have it"
OTHER = "the archive lists it under another patient than its header names"
_ASKED = (*TAGS, "SeriesInstanceUID")
_FEW = 40  # objects whose metadata come at once; more are asked for by series, since they may be the slices of a CT
_PATIENT_SECONDS = 300.0
_REMEMBERED = 4000  # studies whose headers are kept in memory


@dataclass
class _Listed:
    """What the archive tells of the pictures of one study.

    Args:
        candidate: the study, as it was when this was asked.
        headers: name of the file -> header.
        places: name of the file -> UIDs of study, series and object.
        skipped: why other objects are no chest radiographs.
        asked: when, on a clock that only goes forward.
    """

    candidate: Candidate
    headers: dict[str, Header] = field(default_factory=dict)
    places: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    asked: float = 0.0

    def add(self, dataset: Dataset) -> None:
        """Note an object of the study, by what the archive tells of it."""
        try:
            header = header_of(dataset)
        except NotUsed as reason:
            self.skipped.append(str(reason))
            return
        except Exception as error:  # headers can be wrong in more ways than anyone foresees
            self.skipped.append(f"the header cannot be read ({type(error).__name__})")
            return
        name = object_name(header.sop_uid or "")
        self.headers[name] = header
        self.places[name] = (self.candidate.study_uid, str(dataset.get("SeriesInstanceUID", "")), header.sop_uid or "")


class WebStudies:
    """The chest radiographs of an archive.

    Args:
        archive: the archive.
        folder: of the app's own files; pictures are kept in a folder within.
        rule: how priors are chosen; its `now` follows the clock.
        days: the worklist goes back so many days; None is no limit.
        most: studies of the worklist, the newest.
        refresh: seconds after which the worklist is asked for again.
        dated: False trusts dates in the future, which de-identified archives have.
        most_bytes, keep_hours: of fetched pictures, see `FetchedPictures`.
    """

    def __init__(
        self,
        archive: WebArchive,
        folder: str | Path,
        rule: PriorRule | None = None,
        days: int | None = None,
        most: int = 200,
        refresh: float = 10.0,
        dated: bool = True,
        most_bytes: int = 10 << 30,
        keep_hours: float = 24.0,
    ) -> None:
        if most < 1 or (days is not None and days < 1):
            raise ConfigError(f"a worklist of {most} studies and {days} days is empty", "Give numbers above 0.")
        self.archive, self.days, self.most, self.refresh, self.dated = archive, days, most, refresh, dated
        self._rule = replace(rule or PriorRule(), keep_earlier=EARLIER)
        self._pictures = FetchedPictures(Path(folder) / FOLDER, most_bytes, keep_hours * 3600)
        self.root = str(self._pictures.folder.resolve())
        self.left_out: Counter[str] = Counter()
        self._entries: dict[str, Entry] = {}
        self._asked, self._cut = -float("inf"), False
        self._failed: PeerError | None = None
        self._listing, self._guard = threading.Lock(), threading.Lock()
        self._known: OrderedDict[str, _Listed] = OrderedDict()
        self._patients: dict[str, tuple[float, list[Candidate]]] = {}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="archive")

    def ids(self) -> list[str]:
        """All image ids, newest study first.

        Raises:
            PeerError: the archive did not answer as it should. It is not asked again at once, so that those who ask meanwhile do not
                wait one after another for an archive that hangs.
        """
        with self._listing:
            if time.monotonic() - self._asked > self.refresh:
                self._failed = None
                try:
                    self._list()
                except PeerError as error:
                    self._failed = error
                self._asked = time.monotonic()
            if self._failed is not None:
                raise PeerError(self._failed.what, self._failed.remedy)
            return list(self._entries)

    def about(self, image_id: str) -> dict[str, Any]:
        """See `Studies`."""
        entry = self._entries.get(image_id)
        return dict((entry or entry_of(self._choose(image_id))).about)

    def record(self, image_id: str, prior: str | None = EVERY) -> Record:
        """See `Studies`; the pictures it names lie in `root` when this returns.

        Args:
            image_id: of the study.
            prior: which earlier study will be looked at, as `with_prior` takes it, so that no other is fetched.

        Raises:
            UnknownStudy: there is none.
            StudyError: it cannot be drafted.
            PeerError: the archive did not answer as it should.
        """
        return dict(self._opened(image_id, prior).record)

    def priors(self, image_id: str) -> list[dict[str, Any]]:
        """See `Studies`; while the archive does not answer, those of the last worklist, so that reports can still be read."""
        try:
            entry = entry_of(self._choose(image_id))
        except PeerError:
            if image_id not in self._entries:
                raise
            entry = self._entries[image_id]
        return [dict(one) for one in entry.priors]

    def pixels(self, image_id: str) -> WideLevels:
        """See `Studies`."""
        picture = self._choose(image_id, alone=True).current
        missing = self._fetch([picture.path])
        if missing:
            raise StudyError(f"study {image_id}", "pixels", f"the picture cannot be had ({missing[picture.path]})", "Check the archive.")
        return read_picture(str(self._pictures.folder / picture.path))

    def _list(self) -> None:
        """Ask for the worklist."""
        found, complete = self._candidates()
        listed = self._read_all(found)
        left_out = Counter(reason for one in listed for reason in one.skipped)
        ours = {one.candidate.study_uid for one in listed}
        if not complete:  # priors may lie further back than the worklist
            patients = {header.patient_id for one in listed for header in one.headers.values() if is_one_patient(header.patient_id)}
            self._patients = {name: rows for name, rows in self._patients.items() if name in patients}
            further = [one for rows in self._pool.map(self._of_patient, sorted(patients)) for one in rows]
            listed += self._read_all(one for one in further if one.study_uid not in ours)
        entries = {}
        for choice in choose_priors(_grouped(listed), self._now()):
            if choice.study.study_uid not in ours:
                continue
            if choice.current is None:
                left_out["studies without a usable frontal picture"] += 1
            else:
                entries[choice.study.study_id] = entry_of(choice)
        self._entries, self.left_out = newest_first(entries), left_out

    def _of_patient(self, patient_id: str) -> list[Candidate]:
        """Studies of a patient, as they were some minutes ago at most; an opened study is asked for anew."""
        asked, rows = self._patients.get(patient_id, (-float("inf"), []))
        if time.monotonic() - asked > _PATIENT_SECONDS:
            rows = self.archive.studies(patient_id)
            self._patients[patient_id] = (time.monotonic(), rows)
        return rows

    def _candidates(self) -> tuple[list[Candidate], bool]:
        """The newest studies that may be radiographs, and whether these are all the archive has."""
        since = f"{date.today() - timedelta(days=self.days):%Y%m%d}" if self.days else ""
        rows = list(self._pool.map(lambda modality: self.archive.studies(modality=modality, since=since), MODALITIES))
        if any(len(row) >= MOST for row in rows):  # in no order, so the newest may be missing
            raise ConfigError(f"the archive has more than {MOST} studies of one modality", "Limit the worklist with --days.")
        found = {one.study_uid: one for row in rows for one in row}
        ordered = sorted(found.values(), key=lambda one: (one.date, one.time, one.study_uid), reverse=True)
        if len(ordered) > self.most and not self._cut:  # said once
            logger.warning("the archive has %d studies of radiographs, the worklist shows %d", len(ordered), self.most)
        self._cut = len(ordered) > self.most
        return ordered[: self.most], not self.days and len(ordered) <= self.most

    def _read_all(self, candidates: Iterable[Candidate]) -> list[_Listed]:
        """What the archive tells of several studies; one that it cannot tell of is left out.

        Raises:
            PeerError: it tells of none.
        """

        def read(one: Candidate) -> _Listed | PeerError:
            try:
                return self._read(one)
            except PeerError as error:
                return error

        answers = list(self._pool.map(read, candidates))
        errors = [answer for answer in answers if isinstance(answer, PeerError)]
        if errors:
            logger.warning("the archive told nothing of %d of %d studies: %s", len(errors), len(answers), errors[0])
        if errors and len(errors) == len(answers):
            raise errors[0]
        return [answer for answer in answers if not isinstance(answer, PeerError)]

    def _read(self, one: Candidate, anew: bool = False) -> _Listed:
        """What the archive tells of a study, remembered while the archive says nothing else of it."""
        with self._guard:
            known = self._known.get(one.study_uid)
        if known is not None and not anew and known.candidate == one:
            if one.objects or time.monotonic() - known.asked < self.refresh:
                return known
        listed = _Listed(one, asked=time.monotonic())
        series = {"": ""} if 0 < one.objects <= _FEW else self.archive.series(one.study_uid)
        for series_uid, modality in series.items():
            if modality and modality not in MODALITIES:
                listed.skipped.append(f"modality {shown(modality)}, not CR or DX")
                continue
            for dataset in self.archive.metadata(one.study_uid, series_uid, _ASKED):
                listed.add(dataset)
        with self._guard:
            self._known[one.study_uid] = listed
            self._known.move_to_end(one.study_uid)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return listed

    def _opened(self, image_id: str, prior: str | None) -> Entry:
        """A study whose pictures are here; priors whose pictures cannot be had are passed over, and said to be."""
        gone: dict[str, str] = {}
        while True:
            choice = self._choose(image_id, gone=gone)
            earlier = choice.earlier[:1] if prior == AUTO else choice.earlier
            images = [choice.current, choice.lateral, *(image for study, image, _ in earlier if prior in (AUTO, EVERY, study.study_id))]
            missing = self._fetch([image.path for image in images if image is not None])
            if not missing:
                return entry_of(choice)
            gone |= missing

    def _choose(self, image_id: str, alone: bool = False, gone: dict[str, str] | None = None) -> Choice:
        """A study as the archive has it now, with its prior.

        Args:
            image_id: which.
            alone: without its priors.
            gone: pictures that cannot be had -> why.
        """
        if re.fullmatch(r"[0-9.]{1,64}", image_id) is None:
            raise unknown(image_id, self.left_out)
        try:
            own = self._read(Candidate(image_id, "", ""), anew=True)
        except NotThere:
            raise unknown(image_id, self.left_out) from None
        if not own.headers and not own.skipped:  # some archives answer so where they have no such study
            raise unknown(image_id, self.left_out)
        listed = [own, *([] if alone else self._earlier(own))]
        if gone:
            listed = [replace(one, headers=_without(one.headers, gone)) for one in listed]
        return choice_of(_grouped(listed), image_id, self._now(), f"study {image_id}", own.skipped)

    def _earlier(self, own: _Listed) -> list[_Listed]:
        """Other studies of the patient that may come before one."""
        patients = {header.patient_id for header in own.headers.values()}
        patient = patients.pop() if len(patients) == 1 else ""
        if not is_one_patient(patient):
            return []
        until = max((f"{header.time:%Y%m%d}" for header in own.headers.values() if header.time), default="")
        found = [one for one in self.archive.studies(patient) if one.study_uid != own.candidate.study_uid]
        found = [one for one in found if not until or not one.date or one.date <= until]
        newest = sorted(found, key=lambda one: (one.date, one.time, one.study_uid), reverse=True)
        return self._read_all(newest[: 4 * EARLIER])  # some will show another part of the body, or the side

    def _fetch(self, names: Iterable[str]) -> dict[str, str]:
        """Bring pictures here; name -> reason of those that cannot be had.

        Raises:
            PeerError: the archive did not answer as it should.
        """
        names = list(dict.fromkeys(names))
        return {name: reason for name, reason in zip(names, self._pool.map(self._fetch_one, names), strict=True) if reason}

    def _fetch_one(self, name: str) -> str | None:
        with self._guard:
            listed = next((one for one in reversed(self._known.values()) if name in one.places), None)
        if listed is None:  # the archive has since told another request something else of the study
            return MISSING
        header, place = listed.headers[name], listed.places[name]
        good = lambda path: _is_of(path, header)  # noqa: E731
        try:
            path = self._pictures.get(name, lambda path: self.archive.fetch(*place, path), good)
        except NotThere:
            return MISSING
        return None if good(path) else OTHER

    def _now(self) -> PriorRule:
        return replace(self._rule, now=datetime.now() if self.dated else None)


def open_archive(url: str, folder: str | Path, **options: Any) -> WebStudies:
    """The studies of a DICOMweb server; asks it once, so that a wrong address is told at the start.

    Args:
        url: of its DICOMweb root.
        folder: of the app's own files.
        options: of `WebStudies`.

    Raises:
        ConfigError: the address is none, or dicomweb-client is missing.
        PeerError: the archive did not answer as it should.
    """
    try:
        import dicomweb_client  # noqa: F401
    except ImportError:
        raise ConfigError("dicomweb-client is not installed", "Install libra-monai[dicom].") from None
    peer = parse_peer(url, "--studies")
    if not peer.url:
        raise ConfigError(f"--studies {url} is no address", "Give the DICOMweb root of an archive, such as http://127.0.0.1:8042/dicom-web.")
    if urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname or ""):
        logger.warning("pictures and passwords cross the network unencrypted; give the archive's https:// address if it has one")
    studies = WebStudies(WebArchive(peer), folder, **options)
    studies.ids()
    return studies


def _grouped(listed: Iterable[_Listed]) -> list[Any]:
    headers: dict[str, Header] = {}
    for one in listed:
        headers |= one.headers
    return StudyFolder().group(headers)


def _without(headers: dict[str, Header], gone: dict[str, str]) -> dict[str, Header]:
    """Headers with the pictures that cannot be had marked as such."""
    return {name: replace(header, reason=gone.get(name, header.reason)) for name, header in headers.items()}


def _is_of(path: Path, header: Header) -> bool:
    """Whether a file is of the patient and study its archive says: archives correct both without telling."""
    try:
        found = read_header(str(path), any_object=True)
    except NotUsed:
        return False
    return (found.patient_id, found.study_uid, found.sop_uid) == (header.patient_id, header.study_uid, header.sop_uid)
