# SPDX-License-Identifier: Apache-2.0
"""CheXpert Plus as studies, from its one table and the trees of pictures.

One row an image; the report is repeated in every row of a study, de-identified anew each time, so one row speaks for
its study: the first in natural order of the paths that has a text. There are no dates: studies of a patient are
ordered by `patient_report_date_order` as a number, and no gap is known. The published split has `train` and `valid`
only.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from libra_monai.data.corpora.tables import header, label, natural_key, need_table, number, repair, rows, say_notes
from libra_monai.data.studies import Study, StudyImage
from libra_monai.errors import ConfigError
from libra_monai.registry import register

_STEM = "df_chexpert_plus_240401"
_COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order", "split")
_ABOUT = ("age", "sex", "race", "ethnicity", "insurance_type")
# section of a study -> columns, the first that has text counts
_SECTIONS = {
    "findings": ("section_findings",),
    "impression": ("section_impression",),
    "history": ("section_clinical_history", "section_history"),
    "comparison": ("section_comparison",),
    "technique": ("section_technique",),
    "narrative": ("section_narrative",),
    "summary": ("section_summary",),
}
_TEXTS = tuple(column for columns in _SECTIONS.values() for column in columns)
_SPLITS = {"train": "training", "valid": "validation", "validate": "validation", "test": "test"}
_SILENT = {"", "nan", "none", "unknown", "other/unknown", "patient refused"}
_FOLDERS = ("", "PNG/", "DICOM/")  # the archives unpack into these
_CORRUPT = {("patient32368", "study1")}  # its pictures do not open, as the corpus' own threads say


@dataclass
class _Gathered:
    """What the rows of one study said."""

    split: str | None = None
    order: float | None = None
    speaker: str | None = None  # path of the row that speaks for the study
    sections: dict[str, str] = field(default_factory=dict)
    about: dict[str, object] = field(default_factory=dict)
    images: dict[str, tuple[str | None, str]] = field(default_factory=dict)  # path -> view, path of the DICOM file
    texts: set[int] = field(default_factory=set)  # of the texts seen only hashes are kept


@register("source", "chexpert_plus")
class CheXpertPlus:
    """CheXpert Plus, ordered by report number, without dates."""

    def __init__(self) -> None:
        self.sources: list[Path] = []  # paths of the tables that were read
        self.notes: Counter[str] = Counter()  # what a user should know of the copy: reason -> count

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        """Options of `libra-monai prepare chexpert-plus`."""
        add = parser.add_argument
        add("--root", required=True, metavar="DIR", help="folder that holds the trees `train` and `valid`, or `PNG`, `DICOM`")
        add("--table", metavar="FILE", help=f"the table of the corpus ({_STEM}.csv in --root)")
        add("--pictures", choices=("auto", "jpg", "png", "dcm"), default="auto", help="which pictures (auto: what is there)")
        add("--labels", metavar="FILE", help="finding labels: CheXbert JSON lines of the corpus, or CheXpert's CSV")

    def studies(self, args: argparse.Namespace) -> Iterable[Study]:
        """The studies that the parsed options ask for; see `read`."""
        return self.read(Path(args.root), args.table, args.pictures, args.labels)

    def read(
        self,
        root: Path,
        table: str | Path | None = None,
        pictures: str = "auto",
        labels: str | Path | None = None,
        check_files: bool = True,
    ) -> Iterator[Study]:
        """The studies of a copy, by patient and study number.

        Args:
            root: folder that paths of pictures are relative to.
            table: CSV, gzip CSV or Parquet; default the corpus' own name in `root`.
            pictures: `jpg`, `png`, `dcm`, or `auto`.
            labels: table of finding labels by `path_to_image`, or None.
            check_files: look whether each listed picture is there.

        Raises:
            ConfigError: the folder or the table is missing or broken.
        """
        if not root.is_dir():
            raise ConfigError(f"--root {root} is no folder", "Give the folder that holds the trees of pictures.")
        path = Path(table) if table else need_table([root], _STEM, "Give the table as --table.")
        self.sources.append(path)
        found = _read_labels(Path(labels)) if labels else {}
        self.sources += [Path(labels)] if labels else []
        groups = self._gather(path)
        finder = _Finder(root, pictures, check_files, self.notes)
        for key, study in sorted(groups.items(), key=lambda item: [natural_key(part) for part in item[0]]):
            yield self._study(key, study, finder, found)
        say_notes(self.notes, "CheXpert Plus")

    def _gather(self, path: Path) -> dict[tuple[str, str], _Gathered]:
        groups: dict[tuple[str, str], _Gathered] = {}
        columns = (*_COLUMNS, "path_to_dcm", *_ABOUT, *_TEXTS)
        for row in rows(path, _COLUMNS, columns[len(_COLUMNS) :]):
            value = dict(zip(columns, row, strict=True))
            key = _study_of(value["path_to_image"])
            if key is None:
                self.notes["rows whose path names no patient and study"] += 1
                continue
            patient = value["deid_patient_id"].strip() or key[0]
            study = groups.setdefault((patient, key[1]), _Gathered())
            if value["path_to_image"] in study.images:
                self.notes["rows of images that are repeated"] += 1
                continue
            study.images[value["path_to_image"]] = _view(value["frontal_lateral"], value["ap_pa"]), value["path_to_dcm"]
            self._take(study, value)
        for study in groups.values():
            self.notes["studies whose images carry differing reports; one was chosen"] += len(study.texts) > 1
            study.texts.clear()
        return groups

    def _take(self, study: _Gathered, value: dict[str, str]) -> None:
        """Let one more row speak for its study, if it comes before the one that spoke and has a text."""
        order = number(value["patient_report_date_order"])
        self.notes["rows without a number in patient_report_date_order"] += order is None
        if order is not None and (study.order is None or order < study.order):
            self.notes["rows whose order differs within their study; the smallest counts"] += study.order is not None
            study.order = order
        study.split = study.split or _SPLITS.get(value["split"].strip().lower())
        sections = self._sections(value)
        study.texts.add(hash(tuple(sections.items())))
        path = value["path_to_image"]
        earlier = study.speaker is None or natural_key(path) < natural_key(study.speaker)
        if sections and (earlier or not study.sections) or study.speaker is None:
            study.speaker, study.sections, study.about = path, sections, _about(value)

    def _sections(self, value: dict[str, str]) -> dict[str, str]:
        sections = {}
        for name, columns in _SECTIONS.items():
            text, proper = repair(next((value[c] for c in columns if value[c].strip().lower() not in ("", "nan")), ""))
            self.notes["sections that are not UTF-8, read as Windows-1252"] += not proper
            if text.strip():
                sections[name] = " ".join(text.split())
        return sections

    def _study(self, key: tuple[str, str], study: _Gathered, finder: _Finder, labels: dict) -> Study:
        images = []
        for path in sorted(study.images, key=natural_key):
            view, dicom = study.images[path]
            found, reason = finder.find(path, dicom)
            reason = "the corpus' own copy is known to be corrupt" if key in _CORRUPT else reason
            images.append(StudyImage(_image_id(path), found, view, None, usable=reason is None, reason=reason))
        spoken = [labels[name] for name in (_image_id(path) for path in sorted(study.images, key=natural_key)) if name in labels]
        return Study(
            study_id="_".join(key), patient_id=key[0], images=tuple(images), split=study.split, order=study.order,
            sections=study.sections, labels=spoken[0] if spoken else None, about=study.about,
        )  # fmt: skip


class _Finder:
    """Where pictures really lie: the form and folder that served last is tried first."""

    def __init__(self, root: Path, pictures: str, check: bool, notes: Counter[str]) -> None:
        endings = ("jpg", "png", "dcm") if pictures == "auto" else (pictures,)
        self.root, self.check, self.notes = root, check, notes
        self.ways = [(folder, ending) for ending in endings for folder in _FOLDERS]

    def find(self, path: str, dicom: str) -> tuple[str, str | None]:
        """Path relative to the root, and why it cannot be used."""
        for way in list(self.ways):
            folder, ending = way
            stem = dicom.strip().removesuffix(".dcm") if ending == "dcm" and dicom.strip() else path.rpartition(".")[0]
            place = str(PurePosixPath(f"{folder}{stem}.{ending}"))
            if not self.check or (self.root / place).is_file():
                self.ways.remove(way)
                self.ways.insert(0, way)
                return place, None
        self.notes["images listed whose file is not there"] += 1
        return path, "the file is not there"


def _study_of(path: str) -> tuple[str, str] | None:
    parts = path.strip().split("/")
    return (parts[-3], parts[-2]) if len(parts) >= 3 and all(parts[-3:]) else None


def _image_id(path: str) -> str:
    """`patient1_study2_view1_frontal` of a path in any of the trees."""
    return "_".join(path.strip().rpartition(".")[0].split("/")[-3:])


def _view(frontal_lateral: str, ap_pa: str) -> str | None:
    if frontal_lateral.strip().lower() == "lateral":
        return "LATERAL"
    named = ap_pa.strip().upper()
    return named if named in ("AP", "PA") else ("FRONTAL" if frontal_lateral.strip().lower() == "frontal" else None)


def _about(value: dict[str, str]) -> dict[str, object]:
    known: dict[str, object] = {}
    age = number(value["age"])
    if age is not None and age >= 0:
        known["age"] = int(age) if age == int(age) else age
    if value["sex"].strip()[:1].upper() in ("F", "M"):
        known["sex"] = value["sex"].strip()[:1].upper()
    for name, column in (("race", "race"), ("ethnicity", "ethnicity"), ("insurance", "insurance_type")):
        text, _ = repair(value[column].strip())
        if text.lower() not in _SILENT:
            known[name] = text
    return known


def _read_labels(path: Path) -> dict[str, dict[str, int | None]]:
    """Finding labels by image: JSON (lines or a list) of the corpus, or CSV of CheXpert with a column `Path`."""
    if path.suffix.lower() in (".json", ".jsonl"):
        return dict(_json_labels(path))
    names = header(path)
    key = next((name for name in ("path_to_image", "Path") if name in names), None)
    if key is None:
        raise ConfigError(f"{path}: column 'path_to_image' is missing", "Give labels with one row per image.")
    first = names.index("No Finding") if "No Finding" in names else names.index(key) + 1
    findings = names[first:] if names[first:] else []
    labels: dict[str, dict[str, int | None]] = {}
    for row in rows(path, [key, *findings]):
        labels.setdefault(_image_id(row[0]), {name: label(value) for name, value in zip(findings, row[1:], strict=True)})
    return labels


def _json_labels(path: Path) -> Iterator[tuple[str, dict[str, int | None]]]:
    try:
        text = path.read_text(encoding="utf-8")
        items = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(str.strip, text.splitlines()))
        for item in items:
            named = {name: label(value) for name, value in item.items() if name != "path_to_image"}
            yield _image_id(item["path_to_image"]), named
    except OSError as error:
        raise ConfigError(f"labels {path} cannot be read ({error.strerror})", "Check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"labels {path}: not one object per image with path_to_image", "Download the file again.") from error
