# SPDX-License-Identifier: Apache-2.0
"""How well the labelers read rich phantom reports in held-out wordings; ends in one JSON line.

    python benchmarks/labelers.py --seed 4711 [--patients 2000] [--wordings held_out]

No picture is drawn: stories are, and their FINDINGS sections are read back and compared with what happened.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from libra_monai.data.phantom.rich.details import retell
from libra_monai.data.phantom.rich.wording import write_findings
from libra_monai.data.phantom.story import draw_story
from libra_monai.metrics.base import f1
from libra_monai.metrics.labelers import present_findings, read_positions
from libra_monai.metrics.labelers.changes import change_claims, claims_change


def main() -> None:
    """Write, read back, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--wordings", default="held_out", choices=("training", "held_out", "all"))
    args = parser.parse_args()
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
    result = {
        "benchmark": "labelers", "seed": args.seed, "wordings": args.wordings, "reports": reports,
        "finding_f1": round(f1(*findings), 4), "change_f1": round(f1(*changes), 4),
        "position_f1": round(f1(*positions), 4), "first_studies_that_compare": false / first,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
