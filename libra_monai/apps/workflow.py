# SPDX-License-Identifier: Apache-2.0
"""A bundle workflow by names, with unknown ids refused.

MONAI lets an unknown id pass in silence; a misspelt key would then change nothing. Here it is an error.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import logging
import os
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ConfigWorkflow

from libra_monai import paths
from libra_monai.errors import ConfigError, did_you_mean, innermost

WORKFLOWS = {"train": "train", "evaluate": "infer", "inference": "infer"}
_SECTIONS = ("train", "validate")  # ids whose parts are ids themselves


class LibraWorkflow(ConfigWorkflow):
    """A workflow of the bundle with overlays and overrides.

    Args:
        workflow: `train`, `evaluate`, `inference`, or a JSON file.
        overlays: names below `configs/`, such as `stage/align`, or JSON files.
        overrides: id -> value, such as `{"max_epochs": 3, "decoding#num_beams": 4}`.

    Raises:
        ConfigError: a file does not exist or is no JSON, or an id is unknown.
    """

    def __init__(
        self, workflow: str, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
    ) -> None:
        root = Path(paths.bundle_root())
        files = [_workflow_file(workflow, root), *(overlay_file(name) for name in overlays)]
        given = dict(overrides or {})
        check_ids([read_layer(path) for path in files], files, given)
        logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it names every file it reads
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI's notice that configurations are code; docs/configs.md says so
            super().__init__(
                config_file=files,
                meta_file=str(root / "configs" / "metadata.json"),
                logging_file=str(root / "configs" / "logging.conf"),
                workflow_type=WORKFLOWS.get(Path(files[0]).stem, "infer"),
                **given,
            )
        self.files, self.given = files, given  # the base class cannot take attributes before its own

    def run_all(self) -> None:
        """Initialize, run and finalize, as `python -m monai.bundle run` does.

        Raises:
            LibraError: what MONAI wrapped in one `RuntimeError` per level.
        """
        try:
            self.initialize()
            self.run()
            self.finalize()
        except RuntimeError as error:
            ours = innermost(error) or misspelt_argument(error)
            if ours is None:
                raise
            raise ours from error

    def equivalent_command(self) -> str:
        """The `python -m monai.bundle run` command that does the same."""
        files = [os.path.relpath(f) if Path(f).is_relative_to(Path.cwd()) else f for f in self.files]
        words = ["python", "-m", "monai.bundle", "run", "--config_file", str(files)]
        for name, value in self.given.items():
            words += [f"--{name}", value if isinstance(value, str) else repr(value)]
        return " ".join(shlex.quote(word) for word in words)


def misspelt_argument(error: BaseException) -> ConfigError | None:
    """The error to show where MONAI wrapped Python's "unexpected keyword argument", else None.

    Args:
        error: what MONAI raised; its messages name the component, the causes the argument.
    """
    component, current = "", error
    while current is not None:
        named = re.search(r"Failed to instantiate component '([^']+)'", str(current))
        component = named.group(1) if named else component
        wrong = re.search(r"unexpected keyword argument '(\w+)'(.*)", str(current))
        if isinstance(current, TypeError) and wrong and component:
            known = [*inspect.signature(locate(component)).parameters]
            return ConfigError(f"{component} takes no argument '{wrong.group(1)}'", did_you_mean(wrong.group(1), known))
        current = current.__cause__
    return None


def parse_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split command-line words into overlay names and `--id value` overrides.

    Args:
        words: what argparse did not take.

    Raises:
        ConfigError: an id without a value.
    """
    names: list[str] = []
    overrides: dict[str, Any] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            names.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not queue:
                raise ConfigError(f"--{key} has no value", "Write it as --id value.")
            value = queue.pop(0)
        overrides[key.replace("::", "#")] = parse_value(value)
    return names, overrides


def parse_value(text: str) -> Any:
    """A value from the command line: JSON, a Python literal, or the text itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def overlay_file(name: str) -> str:
    """Path of an overlay by name, such as `stage/align`, or of a JSON file.

    Raises:
        ConfigError: there is no such overlay; the message says which one is closest.
    """
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise ConfigError(f"overlay {name} does not exist", "Check the path.")
        return name
    root = Path(paths.overlay_root())
    path = root / f"{name}.json"
    if not path.is_file():
        known = [str(p.relative_to(root).with_suffix("")) for p in sorted(root.rglob("*.json"))]
        raise ConfigError(f"overlay '{name}' does not exist", did_you_mean(name, known))
    return str(path)


def read_layer(path: str) -> dict[str, Any]:
    """One configuration file.

    Raises:
        ConfigError: it is not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({error})", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a JSON object", "Its keys are ids of the workflow.")
    return content


def check_ids(layers: Sequence[Mapping[str, Any]], files: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse ids that the workflow does not define.

    Args:
        layers: the workflow's own content first, then the overlays'.
        files: their paths, for the message.
        overrides: from the command line.

    Raises:
        ConfigError: names the id, the file and the closest known id.
    """
    known = set(layers[0]) | {f"{section}#{part}" for section in _SECTIONS for part in layers[0].get(section, {})}
    for layer, path in zip(layers[1:], files[1:], strict=True):
        for name in layer:
            _check_id(name.lstrip("+"), known, path)
    for name in overrides:
        _check_id(name, known, "the command line")


def _check_id(name: str, known: set[str], where: str) -> None:
    parts = name.replace("::", "#").split("#")
    probe = "#".join(parts[:2]) if parts[0] in _SECTIONS and len(parts) > 1 else parts[0]
    if probe not in known:
        close = difflib.get_close_matches(probe, known, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "`libra-monai show-config` lists the ids."
        raise ConfigError(f"{where}: unknown id '{name}'", hint)


def _workflow_file(name: str, root: Path) -> str:
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise ConfigError(f"workflow {name} does not exist", "Check the path.")
        return name
    if name not in WORKFLOWS:
        raise ConfigError(f"workflow '{name}' does not exist", did_you_mean(name, WORKFLOWS))
    return str(root / "configs" / f"{name}.json")
