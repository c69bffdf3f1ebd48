# SPDX-License-Identifier: Apache-2.0
"""Make a virtual environment in a clone and install the package into it, in the tested versions.

Reuses what is there: if nothing that decides about the installation has changed, it does nothing.
Run it as `python3 -m libra_monai install`; it needs only Python 3.11 or newer with venv.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

from libra_monai.errors import ConfigError

_ROOT = Path(__file__).resolve().parents[2]
_DECIDING = ("setup.cfg", "pyproject.toml", "constraints.txt")
_STAMP = ".libra-monai-installed"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai install`."""
    parser.add_argument("--venv", default=".venv", metavar="DIR", help="virtual environment (.venv in the clone)")
    parser.add_argument("--extras", default="dev", help="extras to install, by comma (dev)")
    parser.add_argument("--torch-index", default="", metavar="URL", help="package index to take torch from")


def run(args: argparse.Namespace) -> int:
    """Create and fill the environment."""
    if sys.version_info < (3, 11):
        raise ConfigError(f"Python {sys.version.split()[0]} is too old", "Use Python 3.11 or newer.")
    if not (_ROOT / "setup.cfg").is_file():
        raise ConfigError("install works in a clone of the repository", "Use pip to install the package elsewhere.")
    folder = (_ROOT / args.venv).resolve()
    stamp, wanted = folder / _STAMP, _fingerprint(args)
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    started = time.monotonic()
    _make_venv(folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    source = ["--index-url", args.torch_index] if args.torch_index else []
    print(f"Installing torch into {folder} (a CUDA build is several GB; TORCH_INDEX selects another) ...", flush=True)
    _pip([*pip, *source, _pin("torch")])
    print("Installing libra-monai ...", flush=True)
    _pip([*pip, "-c", str(_ROOT / "constraints.txt"), "-e", f"{_ROOT}[{args.extras}]"])
    stamp.write_text(wanted)
    print(f"Installed in {time.monotonic() - started:.0f} s. Activate it with: . {os.path.relpath(folder)}/bin/activate")
    return 0


def _fingerprint(args: argparse.Namespace) -> str:
    digest = hashlib.sha256(f"{sys.version}|{args.extras}|{args.torch_index}|{_ROOT}".encode())
    for name in _DECIDING:
        digest.update((_ROOT / name).read_bytes())
    return digest.hexdigest()


def _make_venv(folder: Path) -> None:
    broken = (folder / "pyvenv.cfg").is_file()  # an earlier try may have ended before pip was there
    if broken and any(folder.glob("*/pip*")):
        return
    try:
        venv.create(folder, with_pip=True, clear=broken)
    except (subprocess.CalledProcessError, OSError) as error:
        remedy = "On Debian or Ubuntu: apt install python3-venv."
        raise ConfigError(f"the virtual environment {folder} cannot be made ({error})", remedy) from error


def _pin(name: str) -> str:
    for line in (_ROOT / "constraints.txt").read_text().splitlines():
        if line.split("==")[0].strip() == name:
            return line.split("#")[0].strip()
    raise ConfigError(f"constraints.txt does not pin {name}", "Restore the file.")


def _pip(command: list[str]) -> None:
    if subprocess.run(command, cwd=_ROOT).returncode:
        raise ConfigError("pip could not install what is needed; its message stands above", "Check the network.")
