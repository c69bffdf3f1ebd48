# SPDX-License-Identifier: Apache-2.0
"""Draw synthetic chest X-ray studies: DICOM files, reports, datalist and ground truth.

Synthetic, not for clinical use. The same seed gives the same files.
"""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai phantom`."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--patients", type=int, default=40, metavar="N", help="patients, 1-5 studies each (40)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of everything (1)")
    parser.add_argument("--size", type=int, default=448, metavar="PIXELS", help="longer side of the pictures (448)")
    parser.add_argument(
        "--splits",
        default="training=0.8,validation=0.1,test=0.1",
        help="shares of the patients (training=0.8,validation=0.1,test=0.1)",
    )
    parser.add_argument(
        "--rich",
        action="store_true",
        help="zones, tip positions, malposition, lateral views, side markers, more wordings, more nuisance",
    )
    parser.add_argument(
        "--held-out", action="store_true", help="write the test split in the wordings training never sees (with --rich)"
    )
    parser.add_argument(
        "--polluted",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of reports without prior that cite one all the same (with --rich; 0)",
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (one per core)")


def run(args: argparse.Namespace) -> int:
    """Write the studies and say where they are."""
    from libra_monai.data.phantom.generate import generate

    path = generate(
        args.out,
        args.patients,
        args.seed,
        _splits(args.splits),
        args.size,
        args.workers,
        rich=args.rich,
        held_out=args.held_out,
        polluted=args.polluted,
    )
    print(f"Phantom studies (synthetic, not for clinical use): {path}")
    return 0


def _splits(text: str) -> dict[str, float]:
    from libra_monai.errors import ConfigError

    try:
        return {name.strip(): float(share) for name, share in (pair.split("=") for pair in text.split(","))}
    except ValueError:
        raise ConfigError(f"--splits {text} is not name=share,name=share", "Example: training=0.9,test=0.1") from None
