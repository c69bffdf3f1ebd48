# SPDX-License-Identifier: Apache-2.0
"""`libra-monai verify-parity DIR`: compare with numbers that the original produced."""

from __future__ import annotations

import argparse
import math


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai verify-parity`."""
    parser.add_argument("folder", metavar="DIR", help="reference files; any subset of the cases")


def run(args: argparse.Namespace) -> int:
    """Print the largest error of every comparison and a verdict; 1 if one misses."""
    from libra_monai.checkpoints.parity import verify_parity

    found, others = verify_parity(args.folder)
    for c in found:
        error = c.reason if math.isnan(c.error) else f"{c.error:.3g} (allowed {c.tolerance:.3g})"
        print(f"{'equal' if c.equal else 'MISS '}  {c.case}: {c.what}: {error}")
    for name in others:
        print(f"-      {name}: not a parity case")
    missed = sum(not c.equal for c in found)
    print(f"{len(found)} comparisons, {missed} missed: {'not the same' if missed else 'the same'}")
    return int(missed > 0)
