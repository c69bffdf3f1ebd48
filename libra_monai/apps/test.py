# SPDX-License-Identifier: Apache-2.0
"""Run the tests of a clone: the quick ones, or with --slow those that kill, fuzz, serve and install."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TAKES_OVERRIDES = True  # further words go to pytest
_ROOT = Path(__file__).resolve().parents[2]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai test`."""
    parser.add_argument("--slow", action="store_true", help="the slow tests instead of the quick ones")


def run(args: argparse.Namespace) -> int:
    """Run pytest on the clone and return its exit status."""
    from libra_monai.errors import ConfigError

    if not (_ROOT / "tests").is_dir():
        raise ConfigError("there are no tests beside the package", "Run it from a clone of the repository.")
    marker = "slow" if args.slow else "not slow"
    # of products as small as the tests', threads only wait for one another: three times as long on two busy cores
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.run([sys.executable, "-m", "pytest", "-m", marker, "tests", *args.rest], cwd=_ROOT, env=environment).returncode
