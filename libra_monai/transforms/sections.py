# SPDX-License-Identifier: Apache-2.0
"""Random changes to the text of a record during training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandDropSectionsd(RandomizableTransform, MapTransform):
    """Blank each named section with a probability, so that a model also works when the request is silent.

    Args:
        keys: sections of the record, such as `indication`.
        prob: chance of each section to become None.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.3) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, record: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(record)
        for key in self.keys:
            if self.R.random() < self.prob:
                item[key] = None
        return item
