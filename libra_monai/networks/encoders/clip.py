# SPDX-License-Identifier: Apache-2.0
"""CLIP's vision transformer, the encoder of LLaVA, LLaVA-Med and Med-CXRGen.

Source: `libra/model/multimodal_encoder/clip_encoder.py`: patch features of the last block but one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from libra_monai.networks.encoders.layered import LayeredEncoder
from libra_monai.registry import register

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's processor, red green blue
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@register("encoder", "clip")
class ClipEncoder(LayeredEncoder):
    """A CLIP vision transformer that hands out patch features.

    Args:
        weights: folder or hub name; a whole CLIP checkpoint will do, its text half is not used.
        config, layer, keep_cls, final_norm, mean, std, gradient_checkpointing: see `LayeredEncoder`; the
            defaults are LLaVA's layer -2 and OpenAI's normalisation.
    """

    name = "clip"
    model_class, config_class = CLIPVisionModel, CLIPVisionConfig

    def __init__(
        self,
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: str | int = -2,
        keep_cls: bool = False,
        final_norm: bool = False,
        mean: float | Sequence[float] = CLIP_MEAN,
        std: float | Sequence[float] = CLIP_STD,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(weights, config, layer, keep_cls, final_norm, mean, std, gradient_checkpointing)

    def embed(self, images: Tensor) -> Tensor:
        """Patches, class token and positions through the first LayerNorm, [U,C,h,w] to [U,N+1,D]."""
        return self.tower.pre_layrnorm(self.tower.embeddings(images))
