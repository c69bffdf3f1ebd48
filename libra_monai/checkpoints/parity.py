# SPDX-License-Identifier: Apache-2.0
"""Is this package the original? Compare with numbers that the original itself produced.

A folder of reference files holds any subset of the cases below; each is run through the very code that serves
users, and its largest error is set against its tolerance. `libra-monai verify-parity` and the tests call this.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from libra_monai.checkpoints import parity_models, parity_texts
from libra_monai.errors import ConfigError, LibraError

Check = Callable[[Path], list[tuple[str, float, float]]]  # file -> (what, error, tolerance)

# pattern of the file that makes a case -> check, and the files it needs beside it
CASES: dict[str, tuple[Check, tuple[str, ...]]] = {
    "tac_*.safetensors": (parity_models.tac, ("tac_config.json",)),
    "projector_*.safetensors": (parity_models.projector, ()),
    "e2e_io.safetensors": (parity_models.end_to_end, ("e2e_config.json", "e2e_weights.safetensors")),
    "preprocess.json": (parity_models.pixels, ("preprocess.safetensors",)),
    "prompts.json": (parity_texts.prompts, ()),
    "tokenization.json": (parity_texts.tokenization, ("tiny_llama_sp.model", "tiny_llama3_tokenizer.json")),
    "temporal_f1.json": (parity_texts.temporal, ()),
    "sections.json": (parity_texts.sections, ()),
}


@dataclass(frozen=True)
class Comparison:
    """One number of one case.

    Args:
        case: name of the reference file.
        what: what was compared.
        error: the largest absolute difference, or the number of texts or lists that differ; NaN if it could not run.
        tolerance: what is allowed.
        reason: why it could not run, or None.
    """

    case: str
    what: str
    error: float
    tolerance: float
    reason: str | None = None

    @property
    def equal(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.error <= self.tolerance


def verify_parity(folder: str | Path) -> tuple[list[Comparison], list[str]]:
    """Run every case found in a folder.

    Args:
        folder: reference files, any subset.

    Returns:
        the comparisons, and the names of files that belong to no case.

    Raises:
        ConfigError: there is no such folder, or it holds no case.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ConfigError(f"folder {folder} does not exist", "Give a folder of reference files.")
    found, used = [], set()
    for pattern, (check, beside) in CASES.items():
        for path in sorted(place.glob(pattern)):
            used |= {path.name, *beside}
            found += _run(path, check, [name for name in beside if not (place / name).is_file()])
    others = [path.name for path in sorted(place.iterdir()) if path.name not in used and not _needed(path.name)]
    if not found:
        raise ConfigError(f"{folder} holds no parity case", f"Cases are {', '.join(CASES)}.")
    return found, others


def _run(path: Path, check: Check, missing: list[str]) -> list[Comparison]:
    if missing:
        return [Comparison(path.name, "case", float("nan"), 0.0, f"needs {', '.join(missing)} beside it")]
    try:
        return [Comparison(path.name, what, error, tolerance) for what, error, tolerance in check(path)]
    except (LibraError, OSError, ValueError, KeyError, RuntimeError) as error:
        return [Comparison(path.name, "case", float("nan"), 0.0, f"{type(error).__name__}: {error}")]


def _needed(name: str) -> bool:
    """Whether a file only stands beside cases (which may be absent)."""
    return any(fnmatch.fnmatch(name, other) for _, beside in CASES.values() for other in beside)
