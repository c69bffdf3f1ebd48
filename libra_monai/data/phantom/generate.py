# SPDX-License-Identifier: Apache-2.0
"""Write a folder of phantom studies: DICOM files, reports, `datalist.json` and `truth.jsonl`.

One seed gives the same folder to the byte, whatever the number of workers. Patients are split,
never their studies. All is drawn in a folder `.drawing-*` of its own and moved into place at the end, the
manifest `phantom.json` last; nothing that stands in the folder already is ever deleted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from libra_monai.data.phantom.anatomy import draw_body
from libra_monai.data.phantom.dicom import MARK, Identity, draw_encoding, to_dicom, uid_for
from libra_monai.data.phantom.radiograph import LONG_SIDE, draw_exposure, draw_radiograph
from libra_monai.data.phantom.story import DEVICES, FINDINGS, Visit, draw_story
from libra_monai.data.phantom.wording import draw_indication, write_findings, write_impression
from libra_monai.errors import ConfigError
from libra_monai.files import check_writable, write_json, write_text

NOTICE = "Synthetic, not for clinical use."
SPLITS = {"training": 0.8, "validation": 0.1, "test": 0.1}
_VERSION = 3  # raise when the same seed gives other studies
_DRAWING = ".drawing-"  # beginning of the folder a run draws in
_STALE = 3600  # seconds without a new patient after which such a folder counts as left behind
_CONTENT = ("images", "reports", "README.txt", "truth.jsonl", "datalist.json", "phantom.json")
_README = f"""Phantom chest radiographs drawn by libra-monai. {NOTICE}

images/        DICOM files, one folder per patient and study
reports/       one report per study
datalist.json  the studies as records (MONAI datalist)
truth.jsonl    what was drawn: findings with side, severity and change
phantom.json   how the folder was made
"""


def generate(
    out: str | os.PathLike,
    patients: int,
    seed: int,
    splits: dict[str, float] | None = None,
    long_side: int = LONG_SIDE,
    workers: int | None = None,
) -> Path:
    """Write phantom studies, or leave a complete folder of the same options as it is.

    Args:
        out: folder to write to.
        patients: number of patients; each has 1-5 studies.
        seed: seed of everything.
        splits: shares of `training`, `validation` and `test` patients.
        long_side: longer side of the pictures in pixels.
        workers: processes; default one per core.

    Returns:
        path of `datalist.json`.

    Raises:
        ConfigError: options make no sense, or the folder holds something else.
    """
    splits = dict(splits or SPLITS)
    _check(patients, seed, splits, long_side)
    root = Path(out)
    manifest = {"version": _VERSION, "patients": patients, "seed": seed, "splits": splits, "long_side": long_side}
    check_writable(root, "--out")
    if _is_complete(root, manifest):
        return root / "datalist.json"
    place = Path(tempfile.mkdtemp(prefix=_DRAWING, dir=root))
    try:
        _draw(place, manifest, workers)
        if not _is_complete(root, manifest):  # another process may have been quicker
            for name in _CONTENT:
                os.replace(place / name, root / name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return root / "datalist.json"


def _draw(root: Path, manifest: dict[str, Any], workers: int | None) -> None:
    patients, seed = manifest["patients"], manifest["seed"]
    (root / "reports").mkdir()
    assigned = _assign_splits(patients, seed, manifest["splits"])
    make = partial(_make_patient, root=str(root), seed=seed, long_side=manifest["long_side"])
    jobs = [(number, assigned[number]) for number in range(patients)]
    datalist: dict[str, Any] = {"description": f"Phantom studies, seed {seed}. {NOTICE}", "privacy": "synthetic"}
    datalist |= {split: [] for split in SPLITS}
    truth: list[dict[str, Any]] = []
    for split, records, statements in _run(make, jobs, workers):
        datalist[split] += records
        truth += statements
    write_text(root / "README.txt", _README)
    write_text(root / "truth.jsonl", "".join(json.dumps(line) + "\n" for line in truth))
    write_json(root / "datalist.json", datalist)
    write_json(root / "phantom.json", manifest | {"notice": NOTICE, "studies": len(truth)})


def _check(patients: int, seed: int, splits: dict[str, float], long_side: int) -> None:
    if seed < 0:
        raise ConfigError(f"--seed {seed} is negative", "Choose 0 or more.")
    if patients < 1:
        raise ConfigError(f"--patients {patients} makes no studies", "Ask for at least one patient.")
    if set(splits) - set(SPLITS) or min(splits.values()) < 0 or abs(sum(splits.values()) - 1) > 1e-6:
        raise ConfigError(f"splits {splits} are not shares that sum to 1", f"Use the names {', '.join(SPLITS)}.")
    if not 64 <= long_side <= 4096:
        raise ConfigError(f"--size {long_side} is out of range", "Choose 64 to 4096 pixels.")


def _is_complete(root: Path, manifest: dict[str, Any]) -> bool:
    path = root / "phantom.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error})", "Choose another folder, or delete this one.") from error
        if all(found.get(key) == value for key, value in manifest.items()):
            return True
        raise ConfigError(
            f"{root} already holds phantom studies of other options (seed {found.get('seed')}, "
            f"{found.get('patients')} patients)",
            "Choose another folder, or delete this one.",
        )
    for entry in root.iterdir():
        if not entry.name.startswith(_DRAWING):
            raise ConfigError(f"{root} is not empty", "Choose an empty or a new folder.")
        if time.time() - max(p.stat().st_mtime for p in (entry, *entry.glob("images"))) > _STALE:
            shutil.rmtree(entry, ignore_errors=True)  # of a run that was killed
    return False


def _assign_splits(patients: int, seed: int, splits: dict[str, float]) -> list[str]:
    """Split of every patient: exact shares (largest remainders), in a seeded order."""
    exact = {name: share * patients for name, share in splits.items()}
    counts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda n: (counts[n] - exact[n], n))[: patients - sum(counts.values())]:
        counts[name] += 1
    names = [name for name in SPLITS for _ in range(counts.get(name, 0))]
    order = np.random.default_rng([seed, 2**31]).permutation(patients)
    return [names[i] for i in order]


def _run(make: Any, jobs: list[tuple[int, str]], workers: int | None) -> Any:
    bar = partial(tqdm, total=len(jobs), desc="phantom patients", unit="patient", delay=2)
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers == 1 or len(jobs) < 8:
        yield from bar(map(make, jobs))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from bar(pool.map(make, jobs, chunksize=4))


def _make_patient(
    job: tuple[int, str], root: str, seed: int, long_side: int
) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    number, split = job
    rng = np.random.default_rng([seed, number])
    patient_id = f"PH{seed}-{number:05d}"
    sex = str(rng.choice(["F", "M"]))
    body, visits = draw_body(rng, sex), draw_story(rng)
    birth_year = visits[0].time.year - int(rng.integers(20, 90))
    records, truth, before = [], [], {}
    for order, visit in enumerate(visits):
        study_id = f"{patient_id}-S{order + 1}"
        ill = any(c.finding in DEVICES and c.finding != "Pacemaker" for c in visit.conditions)
        exposure = draw_exposure(rng, ill, long_side)
        identity = Identity(patient_id, study_id, visit.time, birth_year, sex, exposure.view)
        picture, places = draw_radiograph(body, visit.conditions, exposure, rng)
        path = Path("images", patient_id, study_id, "1.dcm")
        (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
        to_dicom(picture, identity, draw_encoding(rng), rng).save_as(Path(root) / path, enforce_file_format=True)
        records.append(_record(identity, visit, str(path), records, rng))
        seen = {key: _as_hex(cells) for key, cells in places.items()}
        records[-1]["statements"] = _placed(visit, seen, before)
        before = seen
        write_text(Path(root) / "reports" / f"{study_id}.txt", _report_text(records[-1]))
        truth.append(
            {
                "study_id": study_id,
                "patient_id": patient_id,
                "split": split,
                "prior_study_id": records[-1]["prior_study_id"],
                "findings": [statement.as_json() for statement in visit.statements],
            }
        )
    for record in records:
        record.pop("_time")
    return split, records, truth


def _record(
    identity: Identity, visit: Visit, path: str, before: list[dict[str, Any]], rng: np.random.Generator
) -> dict[str, Any]:
    """One item of the datalist; see libra_monai/data/schema.py for the fields."""
    present = {s.finding for s in visit.statements if s.change not in ("resolved", "removed")}
    labels = {name: int(name in present) for name in FINDINGS if name not in DEVICES}
    labels |= {"Support Devices": int(bool(present & set(DEVICES))), "No Finding": int(not present - set(DEVICES))}
    earlier = [
        {
            "study_id": old["study_id"],
            "image": old["current"],
            "gap_hours": round((identity.time - old["_time"]).total_seconds() / 3600, 3),
            "findings": old["findings"],
            "impression": old["impression"],
        }
        for old in reversed(before)
    ]
    prior = earlier[0] if earlier else None
    return {
        "study_id": identity.study_id,
        "patient_id": identity.patient_id,
        "current": path,
        "prior": prior["image"] if prior else None,
        "lateral": None,
        "view": identity.view,
        "gap_hours": prior["gap_hours"] if prior else None,
        "findings": write_findings(visit.statements, rng),
        "impression": write_impression(visit.statements, rng),
        "indication": draw_indication(rng, bool(before)),
        "history": None,
        "technique": f"Single frontal {identity.view} view of the chest.",
        "comparison": f"Chest radiograph of {before[-1]['_time']:%Y-%m-%d}." if before else None,
        "prior_study_id": prior["study_id"] if prior else None,
        "prior_findings": prior["findings"] if prior else None,
        "prior_impression": prior["impression"] if prior else None,
        "earlier": earlier,
        "finding_labels": labels,
        "age": identity.time.year - identity.birth_year,
        "sex": identity.sex,
        "study_uid": uid_for(identity.study_id),
        "image_uids": [uid_for(identity.study_id, "image")],
        "_time": identity.time,
    }


def _placed(visit: Visit, seen: dict[Any, str], before: dict[Any, str]) -> list[dict[str, Any]]:
    """The statements, each with the cells where it is seen; what is gone was seen there on the prior picture."""
    places = [(s, (s.finding, s.side)) for s in visit.statements]
    return [s.as_json() | {"cells": seen.get(key) or before.get(key)} for s, key in places]


def _as_hex(cells: np.ndarray) -> str:
    return np.packbits(cells).tobytes().hex()


def _report_text(record: dict[str, Any]) -> str:
    lines = [f"{MARK} (phantom study {record['study_id']})", "", "EXAMINATION: CHEST RADIOGRAPH"]
    for name in ("indication", "technique", "comparison", "findings", "impression"):
        lines += ["", f"{name.upper()}: {record[name] or 'None.'}"]
    return "\n".join(lines) + "\n"
