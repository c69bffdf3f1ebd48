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

from libra_monai.data.phantom.patient import make_patient
from libra_monai.data.phantom.radiograph import LONG_SIDE
from libra_monai.data.phantom.rich.patient import make_rich_patient
from libra_monai.errors import ConfigError
from libra_monai.files import check_writable, write_json, write_text

NOTICE = "Synthetic, not for clinical use."
SPLITS = {"training": 0.8, "validation": 0.1, "test": 0.1}
_VERSION = 3  # raise when the same seed gives other studies
_RICH_VERSION = 1  # the same for rich phantoms
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
    rich: bool = False,
    held_out: bool = False,
    polluted: float = 0.0,
) -> Path:
    """Write phantom studies, or leave a complete folder of the same options as it is.

    Args:
        out: folder to write to.
        patients: number of patients; each has 1-5 studies.
        seed: seed of everything.
        splits: shares of `training`, `validation` and `test` patients.
        long_side: longer side of the pictures in pixels.
        workers: processes; default one per core.
        rich: zones, tips, malposition, lateral views, side markers, more wordings and more nuisance.
        held_out: the test split is written in the third of the wordings that training never sees; rich only.
        polluted: share of the studies without prior whose report compares with one all the same; rich only.

    Returns:
        path of `datalist.json`.

    Raises:
        ConfigError: options make no sense, or the folder holds something else.
    """
    splits = dict(splits or SPLITS)
    _check(patients, seed, splits, long_side)
    root = Path(out)
    manifest = {"version": _VERSION, "patients": patients, "seed": seed, "splits": splits, "long_side": long_side}
    manifest |= _rich_options(rich, held_out, polluted)
    check_writable(root, "--out")
    if not _is_complete(root, manifest):
        _draw_aside(root, manifest, workers)
    return root / "datalist.json"


def _draw_aside(root: Path, manifest: dict[str, Any], workers: int | None) -> None:
    """Draw in a folder of its own, and move what is finished into place."""
    place = Path(tempfile.mkdtemp(prefix=_DRAWING, dir=root))
    try:
        _draw(place, manifest, workers)
        if not _is_complete(root, manifest):  # another process may have been quicker
            for name in _CONTENT:
                os.replace(place / name, root / name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _draw(root: Path, manifest: dict[str, Any], workers: int | None) -> None:
    patients, seed = manifest["patients"], manifest["seed"]
    (root / "reports").mkdir()
    assigned = _assign_splits(patients, seed, manifest["splits"])
    make = partial(make_patient, root=str(root), seed=seed, long_side=manifest["long_side"])
    if "rich" in manifest:
        make = partial(make_rich_patient, root=str(root), manifest=manifest)
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


def _rich_options(rich: bool, held_out: bool, polluted: float) -> dict[str, Any]:
    """What the manifest says of rich phantoms; nothing of plain ones, whose folders stay as they were."""
    if not 0 <= polluted <= 1:
        raise ConfigError(f"--polluted {polluted} is not a share", "Choose 0 to 1.")
    if not rich:
        if held_out or polluted:
            raise ConfigError("--held-out and --polluted are options of rich phantoms", "Add --rich.")
        return {}
    return {"rich": _RICH_VERSION, "held_out": held_out, "polluted": polluted}


def _is_complete(root: Path, manifest: dict[str, Any]) -> bool:
    path = root / "phantom.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error})", "Choose another folder, or delete this one.") from error
        if all(found.get(key) == manifest.get(key) for key in {*manifest, "rich", "held_out", "polluted"}):
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
