# SPDX-License-Identifier: Apache-2.0
"""What a workflow is asked to read: a datalist, files given by hand, or phantom studies made on the spot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libra_monai.data.datalist import default_root, load_header, load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.data.schema import complete
from libra_monai.errors import ConfigError


PHANTOM_FOLDER = "runs/phantom"


def ensure_phantom(folder: str | None = None, patients: int = 40, seed: int = 1) -> str:
    """Path of `datalist.json` in a folder; phantom studies are drawn there if the folder has none.

    Args:
        folder: where the studies are or will be; None is `runs/phantom`.
        patients, seed: see `libra_monai.data.phantom.generate`.

    Raises:
        ConfigError: the folder holds something else.
    """
    place = Path(folder or PHANTOM_FOLDER)
    found = place / "datalist.json"
    return str(found if found.is_file() else generate(place, patients, seed))


def file_record(
    current: str,
    prior: str | None = None,
    lateral: str | None = None,
    sections: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """A record for files that belong to no datalist; its paths are absolute.

    Args:
        current, prior, lateral: paths of pictures.
        sections: `indication`, `history`, `technique`, `comparison` where known.
    """
    files = {"current": current, "prior": prior, "lateral": lateral}
    item = {view: os.path.abspath(path) for view, path in files.items() if path}
    given = {name: text for name, text in (sections or {}).items() if text}
    return complete({"study_id": Path(current).stem or "study", **item, **given}, "the request")


def request_records(
    datalist: str | None,
    split: str = "test",
    current: str | None = None,
    prior: str | None = None,
    lateral: str | None = None,
    sections: Mapping[str, str | None] | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The studies of an inference run: the files given by hand, else a split of the datalist.

    Args:
        datalist: path of a datalist; ignored if `current` is given.
        split, limit: which studies of the datalist.
        current, prior, lateral, sections: see `file_record`.

    Raises:
        ConfigError: neither is given, or a prior without a current picture.
    """
    if current:
        return [file_record(current, prior, lateral, sections)]
    if prior or lateral:
        raise ConfigError("a prior or lateral picture was given without a current one", "Set `current` as well.")
    if not datalist:
        raise ConfigError("nothing to read", "Set `current`, or `datalist` and `split`.")
    return load_records(datalist, split, limit)


def request_root(data_root: str | None, datalist: str | None, current: str | None = None) -> str:
    """Folder that the paths of a request may not leave: the file system's root for files given by hand.

    Args:
        data_root: root of the datalist's paths; None is the datalist's folder.
        datalist: path of the datalist.
        current: path of the current picture if it was given by hand.
    """
    if current:
        return Path(os.path.abspath(current)).anchor
    return data_root or default_root(datalist or PHANTOM_FOLDER)


def privacy_of(datalist: str | None) -> str:
    """`privacy` of a datalist; `identifiable` if there is none."""
    return load_header(datalist)["privacy"] if datalist else "identifiable"
