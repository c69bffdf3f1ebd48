# SPDX-License-Identifier: Apache-2.0
"""Put MONAI Label into a running environment without moving torch, numpy or pydicom.

`pip install monailabel` would bring another torch, numpy 1 and a jsonschema of 2019, and its server would not start beside
pydicom 3: `pydicom_seg`, which it imports for DICOM SEG, is no longer kept up. So what it needs for serving stands in our extra
`[label]`, itself it comes without its dependencies, and a place holder stands for `pydicom_seg` and `itk`, which are for
segmentations; an app that writes text never asks for them.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

from libra_monai.errors import ConfigError
from libra_monai.files import write_text

MONAI_LABEL = "0.8.5"
KEPT = ("torch", "numpy", "pydicom", "monai", "transformers", "jsonschema", "pillow")  # stay as they are
STUB = "pydicom_seg"
_ROOT = Path(__file__).resolve().parents[3]
_STUB_TEXT = '''"""A place holder: MONAI Label imports this name, and the real package does not work with pydicom 3.

Written by `libra-monai label --install`. DICOM SEG, which needs the real one, is for segmentations. MONAI Label also imports itk,
which writes them; where it is absent it stays absent for MONAI's readers, and MONAI Label gets an empty module.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

import monai.data.image_reader  # noqa: F401  it looks for itk now, before the name is taken

if "itk" not in sys.modules and find_spec("itk") is None:
    sys.modules["itk"] = ModuleType("itk", "Empty: itk is not installed.")
'''


def install() -> list[str]:
    """Install, check that nothing else moved, and give back one line for each thing done.

    Raises:
        ConfigError: pip could not do it, or a version changed.
    """
    before = kept_versions()
    with tempfile.TemporaryDirectory() as place:
        pins = Path(place) / "pins.txt"
        write_text(pins, "".join(f"{name}=={number}\n" for name, number in before.items()))
        tested = _ROOT / "constraints.txt"
        tested_too = ["-c", str(tested)] if tested.is_file() else []
        _pip(["-c", str(pins), *tested_too, *requirements()])
        _pip(["--no-deps", f"monailabel=={MONAI_LABEL}"])
    invalidate_caches()
    done = [f"monailabel {MONAI_LABEL}", *_stub()]
    after = kept_versions()
    if after != before:
        moved = ", ".join(f"{name} {before.get(name)} to {after.get(name)}" for name in before if after.get(name) != before[name])
        raise ConfigError(f"pip moved {moved}", "Install those versions again, or make a new environment.")
    return [*done, "unchanged: " + ", ".join(f"{name} {number}" for name, number in after.items())]


def requirements() -> list[str]:
    """What the extra `[label]` asks for on this Python, as pip takes it; of the clone, else of the installed package.

    Raises:
        ConfigError: neither is there, only a copy of the package on the path.
    """
    setup = _ROOT / "setup.cfg"
    if setup.is_file():
        config = configparser.ConfigParser()
        config.read(setup, encoding="utf-8")
        return [text for text in map(_wanted, config["options.extras_require"]["label"].split("\n")) if text]
    try:
        asked = distribution("libra-monai").requires or []
    except PackageNotFoundError:
        raise ConfigError("libra-monai is not installed here", "Install it with pip first, or run make install.") from None
    extra = re.compile(r"""\s*(and )?extra == ['"]label['"]""")
    return [text for text in (_wanted(extra.sub("", one).rstrip("; ")) for one in asked if extra.search(one)) if text]


def kept_versions() -> dict[str, str]:
    """Package -> version of what must not move and is there."""
    found = {}
    for name in KEPT:
        try:
            found[name] = version(name).partition("+")[0]  # the index names no local build
        except PackageNotFoundError:
            continue
    return found


def check_installed() -> None:
    """Say what to do if MONAI Label cannot be used.

    Raises:
        ConfigError: it is not there, in another version, or without its neighbours.
    """
    remedy = "Run libra-monai label --install (in a clone: make label)."
    try:
        found = version("monailabel")
    except PackageNotFoundError:
        raise ConfigError("MONAI Label is not installed", remedy) from None
    if found.partition("-")[0].partition("+")[0] != MONAI_LABEL and not found.startswith(MONAI_LABEL):
        raise ConfigError(f"MONAI Label is {found}, not {MONAI_LABEL}", remedy)
    for name in (STUB, "fastapi", "uvicorn", "multipart"):
        if find_spec(name) is None:
            raise ConfigError(f"MONAI Label is installed without {name}", remedy)


def _wanted(text: str) -> str | None:
    """A requirement without its marker, or None where the marker rules it out or nothing stands there."""
    name, _, marker = text.partition(";")
    if marker.strip():
        from packaging.markers import Marker

        if not Marker(marker.strip()).evaluate():
            return None
    return name.strip() or None


def _stub() -> list[str]:
    """A place holder where pure Python packages live, unless the real one is installed."""
    try:
        return [f"{STUB} {version('pydicom-seg')} was there"]
    except PackageNotFoundError:
        write_text(Path(sysconfig.get_paths()["purelib"]) / STUB / "__init__.py", _STUB_TEXT)
        invalidate_caches()
        return [f"{STUB}, a place holder"]


def _pip(words: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *words]
    if subprocess.run(command, check=False).returncode:
        raise ConfigError("pip could not install what MONAI Label needs; its message stands above", "Check the network.")
