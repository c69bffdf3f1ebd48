# SPDX-License-Identifier: Apache-2.0
"""Memory and speed of a bulk run: peak resident memory after a few studies and after many, studies per second.

The small model on the CPU. The phantom pictures of 40 patients are repeated under new identifiers until there are enough studies, so the
model computes every one, but the disk's cache holds the pictures. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from ignite.engine import Events

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.data.phantom.generate import generate


def repeated(folder: Path, count: int) -> Path:
    """A datalist of `count` studies made of the phantom ones, over and over."""
    content = json.loads((folder / "datalist.json").read_text())
    studies = [study for split in ("training", "validation", "test") for study in content.get(split, [])]
    rows = [{**studies[n % len(studies)], "study_id": f"R{n:06d}"} for n in range(count)]
    path = folder / "repeated.json"
    path.write_text(json.dumps({"privacy": "synthetic", "test": rows}))
    return path


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Draw studies, draft them all, and note the peak on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=200, help="studies after which the peak is first read (200)")
    parser.add_argument("--studies", type=int, default=2000, help="studies of the run (2000)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "phantom"
        generate(folder, 40, 1)
        options = {
            "datalist": str(repeated(folder, args.studies)), "data_root": str(folder), "output_dir": f"{place}/out", "formats": ["json"],
            "batch_size": args.batch_size, "decoding": {"max_new_tokens": args.new_tokens}, "device": "cpu",
        }  # fmt: skip
        workflow = LibraWorkflow("inference", [], options)
        workflow.initialize()
        evaluator = workflow.parser.get_parsed_content("evaluator")
        peaks: dict[int, float] = {}
        seen = [0]

        def note(engine: object) -> None:
            seen[0] += len(evaluator.state.batch)
            if seen[0] >= args.first and args.first not in peaks:
                peaks[args.first] = peak_mb()

        evaluator.add_event_handler(Events.ITERATION_COMPLETED, note)
        began = time.perf_counter()
        workflow.run()
        seconds = time.perf_counter() - began
        lines = sum(1 for _ in open(f"{place}/out/predictions.jsonl", encoding="utf-8"))
        peaks[args.studies] = peak_mb()
    growth = peaks[args.studies] / peaks[args.first] - 1
    print(f"{'studies':>8}  {'peak MB':>8}")
    for count, peak in peaks.items():
        print(f"{count:8d}  {peak:8.0f}")
    result = {
        "benchmark": "bulk", "studies": lines, "peak_mb": {str(k): round(v, 1) for k, v in peaks.items()}, "growth": round(growth, 4),
        "studies_per_second": round(lines / seconds, 2), "load": round(os.getloadavg()[0], 1), "pictures": "repeated under new identifiers",
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
