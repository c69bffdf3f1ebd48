# SPDX-License-Identifier: Apache-2.0
"""Parts that a model folder does not hold itself: it says in which folder they stand, and the hash of their files.

A frozen part is a pointer alone; a part trained by LoRA is a pointer and an adapter. A pointer leads to a folder that
holds something of its own, so that pointers never stand behind one another; adapters may. What is pointed at
is read and never written. A pointer in `report_model.json`:

    "base": {"folder": "../../base", "absolute": "/models/base", "part": "language", "sha256": "..."}
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libra_monai.checkpoints.adapter_files import ADAPTER_FILES
from libra_monai.checkpoints.card import MODEL_FILE, read_model_file
from libra_monai.checkpoints.hashing import digest
from libra_monai.checkpoints.published.readers import weight_files
from libra_monai.errors import ModelError

BASE, ADAPTER = "base", "adapter"  # keys of an entry in report_model.json
Bases = str | Path | Mapping[str, str] | None  # a model folder for all parts, or folders by part
_REMEDY = (
    "Give the unchanged base as `load_pretrained(folder, base=DIR)` or --base DIR of `report` and of"
    " `export-weights --layout full`, or save the run again with `full`."
)


@dataclass(frozen=True)
class Source:
    """Where the weights of a part stand, every hash on the way checked.

    Args:
        folder: the model folder that was asked.
        name: the part.
        spec: its entry there.
        chain: folders that hold something of the part, with their entries: adapters first, the whole weights last.
    """

    folder: Path
    name: str
    spec: Mapping[str, Any]
    chain: tuple[tuple[Path, Mapping[str, Any]], ...]

    @property
    def owner(self) -> Path:
        """The model folder that holds the whole weights."""
        return self.chain[-1][0]

    @property
    def adapters(self) -> list[Path]:
        """Folders of the adapters to fold in, in this order."""
        return [folder / spec[ADAPTER] for folder, spec in reversed(self.chain[:-1])]

    @property
    def weights(self) -> Path:
        """Folder or file of the whole weights."""
        return _weights(self.owner, self.name, self.chain[-1][1])

    def files(self) -> list[Path]:
        """The files of the nearest folder that holds something: what the hash of a pointer to it is made of."""
        return _files(*self.chain[0], self.name)


def part_folder(bases: Bases, name: str) -> str | Path | None:
    """The base of one part.

    Args:
        bases: a model folder for all parts, or folders by part, or None.
        name: the part.
    """
    return bases.get(name) if isinstance(bases, Mapping) else bases


def find_source(folder: str | Path, name: str, base: Bases = None) -> Source | None:
    """Find the weights of a part, whether the folder holds them or points at them.

    Args:
        folder: a model folder.
        name: the part.
        base: where the base stands now; tried before the paths that are written down.

    Returns:
        None if the model has no such part.

    Raises:
        ModelError: a base is missing, changed, or of another kind.
    """
    folder = Path(folder)
    spec = read_model_file(folder)["parts"].get(name)
    if spec is None:
        return None
    return Source(folder, name, spec, _follow(folder, name, spec, part_folder(base, name), ()))


def pointer_to(base: str | Path, name: str, folder: Path) -> tuple[dict[str, Any], Source]:
    """The pointer from a folder that is about to be written to a part of its base.

    Args:
        base: the model folder the part came from.
        name: the part.
        folder: where the new folder will stand.

    Returns:
        the pointer, and where it leads.

    Raises:
        ModelError: the part cannot be pointed at; the message says why.
    """
    if not (Path(base) / MODEL_FILE).is_file():
        raise ModelError(f"{base} is no model folder of this package", "Make one with `libra-monai import-weights`.")
    source = find_source(base, name)
    if source is None:
        raise ModelError(f"{base} has no {name}")
    own = folder.resolve()
    for place, _ in source.chain:
        if place.resolve().is_relative_to(own):
            raise ModelError(f"{base} is, or needs, the folder that is written")
    target, files = source.chain[0][0].resolve(), source.files()
    odd = [path for path in files if path.suffix not in (".safetensors", ".json")]
    odd = odd or [path for path in files if not path.is_file()]
    if odd or not files:
        raise ModelError(f"{odd[0] if odd else source.weights} is no safetensors file")
    return {**_paths(target, own), "part": name, "sha256": digest(files)}, source


@contextmanager
def weights_folder(source: Source) -> Iterator[str]:
    """The folder of a part in the Hugging Face layout: the asking folder's configuration, the owner's weights.

    Args:
        source: of a part that is one of the library's models.
    """
    if source.owner == source.folder:
        yield str(source.weights)
        return
    own = source.folder / source.spec["weights"]
    with tempfile.TemporaryDirectory(prefix="libra_monai.") as place:
        configs = own if (own / "config.json").is_file() else source.weights
        for path in [*configs.glob("*config.json"), *index_and_weights(source.weights)]:
            os.symlink(path.resolve(), Path(place) / path.name)
        try:
            yield place
        except ModelError as error:  # say where the files are, not where the links were
            raise ModelError(error.what.replace(place, str(source.weights)), error.remedy) from error


def index_and_weights(folder: Path) -> list[Path]:
    """Weight files of a part in the Hugging Face layout, and their index if there is one."""
    return [*sorted(folder.glob("*.safetensors.index.json")), *weight_files(folder)]


def _follow(folder: Path, name: str, spec: Mapping[str, Any], given: Any, seen: tuple[Path, ...]) -> tuple:
    """The chain of a part from a folder on, see `Source`."""
    pointer = spec.get(BASE)
    if pointer is None:
        return ((folder, spec),)
    place = folder.resolve()
    if place in seen:
        raise ModelError(f"{folder}: {name} points in a circle", _REMEDY)
    if not isinstance(pointer, Mapping) or not all(isinstance(pointer.get(k), str) for k in ("folder", "sha256")):
        raise ModelError(f"{folder / MODEL_FILE}: `base` of {name} is no pointer", "Save the model again.")
    tried = [] if given is None else [Path(given)]
    tried += [Path(os.path.normpath(place / str(pointer[key]))) for key in ("folder", "absolute") if key in pointer]
    reasons: dict[str, str] = {}
    for candidate in dict.fromkeys(tried):
        try:
            rest = _checked(candidate, name, spec, pointer["sha256"], given, (*seen, place))
            return ((folder, spec), *rest) if ADAPTER in spec else rest
        except ModelError as error:
            reasons[str(candidate)] = error.what
    raise ModelError(f"{folder}: the base of its {name} cannot be used: {'; '.join(reasons.values())}", _REMEDY)


def _checked(base: Path, name: str, asking: Mapping[str, Any], sha: str, given: Any, seen: tuple[Path, ...]) -> tuple:
    """The chain of a part from its base on, if the base is what the pointer says."""
    spec = read_model_file(base)["parts"].get(name)
    if spec is None or spec["name"] != asking["name"]:
        have = f"'{spec['name']}'" if spec else "none"
        raise ModelError(f"{base} holds {name} {have}, and not '{asking['name']}'")
    chain = _follow(base, name, spec, given, seen)
    files = _files(*chain[0], name)
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        raise ModelError(f"{missing[0] if missing else base} does not exist or holds no weights")
    if (have := digest(files)) != sha:
        raise ModelError(f"{files[-1]} has changed (sha256 {have[:12]}..., wanted {sha[:12]}...)")
    return chain


def _files(folder: Path, spec: Mapping[str, Any], name: str) -> list[Path]:
    """What a folder itself holds of a part: the files of its adapter, or the whole weights."""
    if ADAPTER in spec:
        return [folder / spec[ADAPTER] / file for file in ADAPTER_FILES]
    weights = _weights(folder, name, spec)
    return weight_files(weights) if weights.is_dir() else [weights]


def _weights(folder: Path, name: str, spec: Mapping[str, Any]) -> Path:
    return folder / spec["weights"] if spec.get("weights") else folder / f"{name}.safetensors"


def _paths(target: Path, own: Path) -> dict[str, str]:
    """A relative path where both stand below a folder other than the root, so that they can be moved together."""
    absolute = str(target)
    try:
        together = Path(os.path.commonpath([target, own])) != Path(target.anchor)
    except ValueError:  # on different drives
        together = False
    if not together:
        return {"folder": absolute}
    return {"folder": Path(os.path.relpath(target, own)).as_posix(), "absolute": absolute}
