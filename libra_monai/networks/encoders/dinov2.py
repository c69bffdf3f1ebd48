# SPDX-License-Identifier: Apache-2.0
"""DINOv2 encoders, of which RAD-DINO (microsoft/rad-dino) is Libra's.

Source: Libra, section 3.1, and `libra/model/multimodal_encoder/dino_encoder.py`. The outputs of blocks
1..L are used as they are; the final LayerNorm is not applied to any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from libra_monai.networks.encoders.layered import LayeredEncoder
from libra_monai.registry import register


@register("encoder", "dinov2")
class Dinov2Encoder(LayeredEncoder):
    """A DINOv2 vision transformer that hands out the patch features of its layers; RAD-DINO by default.

    From `config`, position embeddings start as two-dimensional sines and cosines (as in MAE) instead of faint
    noise: a small model that starts from nothing learns where things lie several times sooner.

    Args:
        weights, config, layer, keep_cls, final_norm, mean, std, gradient_checkpointing: see `LayeredEncoder`; the
            defaults are RAD-DINO's normalisation and Libra's choice of all layers without class token.
    """

    name = "dinov2"
    model_class, config_class = Dinov2Model, Dinov2Config
    config_extra = frozenset({"use_swiglu_ffn", "apply_layernorm"})
    block_arguments = ()

    def __init__(
        self,
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: str | int = "all",
        keep_cls: bool = False,
        final_norm: bool = False,
        mean: float | Sequence[float] = 0.5307,
        std: float | Sequence[float] = 0.2583,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(weights, config, layer, keep_cls, final_norm, mean, std, gradient_checkpointing)
        if not weights:
            with torch.no_grad():
                self.model.embeddings.position_embeddings[0, 1:] = _sine_positions(self.grid, self.width)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.model.encoder.layer

    @property
    def norm(self) -> nn.Module:
        """The final LayerNorm."""
        return self.model.layernorm

    def embed(self, images: Tensor) -> Tensor:
        """Patches, class token and positions, [U,C,h,w] to [U,N+1,D]."""
        return self.model.embeddings(images)


def _sine_positions(grid: tuple[int, int], width: int, scale: float = 0.5) -> Tensor:
    """Sines and cosines of row and column, [rows * columns, width]."""
    frequencies = 1.0 / 100.0 ** (torch.arange(width // 4) / (width // 4))
    y, x = torch.meshgrid(torch.arange(grid[0]).float(), torch.arange(grid[1]).float(), indexing="ij")
    waves = [f(axis.flatten()[:, None] * frequencies) for axis in (x, y) for f in (torch.sin, torch.cos)]
    table = torch.cat(waves, dim=1) * scale
    return nn.functional.pad(table, (0, width - table.shape[1]))
