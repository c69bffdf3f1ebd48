# SPDX-License-Identifier: Apache-2.0
"""All studies of one phantom patient: pictures and reports as files, records and ground truth as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from libra_monai.data.phantom.anatomy import draw_body
from libra_monai.data.phantom.dicom import MARK, Identity, draw_encoding, to_dicom, uid_for
from libra_monai.data.phantom.radiograph import draw_exposure, draw_radiograph
from libra_monai.data.phantom.story import DEVICES, FINDINGS, Visit, draw_story
from libra_monai.data.phantom.wording import draw_indication, write_findings, write_impression
from libra_monai.files import write_text

Made = tuple[str, list[dict[str, Any]], list[dict[str, Any]]]  # split, records, lines of truth.jsonl


def make_patient(job: tuple[int, str], root: str, seed: int, long_side: int) -> Made:
    """Draw a plain phantom patient.

    Args:
        job: number and split of the patient.
        root: folder to write to.
        seed: seed of the folder.
        long_side: longer side of the pictures in pixels.
    """
    number, split = job
    rng = np.random.default_rng([seed, number])
    patient_id = f"PH{seed}-{number:05d}"
    sex = str(rng.choice(["F", "M"]))
    body, visits = draw_body(rng, sex), draw_story(rng)
    birth_year = visits[0].time.year - int(rng.integers(20, 90))
    records, truth, before = [], [], {}
    for order, visit in enumerate(visits):
        study_id = f"{patient_id}-S{order + 1}"
        exposure = draw_exposure(rng, is_ill(visit), long_side)
        identity = Identity(patient_id, study_id, visit.time, birth_year, sex, exposure.view)
        picture, places = draw_radiograph(body, visit.conditions, exposure, rng)
        path = save_picture(root, picture, identity, rng)
        texts = {
            "findings": write_findings(visit.statements, rng),
            "impression": write_impression(visit.statements, rng),
            "indication": draw_indication(rng, bool(records)),
        }
        record = record_of(identity, visit, path, texts, records)
        seen = {key: as_hex(cells) for key, cells in places.items()}
        lines = [s.as_json() for s in visit.statements]
        records.append(record | {"statements": placed(lines, seen, before)})
        before = seen
        write_text(Path(root) / "reports" / f"{study_id}.txt", report_text(record))
        truth.append(truth_of(records[-1], split, visit))
    return split, [without_time(record) for record in records], truth


def is_ill(visit: Visit) -> bool:
    """Whether a patient has devices other than a pacemaker, so lies in bed.

    Args:
        visit: the study.
    """
    return any(c.finding in DEVICES and c.finding != "Pacemaker" for c in visit.conditions)


def save_picture(root: str, picture: np.ndarray, identity: Identity, rng: np.random.Generator) -> str:
    """Write a picture as DICOM and give its path within the folder.

    Args:
        root: the folder.
        picture: brightness [rows, columns].
        identity: who, when and which view.
        rng: draws how it is stored.
    """
    path = Path("images", identity.patient_id, identity.study_id, f"{identity.number}.dcm")
    (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
    to_dicom(picture, identity, draw_encoding(rng), rng).save_as(Path(root) / path, enforce_file_format=True)
    return str(path)


def truth_of(record: dict[str, Any], split: str, visit: Visit) -> dict[str, Any]:
    """The line of `truth.jsonl` of a study.

    Args:
        record: its record.
        split: its split.
        visit: its statements.
    """
    return {
        "study_id": record["study_id"],
        "patient_id": record["patient_id"],
        "split": split,
        "prior_study_id": record["prior_study_id"],
        "findings": [statement.as_json() for statement in visit.statements],
    }


def record_of(
    identity: Identity, visit: Visit, path: str, texts: dict[str, str], before: list[dict[str, Any]]
) -> dict[str, Any]:
    """One item of the datalist without `statements`; see libra_monai/data/schema.py for the fields.

    Args:
        identity: who, when and which view.
        visit: what is seen.
        path: of the picture.
        texts: `findings`, `impression`, `indication`.
        before: records of the studies before, with their `_time`.
    """
    earlier = _earlier(identity, before)
    prior = earlier[0] if earlier else None
    return {
        "study_id": identity.study_id,
        "patient_id": identity.patient_id,
        "current": path,
        "prior": prior["image"] if prior else None,
        "lateral": None,
        "view": identity.view,
        "gap_hours": prior["gap_hours"] if prior else None,
        "findings": texts["findings"],
        "impression": texts["impression"],
        "indication": texts["indication"],
        "history": None,
        "technique": f"Single frontal {identity.view} view of the chest.",
        "comparison": f"Chest radiograph of {before[-1]['_time']:%Y-%m-%d}." if before else None,
        "prior_study_id": prior["study_id"] if prior else None,
        "prior_findings": prior["findings"] if prior else None,
        "prior_impression": prior["impression"] if prior else None,
        "earlier": earlier,
        "finding_labels": _labels(visit),
        "age": identity.time.year - identity.birth_year,
        "sex": identity.sex,
        "study_uid": uid_for(identity.study_id),
        "image_uids": [uid_for(identity.study_id, "image")],
        "_time": identity.time,
    }


def _labels(visit: Visit) -> dict[str, int]:
    """CheXpert labels of what is there."""
    present = {s.finding for s in visit.statements if s.change not in ("resolved", "removed")}
    labels = {name: int(name in present) for name in FINDINGS if name not in DEVICES}
    labels |= {"Support Devices": int(bool(present & set(DEVICES))), "No Finding": int(not present - set(DEVICES))}
    return labels


def _earlier(identity: Identity, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The studies before, newest first."""
    return [
        {
            "study_id": old["study_id"],
            "image": old["current"],
            "gap_hours": round((identity.time - old["_time"]).total_seconds() / 3600, 3),
            "findings": old["findings"],
            "impression": old["impression"],
        }
        for old in reversed(before)
    ]


def placed(lines: list[dict[str, Any]], seen: dict[Any, str], before: dict[Any, str]) -> list[dict[str, Any]]:
    """Statements, each with the cells where it is seen; what is gone was seen there on the prior picture.

    Args:
        lines: statements as dictionaries.
        seen: cells by finding and side on this picture.
        before: the same on the prior picture.
    """
    keys = [(line["finding"], line["side"]) for line in lines]
    return [line | {"cells": seen.get(key) or before.get(key)} for line, key in zip(lines, keys, strict=True)]


def as_hex(cells: np.ndarray) -> str:
    """Cells as hexadecimal digits, row by row.

    Args:
        cells: bool [CELLS, CELLS].
    """
    return np.packbits(cells).tobytes().hex()


def report_text(record: dict[str, Any]) -> str:
    """The report of a study in sections, marked as synthetic.

    Args:
        record: the study.
    """
    lines = [f"{MARK} (phantom study {record['study_id']})", "", "EXAMINATION: CHEST RADIOGRAPH"]
    for name in ("indication", "technique", "comparison", "findings", "impression"):
        lines += ["", f"{name.upper()}: {record[name] or 'None.'}"]
    return "\n".join(lines) + "\n"


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it is written.

    Args:
        record: with `_time`, which only the records of later studies need.
    """
    return {key: value for key, value in record.items() if key != "_time"}
