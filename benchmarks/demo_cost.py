# SPDX-License-Identifier: Apache-2.0
"""Time, memory and first sign of life of a command, by default `libra-monai demo`; ends in one JSON line.

    python benchmarks/demo_cost.py [--out DIR] [-- COMMAND ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import psutil


def watch(process: subprocess.Popen, peak: list[int]) -> None:
    """Follow the resident memory of a process and all its children until it ends."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family = [root, *root.children(recursive=True)]
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in family))
        except psutil.Error:
            pass
        time.sleep(0.2)


def main() -> None:
    """Run, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=None)
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = args.command or [sys.executable, "-m", "libra_monai", "demo", "--out", args.out or scratch]
        started, first, peak = time.monotonic(), None, [0]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=watch, args=(process, peak), daemon=True).start()
        for line in process.stdout:
            if first is None and "draft:" in line:
                first = time.monotonic() - started
            sys.stderr.write(line)
        status = process.wait()
    result = {
        "benchmark": "demo_cost",
        "status": status,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "first_draft_seconds": None if first is None else round(first, 1),
        "peak_gigabytes": round(peak[0] / 1e9, 2),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
