# SPDX-License-Identifier: Apache-2.0
"""The trainings of the label app on disk, `<home>/trainings/<name>/`.

`request.json` (from which weights, how), `datalist.json` (`training`: the corrected studies as they were when it began,
`test`: the frozen set), `model.json` (the weights as an overlay), `state.json` (how far it is), and what the bundle's
workflow writes: `checkpoints/`, `tensorboard/`, `last/` (the candidate). A folder is complete or absent.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from libra_monai.checkpoints.card import read_model_file
from libra_monai.checkpoints.pointers import ADAPTER, BASE, find_source
from libra_monai.data import load_records
from libra_monai.data.processor import read_settings
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.files import write_json
from libra_monai.networks.report_model import PARTS
from libra_monai.paths import inside
from libra_monai.types import VIEWS

PREPARED, TRAINING, COMPARING, FINISHED, FAILED = "prepared", "training", "comparing", "finished", "failed"
ABANDONED, HALT = "abandoned", ".halt"
PICTURES = "pictures"
OPEN = (PREPARED, TRAINING, COMPARING)  # goes on when it is started again


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        folder: of the training.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Of the training, and of the model it makes."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """Folder of the candidate."""
        return self.folder / "last"

    @property
    def root(self) -> str:
        """Folder that the paths of its records are relative to."""
        return str((self.folder / self.request["root"]).resolve())

    @cached_property
    def request(self) -> dict[str, Any]:
        """What was asked for."""
        return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))

    def frozen(self) -> list[dict[str, Any]]:
        """Records of the frozen set."""
        return load_records(self.folder / "datalist.json", "test")

    def state(self) -> dict[str, Any]:
        """How far it is: `state`, with `step` and `steps` while it trains and `error` if it failed."""
        if (self.folder / ABANDONED).exists():
            return {"state": ABANDONED}
        try:
            return json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"state": PREPARED}

    def note(self, state: str, **more: Any) -> None:
        """Write down how far it is.

        Args:
            state: one of the states above.
            more: numbers and sentences, without anything of a patient.
        """
        write_json(self.folder / "state.json", {"state": state, **more})


    def abandon(self) -> None:
        """Give it up for good; its process ends behind the step it is at."""
        (self.folder / ABANDONED).touch()


def list_runs(home: str | Path) -> list[Run]:
    """All trainings, oldest first.

    Args:
        home: folder of the app's own files.
    """
    folders = [path for path in _parent(home).glob("*") if (path / "request.json").is_file() and not path.name.startswith(".")]
    return sorted((Run(path) for path in folders), key=lambda run: run.request["number"])


def halt_trainings(home: str | Path) -> None:
    """Ask the training that runs to save and end; it goes on when it is started again.

    Args:
        home: folder of the app's own files.
    """
    if _parent(home).is_dir():
        (_parent(home) / HALT).touch()


def find_run(home: str | Path, name: str) -> Run:
    """A training by name.

    Args:
        home: folder of the app's own files.
        name: of the training.

    Raises:
        ConfigError: there is none.
    """
    known = {run.name: run for run in list_runs(home)}
    if name not in known:
        raise ConfigError(f"training '{name}' does not exist", did_you_mean(name, known))
    return known[name]


def unfinished_run(home: str | Path) -> Run | None:
    """The oldest training that was begun and neither finished nor failed, or None.

    Args:
        home: folder of the app's own files.
    """
    return next((run for run in list_runs(home) if run.state()["state"] in OPEN), None)


def make_run(
    home: str | Path, request: Mapping[str, Any], splits: Mapping[str, Sequence[Mapping[str, Any]]], privacy: str, root: str, keep: bool
) -> Run:
    """Write down a training to be.

    Args:
        home: folder of the app's own files.
        request: `base` (model folder) and how to train.
        splits: `training` and `test` records.
        privacy: of the records, see the datalist.
        root: folder that their paths are relative to.
        keep: keep the pictures beside the datalist, since `root` forgets them.
    """
    base = Path(request["base"]).resolve()
    card = read_model_file(base)["card"]
    parent = _parent(home).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    check_paths(parent, base, Path(root).resolve())
    number = max((run.request["number"] for run in list_runs(home)), default=0) + 1
    with tempfile.TemporaryDirectory(prefix=".new.", dir=parent) as temporary:
        place = Path(temporary) / "run"
        place.mkdir()
        write_json(place / "datalist.json", {"description": "corrected reports", "privacy": privacy, **splits})
        write_json(place / "model.json", model_overlay(base))
        if keep:
            keep_pictures([record for records in splits.values() for record in records], root, place / PICTURES)
        told = {"base_name": card["name"], "root": PICTURES if keep else str(Path(root).resolve()), "corrections": len(splits["training"])}
        while True:  # another process may have taken the name
            write_json(place / "request.json", {"number": number, **told, **request})
            folder = parent / f"{card['name']}-reader-{number:04d}"
            try:
                os.rename(place, folder)
                return Run(folder)
            except OSError:
                if not folder.exists():
                    raise
                number += 1


def keep_pictures(records: Sequence[Mapping[str, Any]], root: str | Path, folder: Path) -> None:
    """Link the pictures of records into a folder, or copy them where the disk knows no links.

    Args:
        records: their paths are relative to `root`, and then to `folder`.
        root: where the pictures are now.
        folder: where they shall be.
    """
    for path in dict.fromkeys(record[view] for record in records for view in VIEWS if record.get(view)):
        source, target = Path(inside(root, path)), folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def model_overlay(folder: str | Path) -> dict[str, Any]:
    """The ids of a training that goes on from a model folder, whatever its parts are.

    Args:
        folder: of the model.

    Raises:
        ModelError: it is no model folder, or points at one that is gone.
    """
    folder = Path(folder).resolve()
    specs, settings = read_model_file(folder)["parts"], read_settings(folder)
    overlay: dict[str, Any] = {"ckpt": str(folder), "prompt": settings["prompt"]}
    for name in PARTS:
        spec = specs.get(name)
        arguments = {key: value for key, value in (spec or {}).items() if key not in (BASE, ADAPTER)}
        source = find_source(folder, name) if spec else None
        if source is not None and arguments.get("weights") == name:  # the part's own subfolder
            arguments["weights"] = str(source.weights.resolve())
        overlay[name] = {"_target_": "libra_monai.build", "kind": name, **arguments} if spec else None
    own = {"tokenizer": str(folder / settings.pop("tokenizer")), **settings, "prompt": "@prompt"}
    overlay["processor"] = {"_target_": "libra_monai.data.StudyProcessor", **own}
    return overlay


def check_paths(*paths: Path) -> None:
    """Refuse paths that MONAI would take for references.

    Args:
        paths: that stand in a configuration.

    Raises:
        ConfigError: one has a sign with a meaning of its own.
    """
    for path in paths:
        if "#" in str(path):
            raise ConfigError(f"the path {path} contains '#', which MONAI's configurations rewrite", "Rename the folder.")


def _parent(home: str | Path) -> Path:
    return Path(home) / "trainings"

