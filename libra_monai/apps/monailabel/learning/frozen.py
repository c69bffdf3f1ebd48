# SPDX-License-Identifier: Apache-2.0
"""The frozen local set: studies of this site that judge new weights, chosen once and never trained on.

It is kept by ids, in `frozen.json`: of each study which report is its reference (a numbered correction, or the text of
its own record) and the hash of that text. All studies of its patients are held out of training. Whole patients are
drawn by a hash of their identifiers: those with a prior first, since the control table is about priors, and of these
the ones nobody has corrected, so that few corrections are lost to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from libra_monai.apps.monailabel.learning.reports import CORRECTED, ReportStore
from libra_monai.apps.monailabel.sources.studies import UnknownStudy
from libra_monai.errors import StudyError, TrainingError
from libra_monai.files import write_json
from libra_monai.types import Record

FILE = "frozen.json"


class StudySource(Protocol):
    """What training needs of the studies of the app."""

    root: str

    def ids(self) -> Sequence[str]:
        """All studies."""
        ...

    def record(self, image_id: str) -> Record:
        """The record of a study with its prior; paths are relative to `root`."""
        ...


@dataclass(frozen=True)
class FrozenRules:
    """How the set is chosen, once.

    Args:
        share: of all studies with a reference.
        least, most: studies; with fewer than `least` nothing is trained.
        seed: of the draw of patients.
    """

    share: float = 0.2
    least: int = 8
    most: int = 64
    seed: int = 0


@dataclass(frozen=True)
class FrozenStudy:
    """One study of the set.

    Args:
        image: id of the study.
        patient: its patient, or the study itself where none is known.
        version: number of the correction that is its reference; None for the text of its own record.
        sha256: of the reference.
    """

    image: str
    patient: str
    version: int | None
    sha256: str


def frozen_set(
    home: str | Path, studies: StudySource, reports: ReportStore, section: str, rules: FrozenRules | None = None
) -> list[FrozenStudy]:
    """The frozen set; it is chosen and written down if there is none.

    Args:
        home: folder of the app's own files.
        studies, reports: of the app.
        section: `findings` or `impression`, what the model writes.
        rules: how it is chosen.

    Raises:
        TrainingError: there are too few studies with a reference.
    """
    kept = read_frozen(home)
    if kept:
        return kept
    chosen = _choose(_candidates(home, studies, reports, section), rules or FrozenRules())
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {"section": section, "chosen": now, "rules": asdict(rules or FrozenRules()), "studies": [asdict(one) for one in chosen]}
    write_json(Path(home) / FILE, content)
    return chosen


def read_frozen(home: str | Path) -> list[FrozenStudy]:
    """The frozen set as written down; empty if none was chosen yet.

    Args:
        home: folder of the app's own files.

    Raises:
        TrainingError: the file is damaged.
    """
    path = Path(home) / FILE
    if not path.is_file():
        return []
    try:
        return [FrozenStudy(**one) for one in json.loads(path.read_text(encoding="utf-8"))["studies"]]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} cannot be read ({error})", "Restore it from a copy: a new choice would mix with training.") from error


def frozen_records(
    frozen: Sequence[FrozenStudy], studies: StudySource, reports: ReportStore, section: str
) -> list[dict[str, Any]]:
    """Datalist records of the frozen set, each with its reference and nothing that a correction changed later.

    Args:
        frozen: the set.
        studies, reports, section: see `frozen_set`.

    Raises:
        TrainingError: a study is gone, or its reference is not what it was.
    """
    records = []
    for one in frozen:
        try:
            record = dict(studies.record(one.image))
        except (UnknownStudy, StudyError) as error:
            remedy = f"Restore it. If it is gone for good, take {FILE} away: another set is chosen, of which the served weights may know some."
            raise TrainingError(f"frozen study {one.image} is gone", remedy) from error
        text = record.get(section) if one.version is None else _version(reports, one).get(section)
        if _sha(text or "") != one.sha256:
            raise TrainingError(
                f"the reference of frozen study {one.image} is not what it was", "Restore the report; the set is judged by it."
            )
        records.append({**unlabelled(record), "study_id": one.image, "patient_id": one.patient, section: text})
    return records


def unlabelled(record: Record) -> dict[str, Any]:
    """A record without what its own report says, so that another text can stand in it.

    Args:
        record: of the datalist.
    """
    told = ("findings", "impression", "finding_labels", "statements", "question", "answer", "polluted")
    return {**record, **dict.fromkeys(told)}


def patient_of(record: Record, image: str) -> str:
    """The patient of a study; a study of no known patient is its own.

    Args:
        record: of the datalist.
        image: id of the study.
    """
    return str(record.get("patient_id") or image)


def is_fetched(home: str | Path, studies: StudySource) -> bool:
    """Whether the pictures are copies that the app fetched: they go again, and studies have no reports of their own.

    Args:
        home: folder of the app's own files.
        studies: of the app.
    """
    return Path(studies.root).resolve().is_relative_to(Path(home).resolve())


def _candidates(home: str | Path, studies: StudySource, reports: ReportStore, section: str) -> list[tuple[FrozenStudy, bool]]:
    """All studies with a reference, the newest correction or else the report of the record, and whether they have a prior."""
    found = []
    corrections = reports.ids(CORRECTED)
    for image in corrections if is_fetched(home, studies) else dict.fromkeys([*studies.ids(), *corrections]):
        try:
            record, corrected = studies.record(image), reports.latest(image, CORRECTED)
        except (UnknownStudy, StudyError):  # gone, or an upload of yesterday
            continue
        text = corrected.get(section) if corrected else record.get(section)
        if text:
            version = corrected["version"] if corrected else None
            found.append((FrozenStudy(image, patient_of(record, image), version, _sha(text)), bool(record.get("prior"))))
    return found


def _choose(candidates: Sequence[tuple[FrozenStudy, bool]], rules: FrozenRules) -> list[FrozenStudy]:
    patients: dict[str, list[FrozenStudy]] = defaultdict(list)
    for one, _ in candidates:
        patients[one.patient].append(one)
    compared = {one.patient for one, prior in candidates if prior}
    corrected = {one.patient for one, _ in candidates if one.version is not None}
    order = sorted(patients, key=lambda name: (name not in compared, name in corrected, _sha(f"{rules.seed}:{name}")))
    wanted = min(max(rules.least, round(rules.share * len(candidates))), rules.most)
    chosen: list[FrozenStudy] = []
    while order and len(chosen) < wanted:
        chosen += patients[order.pop(0)]
    if len(chosen) < rules.least or not corrected & set(order):
        raise TrainingError(
            f"{len(candidates)} studies of {len(patients)} patients have a report or a correction;"
            f" {rules.least} must stay out of training to judge it, and corrected ones of other patients must be left",
            "Correct more drafts, of more patients.",
        )
    return chosen[: rules.most]


def _version(reports: ReportStore, one: FrozenStudy) -> Mapping[str, Any]:
    found = (report for report in reports.versions(one.image, CORRECTED) if report["version"] == one.version)
    return next(found, {})


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
