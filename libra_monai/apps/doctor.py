# SPDX-License-Identifier: Apache-2.0
"""Check what this machine has: versions, codecs, writable folders, weights. Each lack comes with its remedy."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CORE = (
    "torch monai pytorch-ignite transformers peft accelerate safetensors sentencepiece pydicom nibabel pillow "
    "tensorboard fire jsonschema jinja2 tqdm"
).split()
_SYNTAXES = {
    "uncompressed": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}
_BY_IMAGECODECS = {
    "JPEG": "JPEG8", "JPEG lossless": "JPEG8", "JPEG-LS": "JPEGLS", "JPEG 2000": "JPEG2K", "HTJ2K": "HTJ2K"
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai doctor`."""
    parser.add_argument("--out", default=".", metavar="DIR", help="folder that runs would write to (.)")


def run(args: argparse.Namespace) -> int:
    """Print one line per check; exit status 2 if something needed is missing."""
    bad = 0
    for good, needed, text, remedy in _checks(args.out):
        mark = "ok     " if good else "MISSING" if needed else "without"
        print(f"{mark}  {text}" + ("" if good else f"  -> {remedy}"))
        bad += not good and needed
    print("Everything needed is here." if not bad else f"{bad} needed thing(s) missing; see the remedies above.")
    return 2 if bad else 0


def _checks(out: str) -> Iterator[tuple[bool, bool, str, str]]:
    """(good, needed, what, remedy) of every check."""
    python = sys.version_info >= (3, 11)
    yield python, True, f"Python {platform.python_version()}", "Use Python 3.11 or newer."
    for name in _CORE:
        try:
            yield True, True, f"{name} {version(name)}", ""
        except PackageNotFoundError:
            yield False, True, name, f"pip install {name}"
    for group in (_torchvision, _codecs, _accelerator):
        try:
            yield from group()
        except ImportError as error:
            yield False, True, str(error), "Install what is missing above."
    yield from _formats()
    yield from _folders(out)
    yield from _weights()


def _torchvision() -> Iterator[tuple[bool, bool, str, str]]:
    """A broken torchvision breaks transformers and peft at import; none at all is fine."""
    try:
        version("torchvision")
    except PackageNotFoundError:
        return
    try:
        import torchvision  # noqa: F401

        yield True, True, "torchvision imports beside this torch", ""
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        yield False, True, f"torchvision does not import ({first})", "pip uninstall torchvision"


def _codecs() -> Iterator[tuple[bool, bool, str, str]]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    try:
        import imagecodecs
    except ImportError:
        imagecodecs = None
    for name, uid in _SYNTAXES.items():
        by = getattr(imagecodecs, _BY_IMAGECODECS.get(name, ""), None)
        if by is not None and by.available:
            yield True, True, f"DICOM {name} by imagecodecs {imagecodecs.__version__}", ""
            continue
        try:
            good = get_decoder(UID(uid)).is_available
        except NotImplementedError:
            good = False
        yield good, True, f"DICOM {name}", "pip install imagecodecs pylibjpeg-openjpeg pylibjpeg-rle"


def _accelerator() -> Iterator[tuple[bool, bool, str, str]]:
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    text = f"accelerator {found}" if found else f"accelerator; {os.cpu_count()} CPU cores are used"
    yield bool(found), False, text, "The small model needs none."


def _formats() -> Iterator[tuple[bool, bool, str, str]]:
    from libra_monai import registry
    from libra_monai.errors import ConfigError
    from libra_monai.outputs import check_formats

    for name in registry.names("writer"):
        try:
            check_formats([name])
            yield True, False, f"drafts as {name}", ""
        except ConfigError as error:
            yield False, False, f"drafts as {name}", error.remedy


def _folders(out: str) -> Iterator[tuple[bool, bool, str, str]]:
    for folder in (out, tempfile.gettempdir()):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
            yield True, True, f"{Path(folder).resolve()} is writable", ""
        except OSError as error:
            yield False, True, f"{folder} is not writable ({error.strerror})", "Choose another with --out or TMPDIR."


def _weights() -> Iterator[tuple[bool, bool, str, str]]:
    from libra_monai import paths
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.errors import LibraError

    try:
        loaded = load_pretrained(paths.tiny_model())
        count = sum(p.numel() for p in loaded.model.parameters()) / 1e6
        yield True, True, f"weights {loaded.card['name']} {loaded.card['version']}, {count:.1f} M parameters", ""
    except LibraError as error:
        yield False, True, f"small weights: {error.what}", error.remedy
