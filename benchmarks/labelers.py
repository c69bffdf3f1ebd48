# SPDX-License-Identifier: Apache-2.0
"""How well the labelers read rich phantom reports in held-out wordings, or sentences with expected labels; ends in one JSON line.

    python benchmarks/labelers.py --seed 4711 [--patients 2000] [--wordings held_out]
    python benchmarks/labelers.py --probes tests/metrics/probes.json [--show]

No picture is drawn: stories are, and their FINDINGS sections are read back and compared with what happened. Probes are snippets with CheXpert labels and
sentences with what they say is there, where, and what became of it; `--show` prints those that are read differently.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from libra_monai.data.phantom.rich.details import retell
from libra_monai.data.phantom.rich.wording import write_findings
from libra_monai.data.phantom.story import draw_story
from libra_monai.metrics.base import f1
from libra_monai.metrics.labelers import present_findings, read_positions
from libra_monai.metrics.labelers.changes import change_claims, claims_change
from libra_monai.metrics.labelers.probes import read_probes, score_probes


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int)
    what.add_argument("--probes", type=Path)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--wordings", default="held_out", choices=("training", "held_out", "all"))
    args = parser.parse_args()
    print(json.dumps(score(args.probes, args.show) if args.probes else read_phantoms(args)))


def score(path: Path, show: bool) -> dict:
    """Compare with expected labels; `show` prints what differs."""
    probes = json.loads(path.read_text(encoding="utf-8"))
    for _, text, read, wanted in read_probes(probes) if show else ():
        if read != wanted:
            print(f"{text}\n    reads {sorted(read - wanted, key=str)}, expected {sorted(wanted - read, key=str)}")
    scores = {kind: {name: round(value, 4) for name, value in row.items()} for kind, row in score_probes(probes).items()}
    return {"benchmark": "labelers", "probes": path.name, **scores}


def read_phantoms(args: argparse.Namespace) -> dict:
    """Write reports of phantoms, read them back, count."""
    findings, changes, positions = np.zeros(3), np.zeros(3), np.zeros(3)
    reports = first = false = 0
    for number in range(args.patients):
        rng = np.random.default_rng([args.seed, number])
        for order, visit in enumerate(retell(draw_story(rng))):
            text = write_findings(visit.statements, rng, args.wordings)
            there = {(s.finding, s.side) for s in visit.statements if s.change not in ("resolved", "removed")}
            told = {(s.finding, s.side, s.change) for s in visit.statements if s.change}
            lies = {(s.finding, s.position) for s in visit.statements if s.position and s.change not in ("resolved", "removed")}
            read = (present_findings(text), there), (change_claims(text), told), (set(read_positions(text).items()), lies)
            for total, (said, wanted) in zip((findings, changes, positions), read, strict=True):
                total += [len(said & wanted), len(said - wanted), len(wanted - said)]
            reports, first, false = reports + 1, first + (order == 0), false + (order == 0 and claims_change(text))
    return {
        "benchmark": "labelers", "seed": args.seed, "wordings": args.wordings, "reports": reports,
        "finding_f1": round(f1(*findings), 4), "change_f1": round(f1(*changes), 4),
        "position_f1": round(f1(*positions), 4), "first_studies_that_compare": false / first,
    }  # fmt: skip

if __name__ == "__main__":
    main()
