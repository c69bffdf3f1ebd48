# SPDX-License-Identifier: Apache-2.0
"""What the Model Zoo's checks ask of a bundle, asked of a built and unpacked archive.

The list follows the Zoo's own: files, names, sizes, version and change log, metadata against the schema, exact pins,
weights, ids, texts; `zoo_runs` has what builds or runs something. Export to TorchScript and TensorRT is left out, as
`docs/README.md` of the bundle says. Whether a version was released before, only the Zoo's list can tell.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from libra_monai.errors import ConfigError, LibraError, innermost

SCHEMA, SCHEMA_VARIABLE = "meta_schema_20240725.json", "LIBRA_MONAI_META_SCHEMA"
LARGEST = 25 * 10**6  # the Zoo: larger files are listed with their address in large_files.yml
_REPAIR = "Correct it in bundle/ and build again."
_FILES = (
    "LICENSE large_files.yml configs/metadata.json configs/inference.json docs/README.md docs/data_license.txt "
    "models/model.pt"
).split()
_HEADINGS = (
    "Authors, Tags, Model Description, Data, Preprocessing, Performance, System Configuration, Limitations, "
    "Citation Info, References"
).split(", ")
# Keys the Zoo asks for by name, beyond MONAI's required properties.
_KEYS = {
    "inference": "bundle_root device network_def inferer output_dir".split(),
    "train": "bundle_root device dataset_dir output_dir val_interval train#trainer train#trainer#max_epochs train#dataset "
    "train#dataset#data train#preprocessing train#inferer train#handlers validate#evaluator validate#handlers "
    "validate#dataset validate#dataset#data validate#preprocessing validate#inferer validate#key_metric".split(),
}
_HUB_REQUIRED = (
    "schema version changelog monai_version pytorch_version numpy_version required_packages_version name task "
    "description authors copyright huggingface_url"
).split()


class Skipped(Exception):
    """A check that cannot be made here; says why."""


@dataclass(frozen=True)
class Unpacked:
    """What the checks look at.

    Args:
        root: the unpacked bundle.
        archive: the zip it came from.
        schema: MONAI's metadata schema, if named.
    """

    root: Path
    archive: Path
    schema: str | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """`configs/metadata.json`."""
        return read(self.root / "configs" / "metadata.json")


@dataclass(frozen=True)
class Outcome:
    """One line: `ok`, `skip` or `FAIL`, of which check, and what it found."""

    word: str
    name: str
    said: str


def name_of(check: Callable[[Unpacked], str]) -> str:
    """What a check is called in its line and by `--only`."""
    return check.__name__.replace("_", " ")


def outcome(check: Callable[[Unpacked], str], bundle: Unpacked) -> Outcome:
    """Run one check.

    Args:
        check: returns what it found, raises `Skipped`, or any other error for a failure.
        bundle: to be checked.
    """
    name = name_of(check)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # MONAI tells the arguments of every command
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI's notice that configurations are code, once for each
            return Outcome("ok", name, check(bundle))
    except Skipped as reason:
        return Outcome("skip", name, str(reason))
    except Exception as error:
        said = str(innermost(error) or error).strip() or type(error).__name__
        return Outcome("FAIL", name, said.splitlines()[0])
    finally:
        logging.disable(level)


def find_schema(given: str | None = None) -> Path:
    """MONAI's metadata schema: as given, by the environment variable, beside the clone, or among its tests.

    Args:
        given: a file, or None.

    Raises:
        ConfigError: the named file does not exist.
        Skipped: none is found.
    """
    named = given or os.environ.get(SCHEMA_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"schema {named} does not exist", f"Correct --schema or {SCHEMA_VARIABLE}.")
        return Path(named)
    clone = Path(__file__).resolve().parents[2]
    for place in (clone.parent / "shared" / "schema" / SCHEMA, clone / "tests" / "bundle" / SCHEMA):
        if place.is_file():
            return place
    raise Skipped(f"no {SCHEMA} here; name one with --schema or {SCHEMA_VARIABLE}")


def read(path: Path) -> dict[str, Any]:
    """A JSON file, refusing keys written twice, which a parser would drop in silence."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        _require(len(keys) == len(set(keys)), f"{path} has a key twice")
        return dict(pairs)

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)


def strings(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """All strings of a JSON value, with the place of each."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from strings(item, f"{where}#{key}" if where else str(key))
    if isinstance(value, str):
        yield where, value


def names(bundle: Unpacked) -> str:
    """The archive is `<name>_v<version>.zip`, lower case, with one folder `<name>`."""
    wanted = f"{bundle.root.name}_v{bundle.meta['version']}.zip"
    _require(bundle.archive.name == wanted, f"{bundle.archive.name} should be {wanted}")
    _require(re.fullmatch(r"[a-z0-9_]+", bundle.root.name), f"{bundle.root.name} is not lower case")
    beside = [path.name for path in bundle.root.parent.iterdir() if path != bundle.root]
    _require(not beside, f"the archive holds more than its folder: {beside}")
    return wanted


def files(bundle: Unpacked) -> str:
    """What every bundle of the Zoo must have."""
    for name in _FILES:
        _require((bundle.root / name).is_file(), f"{name} is missing")
    _require("Apache License" in (bundle.root / "LICENSE").read_text(encoding="utf-8"), "LICENSE is not the Apache License")
    return f"all {len(_FILES)} that are asked for"


def sizes(bundle: Unpacked) -> str:
    """No file is larger than the Zoo stores."""
    largest = max((path for path in bundle.root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    size, name = largest.stat().st_size, largest.relative_to(bundle.root)
    _require(size <= LARGEST, f"{name} has {size / 1e6:.1f} MB, the Zoo takes 25")
    return f"the largest is {name} with {size / 1e6:.1f} MB of 25"


def personal_paths(bundle: Unpacked) -> str:
    """No file names a folder of the machine it was made on."""
    number = 0
    for path in _texts(bundle.root):
        number += 1
        found = re.search(r"(/home/|/root/|/Users/|/tmp/|[A-Z]:\\Users)[\w.-]+", path.read_text(encoding="utf-8"))
        _require(not found, f"{path.relative_to(bundle.root)} names {found and found.group()}")
    return f"none in {number} files"


def metadata(bundle: Unpacked) -> str:
    """`metadata.json` is valid, checked by MONAI's own command against the schema it names."""
    source = find_schema(bundle.schema)
    from monai.bundle import verify_metadata

    _require(bundle.meta["schema"].endswith(f"/{SCHEMA}"), f"configs/metadata.json names {bundle.meta['schema']}, not {SCHEMA}")
    with tempfile.TemporaryDirectory() as folder:
        schema = shutil.copy(source, Path(folder) / "schema.json")  # where it is, MONAI does not download it
        verify_metadata(meta_file=str(bundle.root / "configs" / "metadata.json"), filepath=str(schema))
    for where, text in strings(bundle.meta):
        _require("#" not in text, f"configs/metadata.json: MONAI rewrites the # of {where}")
    return f"valid against {SCHEMA}"


def changelog(bundle: Unpacked) -> str:
    """The version is in the change log, and newer than the others there."""
    version, log = bundle.meta["version"], bundle.meta.get("changelog", {})
    _require(version in log, f"configs/metadata.json: version {version} is not in the changelog")
    newest = max(log, key=lambda one: [int(part) for part in one.split(".")])
    _require(version == newest, f"configs/metadata.json: version {version} is older than {newest} of the changelog")
    return f"{version} is the newest of {len(log)}"


def pinned(meta: dict[str, Any]) -> dict[str, str]:
    """Packages that metadata ask for, and their versions."""
    first = {"monai": meta["monai_version"], "torch": meta["pytorch_version"], "numpy": meta["numpy_version"]}
    return first | meta["required_packages_version"]


def pins(bundle: Unpacked) -> str:
    """Every package has one exact version, and it is the one these checks run with."""
    wanted = pinned(bundle.meta)
    for package, version in wanted.items():
        _require(re.fullmatch(r"\d[\w.]*", version), f"configs/metadata.json: {package} {version} is no exact version")
        try:
            here = installed.version(package).split("+")[0]
        except installed.PackageNotFoundError:
            here = "missing"
        _require(here == version, f"{package} {version} is pinned, these checks run with {here}")
    return f"{len(wanted)} exact versions, the ones these checks run with"


def weights(bundle: Unpacked) -> str:
    """`model.pt` is a plain state dict, opened as plain tensors, and the same network as the shipped model folder."""
    import torch

    from libra_monai.checkpoints import load_pretrained

    state = torch.load(bundle.root / "models" / "model.pt", weights_only=True)
    plain = type(state) is dict and all(isinstance(value, torch.Tensor) for value in state.values())
    _require(plain, "models/model.pt is no plain state dict")
    network = load_pretrained(bundle.root / "models" / "libra_tiny").model
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state)  # strict
    other = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    _require(not other, f"models/model.pt differs from models/libra_tiny in {other[:3]}")
    return f"{len(state)} tensors of models/model.pt are those of models/libra_tiny"


def keys(bundle: Unpacked) -> str:
    """The ids that the Zoo asks for by name."""
    for workflow, wanted in _KEYS.items():
        content = read(bundle.root / "configs" / f"{workflow}.json")
        for key in wanted:
            place: Any = content
            for part in key.split("#"):
                place = place.get(part) if isinstance(place, dict) else None
            _require(place is not None, f"configs/{workflow}.json has no {key}")
    return f"{sum(map(len, _KEYS.values()))} ids of {' and '.join(_KEYS)}"


def texts(bundle: Unpacked) -> str:
    """Configurations hold ids, names and calls, no sentences: MONAI rewrites every `#` and reads `@`, `$` and `%`."""
    number = 0
    for path in _layers(bundle.root):
        number += 1
        for where, text in strings(read(path)):
            reference = re.sub(r"@[\w#]+", "", text)
            sentence = not text.startswith("$") and (len(text.split()) > 3 or re.search(r"[.?!]\s", text))
            _require("#" not in reference and not sentence, f"{path.name}: {where} is free text: {text!r}")
    return f"none in {number} configurations"


def large_files(bundle: Unpacked) -> str:
    """`large_files.yml` lists addresses of the published sizes; none of them is in the archive or leaves it."""
    from monai.bundle import ConfigParser

    rows = ConfigParser.load_config_file(str(bundle.root / "large_files.yml"))["large_files"]
    for row in rows:
        target = Path(os.path.normpath(bundle.root / row["path"]))
        _require(target.is_relative_to(bundle.root / "models"), f"large_files.yml: {row['path']} leaves models/")
        _require(row["url"].startswith("https://") and row["url"].endswith(f"/{target.name}"), f"large_files.yml: {row['url']} does not fit")
        _require(not target.exists(), f"{row['path']} is in the archive and in large_files.yml")
    _require(rows and len({row["path"] for row in rows}) == len(rows), "large_files.yml lists nothing, or a path twice")
    return f"{len(rows)} addresses"


def readme(bundle: Unpacked) -> str:
    """`docs/README.md` has the sections of the Zoo's template, and says what is not supported."""
    text = (bundle.root / "docs" / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    for heading in _HEADINGS:
        _require(heading in found, f"docs/README.md has no section '{heading}'")
    for word in ("TorchScript", "TensorRT"):
        _require(re.search(rf"does not support[^.]*{word}", text), f"docs/README.md does not say that {word} is not supported")
    for line in text.splitlines():
        for name in re.findall(r"[\w/]+\.json", line) if "--config_file" in line else ():
            _require((bundle.root / name.removeprefix("BUNDLE/")).is_file(), f"docs/README.md runs {name}, which is not in the archive")
    return f"{len(_HEADINGS)} sections; no TorchScript, no TensorRT, and it says so"


def hub_entry(bundle: Unpacked) -> str:
    """The second metadata, for the Zoo's list of models on the Hugging Face hub."""
    meta = read(bundle.root / "configs" / "metadata_hf.json")
    for key in _HUB_REQUIRED:
        _require(meta.get(key), f"configs/metadata_hf.json has no {key}")
    _require(meta["version"] in meta["changelog"], f"configs/metadata_hf.json: version {meta['version']} is not in the changelog")
    _require(meta["huggingface_url"] == f"https://huggingface.co/{meta['huggingface_model_id']}", "metadata_hf.json: address and id differ")
    _require(pinned(meta).items() <= pinned(bundle.meta).items(), "configs/metadata_hf.json pins other versions than metadata.json")
    _require((bundle.root / "docs" / "README_hf.md").is_file(), "docs/README_hf.md is missing")
    return f"{meta['huggingface_model_id']}, {len(_HUB_REQUIRED)} fields"


CHECKS = (
    names, files, sizes, personal_paths, metadata, changelog, pins, weights, keys, texts, large_files, readme, hub_entry
)  # fmt: skip


def _require(condition: object, wrong: str) -> None:
    if not condition:
        raise LibraError(wrong, _REPAIR)


def _texts(root: Path) -> Iterator[Path]:
    """Files of the archive that people read, the package's code left out."""
    for folder in ("configs", "docs", "models", "libra_monai/_configs"):
        yield from (path for path in sorted((root / folder).rglob("*")) if path.suffix in (".json", ".md", ".txt", ".conf"))


def _layers(root: Path) -> list[Path]:
    """Workflows and overlays."""
    own = [path for path in sorted((root / "configs").glob("*.json")) if not path.name.startswith("metadata")]
    return [*own, *sorted((root / "libra_monai" / "_configs").rglob("*.json"))]
