# SPDX-License-Identifier: Apache-2.0
"""The checks of the Model Zoo that build or run something: network, properties, a run from another directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from libra_monai.apps.zoo_checks import Unpacked
from libra_monai.errors import LibraError

_KINDS = {"train": "train", "evaluate": "infer", "inference": "infer"}
_SEED = 12
_WRITE_ONLY = ("vllm",)  # overlays whose language model cannot learn


def network(bundle: Unpacked) -> str:
    """The network takes and gives what the metadata say, by MONAI's own command."""
    from monai.bundle import verify_net_in_out

    configs = bundle.root / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", bundle_root=str(bundle.root), **files)
    shape = bundle.meta["network_data_format"]["outputs"]["pred"]
    return f"network_def gives {shape['num_channels']} tokens of width {shape['spatial_shape'][0]}, as the metadata say"


def stacks(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Workflows with overlays: every workflow alone, every overlay in each workflow it is for, different questions stacked.

    Args:
        root: the unpacked bundle.
    """
    overlays = root / "libra_monai" / "_configs"
    by_kind = {kind: sorted((overlays / kind).glob("*.json")) for kind in ("stage", "data", "decode", "system")}
    models = sorted((overlays / "model").glob("*.json"))
    for workflow in _KINDS:
        own = root / "configs" / f"multi_gpu_{'train' if workflow == 'train' else 'evaluate'}.json"
        kinds = [files for kind, files in by_kind.items() if kind != "stage" or workflow == "train"]
        rows = zip_longest(*([path for path in files if workflow != "train" or path.stem not in _WRITE_ONLY] for files in kinds))
        for row in ((), (own,), *rows, *((model,) for model in models)):
            yield workflow, [path for path in row if path]


def properties(bundle: Unpacked) -> str:
    """`check_properties()` is empty: every stack has what MONAI requires, made and referred to as it asks.

    Stacks of published models are built without memory and without weights, which are not in the archive.
    """
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        data = _phantom(Path(folder))
        for workflow, overlays in stacks(bundle.root):
            missing = missing_properties(bundle.root, workflow, overlays, data, Path(folder) / "out")
            if missing:
                raise LibraError(f"{_named(workflow, overlays)}: MONAI misses {missing}", "Define them under MONAI's ids.")
            number += 1
    return f"none missing in {number} stacks of {len(_KINDS)} workflows and their overlays"


def missing_properties(root: Path, workflow: str, overlays: list[Path], data: Path, out: Path) -> list[str]:
    """What MONAI's `check_properties` says of one stack.

    Args:
        root: the unpacked bundle.
        workflow: `train`, `evaluate` or `inference`.
        overlays: files laid over it.
        data: a phantom datalist.
        out: output folder.
    """
    import torch
    from monai.bundle import ConfigWorkflow

    configs = root / "configs"
    published = any("published_folder" in path.read_text(encoding="utf-8") for path in overlays)
    given: dict[str, Any] = {"bundle_root": str(root), "datalist": str(data), "data_root": str(data.parent), "output_dir": str(out)}
    if any(path.parent.name == "system" for path in overlays):
        given["device#name"] = "cpu"  # a stack for a GPU is checked where there is none
    if published:
        given |= {"ckpt": None, "processor#tokenizer": str(root / "models/libra_tiny/language"), "network": "@network_def"}
    stack = ConfigWorkflow(
        config_file=[str(configs / f"{workflow}.json"), *map(str, overlays)], meta_file=str(configs / "metadata.json"),
        logging_file=False, workflow_type=_KINDS[workflow], **given,
    )  # fmt: skip
    try:
        stack.initialize()
        if published:
            with torch.device("meta"):
                stack.parser.get_parsed_content("network_def")  # made once, for all that refer to it
        return list(stack.check_properties() or ())
    except Exception as error:
        raise LibraError(f"{_named(workflow, overlays)}: {_deepest(error)}", "Correct the overlay.") from error


def run_elsewhere(bundle: Unpacked) -> str:
    """`python -m monai.bundle run` drafts a phantom study from another directory, with the archive's own code and weights."""
    with tempfile.TemporaryDirectory() as folder:
        elsewhere, data = Path(folder) / "elsewhere", _phantom(Path(folder))
        elsewhere.mkdir()
        own = _python(["-c", "from libra_monai import paths; print(paths.__file__, paths.bundle_root(), sep='\\n')"], elsewhere, bundle.root)
        for place in own.split("\n")[:2]:
            if not Path(place).resolve().is_relative_to(bundle.root.resolve()):
                raise LibraError(f"the run would use {place}", "It should use what was unpacked.")
        record = next(r for r in json.loads(data.read_text(encoding="utf-8"))["test"] if r["prior"])
        pictures = [f"--{view}={data.parent / record[view]}" for view in ("current", "prior")]
        config = bundle.root / "configs" / "inference.json"
        _python(["-m", "monai.bundle", "run", f"--config_file={config}", "--output_dir=out", *pictures], elsewhere, bundle.root)
        draft = json.loads((elsewhere / "out" / "predictions.jsonl").read_text(encoding="utf-8"))
    if not draft["prediction"] or not draft["prior_used"]:
        raise LibraError("the run drafted nothing from the phantom study", "Run it by hand to see why.")
    return f"a phantom study with its prior, {len(draft['prediction'].split())} words"


CHECKS = (network, properties, run_elsewhere)


def _python(words: list[str], cwd: Path, root: Path) -> str:
    """Run Python in another directory with the archive's own package; what it prints.

    Raises:
        LibraError: it failed; the message ends with its last line.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = kept | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LibraError(f"python {' '.join(words[:3])} ended with {done.returncode}: {last}", "Run it by hand to see why.")
    return done.stdout


def _phantom(folder: Path) -> Path:
    """A few small drawn studies."""
    from libra_monai.data.phantom.generate import generate

    return generate(folder / "phantom", 3, _SEED, {"training": 0.34, "validation": 0.33, "test": 0.33}, long_side=256, workers=1)


def _named(workflow: str, overlays: list[Path]) -> str:
    return " + ".join([workflow, *(f"{path.parent.name}/{path.stem}" for path in overlays)])


def _deepest(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # MONAI wraps once a level
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
