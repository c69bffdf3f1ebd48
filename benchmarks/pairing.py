# SPDX-License-Identifier: Apache-2.0
"""Time and memory of reading and pairing a corpus of MIMIC-CXR's form; ends in one JSON line.

Draws tables of `--rows` images (gzip CSV, as published) and a zip archive with one invented report per study, reads
them with the builder of `libra-monai prepare mimic-cxr`, and pairs every study with the one before it. No pictures
are drawn and none is looked for. One core; drawing is not timed. It takes turns with nothing but reading all rows and
texts (`plain`); the ratio is ours over that, the median of the rounds with the lowest and highest between them.

    python benchmarks/pairing.py [--rows 100000] [--rounds 5] [--no-reports]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import random
import resource
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from libra_monai.data.chronology import choose_priors, to_record
from libra_monai.data.corpora.mimic_cxr import MimicCxr, Options

METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "StudyDate", "StudyTime",
    "ViewCodeSequence_CodeMeaning",
)  # fmt: skip
FINDINGS = tuple(f"Finding {number}" for number in range(14))
TEXT = "The lungs are clear without focal consolidation. No pleural effusion or pneumothorax is seen. " * 4


def images(rows: int) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Image, subject, study, view, date and time of invented images; 1.65 a study and 3.5 studies a patient, as published."""
    rng = random.Random(1)
    made, patient, study = 0, 0, 0
    while made < rows:
        patient += 1
        subject = str(10_000_000 + patient * 37)
        for visit in range(rng.choice((1, 1, 2, 3, 4, 10))):
            study += 1
            number = str(40_000_000 + study * 7919 % 9_999_991)  # no order in time
            date, seconds = f"21{10 + visit}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}", rng.randint(0, 86_399)
            for view in (("PA", "LATERAL"), ("AP",), ("AP", "AP"))[rng.randrange(3)]:
                if made == rows:
                    return
                made += 1
                clock = f"{seconds // 3600}{seconds // 60 % 60:02d}{seconds % 60:02d}".lstrip("0") or "0"
                yield f"{made:08x}-0000-0000", subject, number, view, date, f"{clock}.{rng.randrange(1000):03d}"


def draw(folder: Path, rows: int, reports: bool) -> None:
    """Write the tables and the archive."""
    listed = list(images(rows))
    rows_of = {
        "metadata": (METADATA, ((i, p, s, "CHEST (PA AND LAT)", v, d, t, "") for i, p, s, v, d, t in listed)),
        "split": (("dicom_id", "study_id", "subject_id", "split"), ((i, s, p, "train") for i, p, s, *_ in listed)),
        "chexpert": (
            ("subject_id", "study_id", *FINDINGS),
            ((p, s, "1.0", "0.0", "-1.0", *[""] * 11) for p, s in dict.fromkeys((p, s) for _, p, s, *_ in listed)),
        ),
    }
    for name, (columns, content) in rows_of.items():
        with gzip.open(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt", newline="", compresslevel=1) as file:
            csv.writer(file).writerows([columns, *content])
    if reports:
        text = f"{'':33}FINAL REPORT\n INDICATION:  Cough.\n \n FINDINGS:  {TEXT}\n \n IMPRESSION:  Normal.\n"
        with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w") as archive:
            for subject, study in dict.fromkeys((p, s) for _, p, s, *_ in listed):
                archive.writestr(f"files/p{subject[:2]}/p{subject}/s{study}.txt", text)


def ours(folder: Path) -> dict[str, float]:
    """Read, pair, make records; seconds of each, and counts."""
    start, busy = time.perf_counter(), time.process_time()
    studies = list(MimicCxr().read(Options(folder, check_files=False)))
    read = time.perf_counter()
    choices = choose_priors(studies)
    paired = time.perf_counter()
    records = [to_record(choice) for choice in choices if choice.current is not None]
    end = time.perf_counter()
    return {
        "studies": len(studies), "with_prior": sum(record["prior"] is not None for record in records),
        "read_s": read - start, "pair_s": paired - read, "records_s": end - paired, "cpu_s": time.process_time() - busy,
    }  # fmt: skip


def plain(folder: Path) -> dict[str, float]:
    """Nothing but every row as a dictionary and every report as text, all kept: what no reader can do without."""
    kept: list = []
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            kept.append(list(csv.DictReader(file)))
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            kept.append([archive.read(name).decode() for name in archive.namelist()])
    return {"items": sum(map(len, kept))}


def measured(work: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """What a piece of work returns, its seconds and its peak memory, each time in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(_measured, work, folder).result()


def _measured(work: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    start = time.perf_counter()
    found = work(folder)
    seconds = time.perf_counter() - start
    return {**found, "total_s": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> int:
    """Draw, take turns, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="images (100000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument("--no-reports", action="store_true", help="tables only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        drawing = multiprocessing.get_context("fork").Process(target=draw, args=(Path(name), args.rows, not args.no_reports))
        drawing.start()  # in a process of its own, so that its memory is not counted
        drawing.join()
        if drawing.exitcode:
            return 1
        turns = [(measured(ours, Path(name)), measured(plain, Path(name))) for _ in range(args.rounds)]
    ratios = [mine["total_s"] / other["total_s"] for mine, other in turns]
    last = turns[-1][0]
    result = {
        "benchmark": "pairing", "rows": args.rows, "reports": not args.no_reports, "rounds": args.rounds,
        "ratio": round(statistics.median(ratios), 2), "low": round(min(ratios), 2), "high": round(max(ratios), 2),
        "plain_s": round(statistics.median(other["total_s"] for _, other in turns), 2),
        "total_s": round(statistics.median(mine["total_s"] for mine, _ in turns), 2),
        "total_s_high": round(max(mine["total_s"] for mine, _ in turns), 2),
        "peak_mib": round(max(mine["peak_mib"] for mine, _ in turns)),
        "imports_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **{key: round(value, 2) for key, value in last.items() if key not in ("total_s", "peak_mib")},
    }  # fmt: skip
    print(
        f"pairing {result['ratio']:.2f} ({result['low']:.2f} to {result['high']:.2f}) of plain reading:"
        f" {args.rows} images, {result['studies']} studies, {result['total_s']} s, {result['peak_mib']} MiB"
    )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
