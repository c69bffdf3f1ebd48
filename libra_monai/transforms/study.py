# SPDX-License-Identifier: Apache-2.0
"""The pictures of one study: every view through the same steps, every file read once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

from libra_monai import paths
from libra_monai.transforms.gate import GatePolicy, check_view, policy_from
from libra_monai.types import VIEWS


class Cache(Protocol):
    """Keeps finished pictures beyond this process, such as `libra_monai.data.cache.PictureCache`."""

    def picture(self, path: str, make: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """The finished picture of a file; `make` reads it if the cache has none."""


class StudyPicturesd(MapTransform):
    """Replace the paths of a record by uint8 pictures [1,s,s]; absent views stay None.

    The prior of one study is the current picture of another, so pictures are remembered by file, not by
    study. The step after this one sees pixels; everything before the model stays in one uint8 channel.

    Args:
        keys: views to load; default all.
        root: folder that the paths are relative to; leaving it is refused.
        steps: array transforms, the first of which takes a path.
        hide: open no file and leave every view None, for prompts that show no picture.
        remember: keep finished pictures in memory (their number times the square of the size in bytes).
        cache: keeps finished pictures on disk, see `libra_monai.data.cache.PictureCache`.
        policy: what to do with a lateral picture where a frontal is needed, and the reverse; None takes the one of
            the first step.

    Raises:
        StudyError: a file is missing, unreadable, outside the root, or shows the wrong side.
    """

    def __init__(
        self,
        steps: Sequence[Callable],
        root: str,
        keys: KeysCollection = VIEWS,
        remember: bool = False,
        hide: bool = False,
        cache: Cache | None = None,
        policy: GatePolicy | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.root, self.steps, self.hide, self.cache = root, Compose(list(steps)), hide, cache
        self.policy = policy_from(getattr(steps[0], "policy", None) if policy is None else policy)
        self.reading = vars(steps[0].options) if hasattr(steps[0], "options") else None
        self.memory: dict[str, torch.Tensor] | None = {} if remember else None

    def __call__(self, record: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(record)
        item["picture_paths"] = {key: record.get(key) for key in self.keys}
        item["picture_reading"] = self.reading
        for key in self.keys:
            path = None if self.hide else record.get(key)
            item[key] = None if path is None else self._for_view(path, key)
        item["picture_files"] = {key: paths.inside(self.root, record[key]) for key in self.keys if record.get(key)}
        return item

    def picture(self, relative: str) -> torch.Tensor:
        """One finished picture, from memory or the cache if it has been read before."""
        path = paths.inside(self.root, relative)
        if self.memory is not None and path in self.memory:
            return self.memory[path]
        picture = self.steps(path) if self.cache is None else self.cache.picture(path, self.steps)
        if self.memory is not None:
            self.memory[path] = picture
        return picture

    def _for_view(self, relative: str, key: Hashable) -> torch.Tensor:
        picture = self.picture(relative)
        meta = getattr(picture, "meta", {})
        said: list[str] = []
        wanted = "lateral" if key == "lateral" else "frontal"
        check_view(meta.get("filename_or_obj", relative), meta.get("projection"), wanted, self.policy, said)
        if not said:
            return picture
        return MetaTensor(picture, meta={**meta, "warnings": [*meta.get("warnings", []), *said]})
