# SPDX-License-Identifier: Apache-2.0
"""Where the bundle, the overlays and the small weights are, in a clone and in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

from libra_monai.errors import ConfigError, StudyError

_PACKAGE = Path(__file__).resolve().parent


def _first_folder(candidates: list[Path], marker: str, what: str) -> str:
    for folder in candidates:
        if (folder / marker).exists():
            return str(folder)
    places = ", ".join(str(folder) for folder in candidates)
    raise ConfigError(f"{what} not found in {places}", "Reinstall the package, or run from a clone.")


def bundle_root() -> str:
    """Folder of the MONAI bundle: the current directory if it is one, else the one this package stands in, else the package's, else the clone's.

    Raises:
        ConfigError: no bundle is found (a broken installation).
    """
    around = [folder for folder in (Path.cwd(), _PACKAGE.parent) if (folder / "models" / "libra_tiny").is_dir()]
    candidates = [*around, _PACKAGE / "_bundle", _PACKAGE.parent / "bundle"]
    return _first_folder(candidates, "configs/metadata.json", "the bundle")


def overlay_root() -> str:
    """Folder of the overlays (`model/`, `stage/`, `data/` ...): the package's, else the clone's.

    Raises:
        ConfigError: no overlays are found (a broken installation).
    """
    return _first_folder([_PACKAGE / "_configs", _PACKAGE.parent / "configs"], "stage", "the overlay folder")


def tiny_model() -> str:
    """Folder of the small weights trained on phantom studies."""
    return str(Path(bundle_root()) / "models" / "libra_tiny")


def inside(root: str | os.PathLike, relative: str) -> str:
    """Join a path of a datalist to its root, refusing to leave the root.

    Args:
        root: the data root; must be an existing folder or a folder to be.
        relative: the path as written in the datalist. Absolute paths are accepted only below the root.

    Raises:
        StudyError: the path leaves the root.
    """
    base = Path(root).resolve()
    full = Path(os.path.normpath(base / relative))
    resolved = full.resolve()
    if resolved != base and base not in resolved.parents:
        raise StudyError(
            str(relative), "record", "path leaves the data root", f"Keep all files of the datalist below {base}."
        )
    return str(full)
