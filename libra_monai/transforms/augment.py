# SPDX-License-Identifier: Apache-2.0
"""Random changes to the pictures of a study during training; never a flip, since reports name sides."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable


class RandViewsd(Randomizable, MapTransform):
    """Put every present picture of a study through random array transforms; absent views stay absent.

    Each view gets its own draw, as two exposures of one patient would differ.

    Args:
        keys: views, such as `current` and `prior`.
        steps: MONAI array transforms over [1,h,w] in grey levels 0..255, such as `RandAffine`.
    """

    def __init__(self, keys: KeysCollection, steps: Sequence[Callable]) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        self.steps = Compose(list(steps))

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandViewsd:
        """Seed this and its steps."""
        super().set_random_state(seed, state)
        self.steps.set_random_state(seed, state)
        return self

    def __call__(self, study: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(study)
        for key in self.keys:
            picture = item.get(key)
            if isinstance(picture, torch.Tensor):
                changed = self.steps(picture.float())
                item[key] = changed.round().clamp(0, 255).to(torch.uint8)
        return item
