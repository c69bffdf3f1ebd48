# SPDX-License-Identifier: Apache-2.0
"""Shapes of the published towers, for checkpoints that carry their weights and not their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from libra_monai.checkpoints.published.names import encoder_from_published
from libra_monai.checkpoints.published.timm_names import timm_shape
from libra_monai.errors import ModelError

BUILT_IN = {"timm": "dinov2"}  # kind of tower -> the registered encoder that holds it, where the names differ
_RAD_DINO = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 518, "patch_size": 14,
    "layer_norm_eps": 1e-6,
}  # fmt: skip
_CLIP_L_336 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
TOWERS: dict[str, tuple[str, dict[str, Any]]] = {  # hub name -> kind and shape
    "microsoft/rad-dino": ("dinov2", _RAD_DINO),
    "microsoft/rad-dino-maira-2": ("dinov2", _RAD_DINO),
    "openai/clip-vit-large-patch14-336": ("clip", _CLIP_L_336),
}


def tower_shape(kind: str, named: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the encoder's configuration: of the published tower of that name, or read off its tensors.

    Args:
        kind: see `encoder_kind`.
        named: `mm_vision_tower` of the checkpoint's configuration.
        state: published tensors of the encoder.

    Raises:
        ModelError: the shape is not known.
    """
    if kind == "timm":
        return timm_shape(encoder_from_published(state))
    known = TOWERS.get(named)
    if known is None or known[0] != kind:
        raise ModelError(
            f"the shape of the encoder '{named}' is not known", "Give a folder with its config.json as --encoder."
        )
    return dict(known[1])
