# SPDX-License-Identifier: Apache-2.0
"""Run the speed benchmarks of a clone, one after another, and write `docs/benchmarks.md` from what they print."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = Path("docs/benchmarks.md")
BENCHMARKS = {
    "generation": "one prefill a study against the parent's way; batches against one by one",
    "refill": "batches written to their end against places that are refilled",
    "bulk": "memory and speed of drafting many studies",
    "training_overhead": "a training step against a bare loop; what checkpoints and metrics add",
    "generation_gpu": "beams, one stream and batches in the 7B and 3B shapes, on a GPU",
    "tac_speed": "the connector against the published arrangement of its work",
    "metrics_speed": "all metrics over 10,000 reports",
}


@dataclass(frozen=True)
class Result:
    """What one benchmark printed.

    Args:
        name: of the script.
        printed: standard output.
        seconds: it took.
        load: load average of the machine before and after.
    """

    name: str
    printed: str
    seconds: float
    load: tuple[float, float]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai bench`."""
    parser.add_argument("--only", default=",".join(BENCHMARKS), metavar="NAMES", help="by comma (all)")
    parser.add_argument("--out", default=str(PAGE), metavar="FILE", help=f"page to write ({PAGE})")
    parser.add_argument("--root", default=".", metavar="DIR", help="the clone (this directory)")


def run(args: argparse.Namespace) -> int:
    """Run them, print their results, write the page."""
    from libra_monai.errors import ConfigError, did_you_mean
    from libra_monai.files import write_text

    names = [name.strip() for name in args.only.split(",") if name.strip()]
    for name in names:
        if name not in BENCHMARKS:
            raise ConfigError(f"benchmark '{name}' does not exist", did_you_mean(name, BENCHMARKS))
    folder = Path(args.root) / "benchmarks"
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist", "Benchmarks stand in a clone: run there, or give --root.")
    results = [_measure(name, folder) for name in names]
    write_text(Path(args.root) / args.out, page(results))
    print(f"Written: {Path(args.root) / args.out}")
    return 0


def page(results: list[Result]) -> str:
    """The page: machine, then for each benchmark its command, load, time, and what it printed.

    Args:
        results: in the order of the page.
    """
    import torch

    lines = [
        "# Benchmarks",
        "",
        "Written by `libra-monai bench` (`make bench`). Ratios are of ways that ran in turn in one process; times are of this machine and its load.",
        "",
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {_devices()}, Python {platform.python_version()}, torch {torch.__version__}.",
    ]
    for result in results:
        lines += [
            "",
            f"## {result.name}",
            "",
            f"{BENCHMARKS[result.name].capitalize()}. `python benchmarks/{result.name}.py`, {result.seconds:.0f} s, load {result.load[0]:.1f} before and "
            f"{result.load[1]:.1f} after.",
            "",
            "```",
            *result.printed.rstrip().splitlines(),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _measure(name: str, folder: Path) -> Result:
    from libra_monai.errors import LibraError

    print(f"{name}: {BENCHMARKS[name]}", flush=True)
    began, before = time.monotonic(), os.getloadavg()[0]
    ran = subprocess.run([sys.executable, str(folder / f"{name}.py")], stdout=subprocess.PIPE, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines or not _is_json(lines[-1]):
        raise LibraError(f"benchmarks/{name}.py ended with status {ran.returncode} and no result", "Run it by itself to see why.")
    print(ran.stdout, flush=True)
    return Result(name, ran.stdout, time.monotonic() - began, (before, os.getloadavg()[0]))


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _devices() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
