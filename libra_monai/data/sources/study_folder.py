# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files as studies, however it is laid out: headers say whose and when each picture is.

Names of files and folders mean nothing. Links are not followed out of the folder. Reports are optional: one text file
per study, named by accession number or study UID.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from libra_monai.data.corpora.tables import decode
from libra_monai.data.sections import report_sections
from libra_monai.data.sources.headers import Header, NotUsed, read_header
from libra_monai.data.studies import SECTIONS, Study, StudyImage
from libra_monai.errors import ConfigError
from libra_monai.registry import register

_WRITTEN = ("datalist.json", "manifest.json", "dropped.csv")
_ABSENT = ("", "none", "n/a")  # what stands in a section that says nothing
_Found = dict[str, Header]  # path -> header


@register("source", "study_folder")
class StudyFolder:
    """A folder of DICOM chest radiographs of any layout.

    Args:
        header: reads the header of a path and raises `NotUsed`; one that remembers makes a second look at a folder cheap.

    Attributes:
        sources: files beside the pictures that were read.
        notes: what a user should know of the folder: reason -> count.
        skipped: (path, reason) of files that are no chest radiographs.
    """

    check = "pixels"  # of an archive nobody has looked through

    def __init__(self, header: Callable[[str], Header] = read_header) -> None:
        self._read_header = header
        self.sources: list[Path] = []
        self.notes: Counter[str] = Counter()
        self.skipped: list[tuple[str, str]] = []

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        """Options of `libra-monai prepare study-folder`."""
        parser.add_argument("root", metavar="SRC", help="folder of DICOM files")
        parser.add_argument("--reports", metavar="DIR", help="folder of report texts, named ACCESSION.txt or STUDY_UID.txt")

    def studies(self, args: argparse.Namespace) -> Iterable[Study]:
        """The studies that the parsed options ask for; see `read`."""
        return self.read(Path(args.root), Path(args.reports) if args.reports else None, Path(args.out))

    def read(self, root: Path, reports: Path | None = None, out: Path | None = None) -> Iterator[Study]:
        """The studies of a folder, by patient and study UID.

        Args:
            root: the folder; paths of pictures are relative to it.
            reports: folder of report texts, or None.
            out: folder that is written to, whose files are none of the archive; None is nowhere.

        Raises:
            ConfigError: a folder is none.
        """
        for folder, option in ((root, "SRC"), (reports, "--reports")):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{option} {folder} is no folder", "Give an existing folder.")
        for study, found in self._grouped(self._scan(root, out)):
            yield self._with_report(study, found, reports) if reports else study

    def gather(self, paths: Iterable[Path]) -> list[Study]:
        """The studies of several folders and files together, with absolute paths.

        Args:
            paths: folders of DICOM files, and single files.

        Raises:
            ConfigError: a path does not exist.
        """
        headers: _Found = {}
        for place in paths:
            base = Path(os.path.abspath(place))
            if not base.exists():
                raise ConfigError(f"{place} does not exist", "Give a folder of DICOM files, or a DICOM file.")
            root, found = (base, self._scan(base, None)) if base.is_dir() else (base.parent, self._headers(base.parent, [base.name]))
            headers |= {(root / path).as_posix(): header for path, header in found.items()}
        return self.group(headers)

    def group(self, headers: Mapping[str, Header]) -> list[Study]:
        """The studies of pictures whose headers were read elsewhere.

        Args:
            headers: path -> header; the paths become those of the pictures.
        """
        return [study for study, _ in self._grouped(dict(headers))]

    def _grouped(self, headers: _Found) -> Iterator[tuple[Study, _Found]]:
        groups = self._groups(headers)
        shared = Counter(uid for _, uid in groups)
        for (patient, uid), found in sorted(groups.items()):
            study = _study(patient, uid, found, shared[uid] > 1)
            self.notes["studies without a patient identifier, which have no prior"] += not patient
            self.notes["studies without a date that can be read, which have no prior"] += study.time is None
            yield study, found

    def _scan(self, root: Path, out: Path | None) -> _Found:
        """All headers of a folder, in the order of their paths."""
        own = _own_files(root, out)
        return self._headers(root, sorted(path for path in self._files(root) if not own(path)))

    def _headers(self, root: Path, paths: Iterable[str]) -> _Found:
        """The headers of files; what is none is noted in `skipped`."""
        headers: _Found = {}
        for path in tqdm(paths, desc="headers", unit="file", delay=2):
            try:
                headers[path] = self._read_header(str(root / path))
            except NotUsed as reason:
                self._skip(path, str(reason))
        return headers

    def _files(self, root: Path) -> Iterator[str]:
        base = root.resolve()
        for folder, folders, files in os.walk(root, followlinks=False):
            for name in (*folders, *files):
                full = Path(folder, name)
                path = full.relative_to(root).as_posix()
                reason = _why_not_read(full, base)
                if reason:
                    self._skip(path, reason)
                elif name in files:
                    yield path

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append((path, reason))
        self.notes[f"files skipped: {reason}"] += 1

    def _groups(self, headers: _Found) -> dict[tuple[str, str], _Found]:
        """Headers by patient and study; without a study UID those of one folder are one study."""
        groups: dict[tuple[str, str], _Found] = defaultdict(dict)
        seen: dict[str, str] = {}
        for path, header in headers.items():
            if header.sop_uid and seen.setdefault(header.sop_uid, path) != path:
                self.skipped.append((path, f"same SOP instance UID as {seen[header.sop_uid]}"))
                self.notes["files skipped: SOP instance UID stands twice"] += 1
                continue
            uid = header.study_uid or _invented(header, path)
            self.notes["pictures without a study UID, grouped by folder"] += header.study_uid is None
            groups[header.patient_id, uid][path] = header
        return groups

    def _with_report(self, study: Study, found: _Found, reports: Path) -> Study:
        names = dict.fromkeys(key for header in found.values() for key in header.keys)
        path = next((p for name in names if (p := _beside(reports, name)) is not None), None)
        if path is None:
            self.notes["studies without a report file"] += 1
            return study
        try:
            text, proper = decode(path.read_bytes())
        except OSError:
            self.notes["reports that cannot be read"] += 1
            return study
        self.sources.append(path)
        self.notes["reports that are not UTF-8, read as Windows-1252"] += not proper
        parts = report_sections("\n" + "\n".join(f" {line.lstrip()}" for line in text.splitlines()))
        given = {name: parts[name] for name in SECTIONS if parts.get(name, "").strip(" .").lower() not in _ABSENT}
        return replace(study, sections={**study.sections, **given})


def _own_files(root: Path, out: Path | None) -> Callable[[str], bool]:
    """Tells the files that an earlier run wrote into the folder, so that the next one finds the same studies."""
    if out is None or not out.resolve().is_relative_to(root.resolve()):
        return lambda path: False
    prefix = out.resolve().relative_to(root.resolve()).as_posix()
    if prefix == ".":
        return lambda path: path in _WRITTEN
    return lambda path: path.startswith(f"{prefix}/")


def _why_not_read(full: Path, base: Path) -> str | None:
    """Why an entry of a folder is not looked at; None for folders and files."""
    if full.is_symlink() and not full.resolve().is_relative_to(base):
        return "a link that leaves the folder"
    if full.is_dir():
        return "a link to a folder" if full.is_symlink() else None
    if not full.is_file():
        return "no regular file"
    return "a DICOM directory" if full.name.upper() == "DICOMDIR" else None


def _beside(reports: Path, name: str) -> Path | None:
    """The text file of a name; a name that is a path is none."""
    if "/" in name or "\\" in name or name.startswith("."):
        return None
    path = reports / f"{name}.txt"
    return path if path.is_file() and path.resolve().is_relative_to(reports.resolve()) else None


def _study(patient: str, uid: str, found: _Found, shared: bool) -> Study:
    headers = list(found.values())
    images = tuple(_image(path, header, shared) for path, header in sorted(found.items()))
    about = {name: _first(header.about.get(name) for header in headers) for name in headers[0].about}
    return Study(
        study_id=uid if not shared else f"{uid}-{_short(patient)}",
        patient_id=patient,
        images=images,
        sections={name: _first(header.texts.get(name) for header in headers) for name in headers[0].texts},
        about=about,
        study_uid=headers[0].study_uid,
        issuer=_first(header.issuer for header in headers),
        birth_date=_first(header.birth_date for header in headers),
    )


def _image(path: str, header: Header, shared: bool) -> StudyImage:
    reason = "the study UID stands for two patients" if shared else header.reason
    return StudyImage(header.sop_uid or path, path, header.view, header.time, header.sop_uid, reason is None, reason)


def _invented(header: Header, path: str) -> str:
    """An identifier for a study that has none: of the patient, the folder and the day; of the file if nobody says whose."""
    day = f"{header.time:%Y%m%d}" if header.time else ""
    place = Path(path).parent.as_posix() if header.patient_id else path
    return "no-uid-" + _short(f"{header.patient_id}\0{place}\0{day}")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _first(values: Iterable[object]) -> object | None:
    """The first value that is none of None and the empty text; of differing ones the first in order of paths."""
    return next((value for value in values if value not in (None, "")), None)
