# SPDX-License-Identifier: Apache-2.0
"""Build the bundle as the Model Zoo takes it, and run on the built archive what the Zoo's checks ask.

`DIR/<name>_v<version>.zip` holds the bundle, `models/model.pt` made from the shipped weights, and this package with its
overlays, so that it needs nothing but the packages its metadata pin. `DIR/hf_models/` holds the entry for models whose
weights stand on the Hugging Face hub. The checks read the archive, not the clone; one line each, and the exit status is 1 if
one of them fails.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libra_monai.apps.zoo_checks import Outcome

NAME = "chest_xray_report_generation"  # the Zoo asks for lower case, kind of picture and task
HUB_ENTRY = "libra_v1_7b"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes
_NOT_PACKED = {"__pycache__", "_bundle", "_configs"}  # the last two are a wheel's copies of what is packed anyway
_BUNDLE = ("LICENSE", "large_files.yml", "configs/*", "docs/*", "models/libra_tiny/**/*")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai zoo`."""
    parser.add_argument("--out", default="runs/zoo", metavar="DIR", help="folder to write to (runs/zoo)")
    parser.add_argument("--only", metavar="NAMES", help="checks to run, by comma (all)")
    parser.add_argument("--schema", metavar="FILE", help="MONAI's metadata schema (found in a clone; docs/model-zoo.md)")


def run(args: argparse.Namespace) -> int:
    """Build, unpack elsewhere, check."""
    from libra_monai.files import check_writable

    out, checks = Path(args.out), _chosen(args.only)
    check_writable(out, "--out")
    archive = build(out)
    print(f"{archive} ({archive.stat().st_size / 1e6:.1f} MB)", flush=True)
    print(build_hub_entry(out), flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for outcome in check_all(checks, unpack(archive, Path(folder) / "unpacked"), archive, args.schema):
            failed += outcome.word == "FAIL"
            print(f"{outcome.word:<5} {outcome.name}: {outcome.said}", flush=True)
    print(f"{failed} of the checks failed" if failed else "All checks passed")
    return int(failed > 0)


def _chosen(only: str | None) -> list[Callable]:
    from libra_monai.apps import zoo_checks, zoo_runs
    from libra_monai.errors import ConfigError, did_you_mean

    known = {zoo_checks.name_of(check): check for check in (*zoo_checks.CHECKS, *zoo_runs.CHECKS)}
    wanted = [name.strip() for name in only.split(",")] if only else list(known)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"check '{name}' does not exist", did_you_mean(name, known))
    return [known[name] for name in wanted]


def check_all(checks: Iterable[Callable], root: Path, archive: Path, schema: str | None = None) -> Iterator[Outcome]:
    """Run checks one after the other; none stops the others.

    Args:
        checks: functions of an `Unpacked`.
        root: the unpacked bundle.
        archive: the zip it came from.
        schema: MONAI's metadata schema, or None to look for it.
    """
    from libra_monai.apps.zoo_checks import Unpacked, outcome

    for check in checks:
        yield outcome(check, Unpacked(root, archive, schema))


def build(out: Path) -> Path:
    """Write the archive; an older one is replaced when the new one is complete.

    Args:
        out: folder to write to.

    Returns:
        `out/<name>_v<version>.zip`; two builds of the same sources are the same bytes.
    """
    from libra_monai import paths
    from libra_monai.files import replacing

    root = Path(paths.bundle_root())
    archive = out / f"{NAME}_v{_version(root)}.zip"
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for inside, source in sorted(_members(root)):
            _add(file, inside, source.read_bytes())
        _add(file, "models/model.pt", state_file(root / "models" / "libra_tiny"))
    return archive


def build_hub_entry(out: Path) -> Path:
    """Write the folder for the Zoo's list of models on the Hugging Face hub: `README.md`, `LICENSE`, `metadata.json`.

    Args:
        out: folder to write to.
    """
    from libra_monai import paths

    root, entry = Path(paths.bundle_root()), out / "hf_models" / HUB_ENTRY
    entry.mkdir(parents=True, exist_ok=True)
    sources = {"README.md": "docs/README_hf.md", "LICENSE": "LICENSE", "metadata.json": "configs/metadata_hf.json"}
    for name, source in sources.items():
        shutil.copyfile(root / source, entry / name)
    return entry


def state_file(folder: Path) -> bytes:
    """A model folder as one plain state dict of the workflows' `network_def`, as `torch.save` writes it.

    Tensors that 16 bits hold exactly are stored so, as in the folder; tensors shared in the model stay shared.

    Args:
        folder: a model folder.
    """
    import torch

    from libra_monai.checkpoints import load_pretrained

    stored: dict[tuple, torch.Tensor] = {}
    state = {}
    for name, value in load_pretrained(folder).model.state_dict().items():
        half = value.half() if value.is_floating_point() else value
        kept = half if torch.equal(half.to(value.dtype), value) else value
        state[name] = stored.setdefault((value.data_ptr(), value.shape, value.dtype), kept)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a new folder.

    Args:
        archive: the built zip.
        folder: to be made.

    Returns:
        the bundle's root in it.
    """
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder / NAME


def _version(root: Path) -> str:
    return json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]


def _members(root: Path) -> Iterator[tuple[str, Path]]:
    """What the archive holds besides `model.pt`: path below its root, and source."""
    from libra_monai import paths

    for pattern in _BUNDLE:
        yield from ((path.relative_to(root).as_posix(), path) for path in root.glob(pattern) if path.is_file())
    package, overlays = Path(__file__).resolve().parents[1], Path(paths.overlay_root())
    for path in package.rglob("*"):
        inside = path.relative_to(package)
        if path.is_file() and not _NOT_PACKED & set(inside.parts) and not path.name.startswith("."):
            yield f"{package.name}/{inside.as_posix()}", path
    for path in overlays.rglob("*.json"):
        yield f"{package.name}/_configs/{path.relative_to(overlays).as_posix()}", path


def _add(file: zipfile.ZipFile, inside: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(f"{NAME}/{inside}", _EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    file.writestr(entry, content)
