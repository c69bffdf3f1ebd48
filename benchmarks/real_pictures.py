# SPDX-License-Identifier: Apache-2.0
"""The path of a study on real pictures, twice: `libra-monai report` and `bundle/configs/inference.json`; ends in one JSON line.

    python benchmarks/real_pictures.py --csv FILE [--more FILE ...] [--out DIR]

The CSV lists pictures of patients with columns patient_id, image and admission_offset_days (days from the picture to
the admission, as in the Hannover repository, doi 10.25835/0090041), so that the prior is the next larger offset
of the same patient. Pictures given by `--more` are drafted without a prior. Nothing is said about the words: a model
trained on phantoms knows nothing of patients, and each draft must say so in its first line.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import tempfile
from pathlib import Path

from libra_monai.apps.main import main as command
from libra_monai.apps.workflow import LibraWorkflow


def pairs(table: Path) -> list[tuple[Path, Path | None]]:
    """Every picture of the table with the one before it."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found: list[tuple[Path, Path | None]] = []
    for patient in dict.fromkeys(row["patient_id"] for row in rows):
        own = [row for row in rows if row["patient_id"] == patient]
        own.sort(key=lambda row: -float(row["admission_offset_days"]))
        files = [table.parent / row["image"] for row in own]
        found += zip(files, [None, *files[:-1]], strict=True)
    return found


def by_command(current: Path, prior: Path | None, out: Path) -> tuple[str, str]:
    """First line and text of a draft by `libra-monai report`."""
    words = ["report", "--current", str(current), "--out", str(out), *(["--prior", str(prior)] if prior else [])]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        if command(words):
            raise SystemExit(f"{current}: the command failed")
    content = json.loads((out / f"{current.stem}.json").read_text(encoding="utf-8"))
    if bool(prior) != content["prior_used"]:
        raise SystemExit(f"{current}: the prior was not used as given")
    return said.getvalue().splitlines()[0], content["prediction"]


def by_workflow(current: Path, prior: Path | None, out: Path) -> str:
    """Text of a draft by the inference workflow."""
    given = {"current": str(current.resolve()), "output_dir": str(out)}
    with contextlib.redirect_stdout(io.StringIO()):
        LibraWorkflow("inference", [], given | ({"prior": str(prior.resolve())} if prior else {})).run_all()
    return json.loads((out / "predictions.jsonl").read_text(encoding="utf-8"))["prediction"]


def main() -> None:
    """Draft, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--more", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    studies = [*pairs(args.csv), *((path, None) for path in args.more)]
    with tempfile.TemporaryDirectory() as scratch:
        out, same, warned, texts = args.out or Path(scratch), 0, 0, set()
        for number, (current, prior) in enumerate(studies):
            first, text = by_command(current, prior, out / f"{number:02d}")
            same += text == by_workflow(current, prior, out / f"{number:02d}" / "workflow")
            warned += "NOT REVIEWED" in first and "on a real patient its words mean nothing" in first
            texts.add(text)
            print(f"{current.name} after {prior.name if prior else 'nothing'}\n  {first}\n  {text}")
    result = {
        "benchmark": "real_pictures",
        "studies": len(studies),
        "with_prior": sum(prior is not None for _, prior in studies),
        "first_line_warns": warned,
        "workflow_equals_command": same,
        "distinct_drafts": len(texts),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
