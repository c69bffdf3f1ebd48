# SPDX-License-Identifier: Apache-2.0
"""SigLIP's vision transformer, which has no class token.

Source: `libra/model/multimodal_encoder/siglip_encoder.py`, which drops the first patch as if it were one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from libra_monai.networks.encoders.layered import LayeredEncoder
from libra_monai.registry import register
from libra_monai.types import EncoderOutput


@register("encoder", "siglip")
class SiglipEncoder(LayeredEncoder):
    """A SigLIP vision transformer that hands out all its patch features.

    Args:
        weights: folder or hub name; a whole SigLIP checkpoint will do.
        config, layer, final_norm, mean, std, gradient_checkpointing: see `LayeredEncoder`.
        lost_patch: leave out the first patch, as the original does; for weights trained that way.
    """

    name = "siglip"
    model_class, config_class = SiglipVisionModel, SiglipVisionConfig
    has_cls = False

    def __init__(
        self,
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: str | int = -2,
        final_norm: bool = False,
        lost_patch: bool = False,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(weights, config, layer, False, final_norm, mean, std, gradient_checkpointing)
        self.lost_patch = lost_patch
        if lost_patch:
            self.num_tokens, self.grid = self.num_tokens - 1, None

    def forward(self, images: Tensor) -> EncoderOutput:
        """Features of U pictures, [U,C,h,w] to layers [U,L,N,D]; without the first patch there is no grid."""
        output = super().forward(images)
        return replace(output, layers=output.layers[:, :, 1:]) if self.lost_patch else output

    def embed(self, images: Tensor) -> Tensor:
        """Patches and positions, [U,C,h,w] to [U,N,D]."""
        return self.tower.embeddings(images)
