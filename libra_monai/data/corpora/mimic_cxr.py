# SPDX-License-Identifier: Apache-2.0
"""MIMIC-CXR and MIMIC-CXR-JPG as studies, from the tables and trees PhysioNet gives to licence holders.

Reads either project or both: pictures as JPG or DICOM, reports as a tree or in their archive, the official split, the
CheXpert or NegBio labels, and sex, age, race and insurance from MIMIC-IV where its tables are given. Dates are those
of the tables, shifted there per patient. Reports are parted by `libra_monai.data.sections`; of sections of one name
the last counts, as in the published table. What a partial download lacks is said, and no reason to stop.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from libra_monai.data.corpora.mimic_hand import RANGE_OF, SECTION_OF
from libra_monai.data.corpora.mimic_headers import from_header
from libra_monai.data.corpora.mimic_people import People
from libra_monai.data.corpora.reports import ReportStore
from libra_monai.data.corpora.tables import find_table, labels_by_study, moment, rows, say_notes
from libra_monai.data.sections import parse_sections
from libra_monai.data.studies import Study, StudyImage
from libra_monai.errors import ConfigError
from libra_monai.registry import find, register

_SPLITS = {"train": "training", "validate": "validation", "test": "test"}
_ARCHIVE = "mimic-cxr-reports.zip"
_VIEW_OF_CODE = {"postero-anterior": "PA", "antero-posterior": "AP", "lateral": "LATERAL", "left lateral": "LL"}
_ONE_VIEW = re.compile(r"\b(?:PORTABLE AP|AP PORTABLE)\b(?!.*\bLAT)", re.IGNORECASE)  # a procedure that takes one picture
_REMEDY = "Give the folder that holds `files` and the tables as --root, or the tables' folder as --tables."
_COLUMNS = ("dicom_id", "subject_id", "study_id")
_MORE = (
    "ViewPosition", "StudyDate", "StudyTime", "ViewCodeSequence_CodeMeaning", "PerformedProcedureStepDescription",
)  # fmt: skip
_Row = tuple[str, str | None, datetime | None, str | None]  # image, view, time, path where the table says it


@dataclass(frozen=True)
class Options:
    """How a copy of MIMIC-CXR is read.

    Args:
        root: folder of the pictures' tree; paths of studies are relative to it.
        tables: folder of the tables; default `root`.
        reports: folder or zip archive of the reports; default the archive in `root`, else `root`.
        pictures: `jpg`, `dcm`, or `auto`: JPG where there is one, else DICOM.
        labels: `chexpert`, `negbio` or `none`.
        compat: `original` keeps the slip of the published section table.
        last_paragraph: `leave` or `findings`: what becomes of a text that no findings or impression header announces.
        cleaners: names of report cleaners, applied before the report is parted.
        people: folder of MIMIC-IV's tables `patients` and `admissions`, or None.
        check_files: look whether each listed picture is there.
    """

    root: Path
    tables: Path | None = None
    reports: Path | None = None
    pictures: str = "auto"
    labels: str = "chexpert"
    compat: str = "default"
    last_paragraph: str = "leave"
    cleaners: tuple[str, ...] = ()
    people: Path | None = None
    check_files: bool = True


@register("source", "mimic_cxr")
class MimicCxr:
    """MIMIC-CXR and MIMIC-CXR-JPG, pictures as JPG or DICOM, with the official split and labels."""

    def __init__(self) -> None:
        self.sources: list[Path] = []  # paths of the tables that were read
        self.notes: Counter[str] = Counter()  # what a user should know of the copy: reason -> count

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        """Options of `libra-monai prepare mimic-cxr`."""
        add = parser.add_argument
        add("--root", required=True, metavar="DIR", help="folder that holds the tree `files` of pictures")
        add("--tables", metavar="DIR", help="folder of the tables mimic-cxr-2.0.0-*.csv.gz (--root)")
        add("--reports", metavar="PATH", help=f"folder or zip archive of the reports ({_ARCHIVE} in --root, else --root)")
        add("--pictures", choices=("auto", "jpg", "dcm"), default="auto", help="which pictures (auto: JPG, else DICOM)")
        add("--labels", choices=("chexpert", "negbio", "none"), default="chexpert", help="finding labels (chexpert)")
        add("--compat", choices=("default", "original"), default="default", help="original: the published parser's slip too")
        add(
            "--last-paragraph", choices=("leave", "findings"), default="leave",
            help="a text under no findings or impression header: left out as in the published table, or findings (leave)",
        )  # fmt: skip
        add("--report-cleaner", action="append", default=[], metavar="NAME", help="cleaner of whole reports; repeatable")
        add("--mimic-iv", metavar="DIR", help="folder of MIMIC-IV's patients and admissions, for sex, age, race, insurance")

    def studies(self, args: argparse.Namespace) -> Iterable[Study]:
        """The studies that the parsed options ask for; see `read`."""
        places = {name: Path(value) if value else None for name, value in (
            ("tables", args.tables), ("reports", args.reports), ("people", args.mimic_iv))}  # fmt: skip
        return self.read(
            Options(
                root=Path(args.root), pictures=args.pictures, labels=args.labels, compat=args.compat,
                last_paragraph=args.last_paragraph, cleaners=tuple(args.report_cleaner), **places,
            )
        )  # fmt: skip

    def read(self, options: Options) -> Iterator[Study]:
        """The studies of a copy, by patient and study number.

        Args:
            options: how it is read.

        Raises:
            ConfigError: a folder or a table that cannot be done without is missing or broken.
        """
        if not options.root.is_dir():
            raise ConfigError(f"--root {options.root} is no folder", _REMEDY)
        reader = _Reader(options, self.sources, self.notes)
        return reader.studies()


@dataclass
class _Reader:
    options: Options
    sources: list[Path]
    notes: Counter[str]
    splits: dict[str, str] = field(default_factory=dict)
    labels: dict[tuple[str, ...], dict[str, int | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = self.options
        tables = [options.tables or options.root]
        self.folders = [folder for place in tables for folder in (place, place / "files")]
        self.prefix = "files/" if (options.root / "files").is_dir() or not (options.root / "p10").is_dir() else ""
        self.clean: list[Callable[[str], str]] = [find("cleaner", name) for name in options.cleaners]
        archive = options.root / _ARCHIVE
        place = options.reports or (archive if archive.is_file() else options.root)
        self.reports = ReportStore(place, self.notes)
        self.people = People(options.people, self.sources) if options.people else None

    def studies(self) -> Iterator[Study]:
        groups = self._metadata() or self._records()
        self._read_splits()
        if self.options.labels != "none":
            self._read_labels()
        for (patient, study), images in sorted(groups.items(), key=lambda item: [(len(t), t) for t in item[0]]):
            yield self._study(patient, study, images)
        say_notes(self.notes, "MIMIC-CXR")

    def _table(self, name: str) -> Path | None:
        path = find_table(self.folders, f"mimic-cxr-2.0.0-{name}")
        if path is not None:
            self.sources.append(path)
        return path

    def _metadata(self) -> dict[tuple[str, str], list[_Row]]:
        """Images of each study from the metadata table of the JPG project; empty without the table."""
        path = self._table("metadata")
        groups: dict[tuple[str, str], list[_Row]] = {}
        seen: set[str] = set()
        for image, patient, study, view, day, time, code, procedure in rows(path, _COLUMNS, _MORE) if path else ():
            patient, study = _identifier(patient), _identifier(study)
            if not self._accept(image, patient, study, seen):
                continue
            when = moment(day, time)
            self.notes["images without a date that can be read"] += when is None
            groups.setdefault((patient, study), []).append((image, view or _view(code, procedure), when, None))
        return groups

    def _records(self) -> dict[tuple[str, str], list[_Row]]:
        """Images of each study from the list of the DICOM project; view and time from the files' headers."""
        path = find_table(self.folders, "cxr-record-list")
        if path is None:
            where = ", ".join(str(folder) for folder in self.folders)
            raise ConfigError(f"neither mimic-cxr-2.0.0-metadata.csv.gz nor cxr-record-list.csv.gz is in {where}", _REMEDY)
        self.sources.append(path)
        groups: dict[tuple[str, str], list[_Row]] = {}
        seen: set[str] = set()
        for image, patient, study, place in rows(path, (*_COLUMNS, "path")):
            patient, study = _identifier(patient), _identifier(study)
            if self._accept(image, patient, study, seen):
                view, when = from_header(self.options.root / place)
                groups.setdefault((patient, study), []).append((image, view, when, place))
        return groups

    def _accept(self, image: str, patient: str, study: str, seen: set[str]) -> bool:
        if not (image and patient and study):
            self.notes["rows of images without an identifier"] += 1
            return False
        if image in seen:
            self.notes["rows of images that are repeated"] += 1
            return False
        seen.add(image)
        return True

    def _read_splits(self) -> None:
        path = self._table("split")
        self.notes["tables missing: split; the studies get splits by patient"] += path is None
        for study, split in rows(path, ("study_id", "split")) if path else ():
            named = _SPLITS.get(split.strip().lower())
            self.notes["rows of the split table that name no split"] += named is None
            if named and self.splits.setdefault(_identifier(study), named) != named:
                self.notes["images whose split differs from the first of their study"] += 1

    def _read_labels(self) -> None:
        path = self._table(self.options.labels)
        if path is None:
            self.notes[f"tables missing: {self.options.labels}; the studies have no finding labels"] += 1
            return
        found = labels_by_study(path, ("subject_id", "study_id"))
        self.labels = {(_identifier(patient), _identifier(study)): labels for (patient, study), labels in found.items()}

    def _study(self, patient: str, study: str, images: list[_Row]) -> Study:
        times = [when for _, _, when, _ in images if when is not None]
        return Study(
            study_id=study,
            patient_id=patient,
            images=tuple(self._image(patient, study, row) for row in sorted(images, key=lambda r: r[0])),
            split=self.splits.get(study),
            order=None,
            sections=self._sections(patient, study),
            labels=self.labels.get((patient, study)),
            about=self.people.about(patient, min(times, default=None)) if self.people else {},
        )

    def _image(self, patient: str, study: str, row: _Row) -> StudyImage:
        image, view, when, place = row
        stem = place.rpartition(".")[0] if place else f"{self.prefix}{_folder(patient)}/s{study}/{image}"
        endings = ("jpg", "dcm") if self.options.pictures == "auto" else (self.options.pictures,)
        paths = [f"{stem}.{ending}" for ending in endings]
        if not self.options.check_files:
            return StudyImage(image, paths[0], view or None, when)
        found = next((path for path in paths if (self.options.root / path).is_file()), None)
        if found is None:
            self.notes["images listed whose file is not there"] += 1
            return StudyImage(image, paths[0], view or None, when, usable=False, reason="the file is not there")
        return StudyImage(image, found, view or None, when)

    def _sections(self, patient: str, study: str) -> dict[str, str]:
        name = f"{_folder(patient)}/s{study}.txt"
        report = self.reports.read(f"files/{name}", name)
        if report is None:
            self.notes["studies without a report file"] += 1
            return {}
        cleaned = report
        for clean in self.clean:
            cleaned = clean(cleaned)
        parts = parse_sections(cleaned, self.options.compat)
        sections = {part.name: " ".join(part.text.split()) for part in parts}
        text = self._unannounced(study, report, sections)
        if text is not None:
            sections = {name: part for name, part in sections.items() if name not in ("findings", "impression")}
            if self.options.last_paragraph == "findings" and text:
                sections["findings"] = text
            else:
                self.notes["reports left out whose text no findings or impression header announces"] += 1
        return {name: part for name, part in sections.items() if part}

    def _unannounced(self, study: str, report: str, sections: dict[str, str]) -> str | None:
        """The text that stands under no header of its own; None where findings or impression are announced."""
        if study in RANGE_OF:
            start, end = RANGE_OF[study]
            return " ".join(report[start:end].split())
        if study in SECTION_OF:
            return sections.get(SECTION_OF[study], "")
        if "findings" in sections or "impression" in sections:
            return None
        return sections.get("last_paragraph", "")


def _identifier(text: str) -> str:
    """A subject or study number as text; what a spreadsheet made a float is none any more."""
    text = text.strip().removesuffix(".0")
    return text[1:] if text[:1] in "ps" and text[1:].isdecimal() else text


def _folder(patient: str) -> str:
    return f"p{patient[:2]}/p{patient}"


def _view(code: str, procedure: str) -> str | None:
    """The view where ViewPosition is empty: from the view code, or a procedure that takes a single picture."""
    return _VIEW_OF_CODE.get(code.strip().lower()) or ("AP" if _ONE_VIEW.search(procedure) else None)
