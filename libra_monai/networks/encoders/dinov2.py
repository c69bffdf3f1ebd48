# SPDX-License-Identifier: Apache-2.0
"""DINOv2 encoders, of which RAD-DINO (microsoft/rad-dino) is Libra's.

Source: Libra, section 3.1, and `libra/model/multimodal_encoder/dino_encoder.py`. The outputs of blocks
1..L are used as they are; the final LayerNorm is not applied to any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.networks.pretrained import load_pretrained_strict
from libra_monai.registry import register
from libra_monai.types import EncoderOutput


@register("encoder", "dinov2")
class Dinov2Encoder(nn.Module):
    """A DINOv2 vision transformer that hands out the patch features of its layers.

    Args:
        weights: folder or hub name of a Hugging Face checkpoint; None starts from `config` and random weights.
        config: fields of `Dinov2Config`, used without `weights`.
        layer: `"all"` for all L blocks, or the number of one block (negative counts from the end).
        keep_cls: keep the class token as the first of the N tokens.
        mean, std: normalisation the weights expect; the defaults are RAD-DINO's.

    From `config`, position embeddings start as two-dimensional sines and cosines (as in MAE) instead of faint
    noise: a small model that starts from nothing learns where things lie several times sooner.

    Raises:
        ConfigError: neither or both of `weights` and `config`, or an unknown field or layer.
        ModelError: the checkpoint cannot be loaded.
    """

    def __init__(
        self,
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: str | int = "all",
        keep_cls: bool = False,
        mean: float = 0.5307,
        std: float = 0.2583,
    ) -> None:
        super().__init__()
        if bool(weights) == bool(config):
            raise ConfigError("encoder 'dinov2' needs either weights or config", "Give exactly one of them.")
        self.model = load_pretrained_strict(Dinov2Model, weights) if weights else Dinov2Model(_config(config or {}))
        self.layer, self.keep_cls, self.mean, self.std = layer, keep_cls, mean, std
        shape = self.model.config
        blocks = int(shape.num_hidden_layers)
        if layer != "all" and (not isinstance(layer, int) or not -blocks <= layer <= blocks):
            raise ConfigError(f"encoder layer {layer!r} does not exist", f"Use 'all' or a number up to {blocks}.")
        self.width, self.image_size, self.channels = shape.hidden_size, shape.image_size, shape.num_channels
        self.num_layers = blocks if layer == "all" else 1
        self.grid = (self.image_size // shape.patch_size,) * 2
        self.num_tokens = self.grid[0] * self.grid[1] + int(keep_cls)
        if not weights:
            with torch.no_grad():
                self.model.embeddings.position_embeddings[0, 1:] = _sine_positions(self.grid, self.width)

    def forward(self, images: Tensor) -> EncoderOutput:
        """Features of U pictures.

        Args:
            images: [U,C,h,w], normalised.

        Returns:
            layers [U,L,N,D] and the class token of the last block, [U,D].
        """
        states = self.model(pixel_values=images, output_hidden_states=True).hidden_states
        chosen = states[1:] if self.layer == "all" else (states[self.layer],)
        first = 0 if self.keep_cls else 1
        layers = torch.stack([state[:, first:] for state in chosen], dim=1)  # [U,L,N,D]
        return EncoderOutput(layers, states[-1][:, 0], self.grid, 0 if self.keep_cls else None)


def _config(fields: Mapping[str, Any]) -> Dinov2Config:
    known = set(Dinov2Config().to_dict()) | {"use_swiglu_ffn", "apply_layernorm"}
    for name in fields:
        if name not in known:
            raise ConfigError(f"encoder 'dinov2': unknown config field '{name}'", did_you_mean(name, known))
    return Dinov2Config(**fields)


def _sine_positions(grid: tuple[int, int], width: int, scale: float = 0.5) -> Tensor:
    """Sines and cosines of row and column, [rows * columns, width]."""
    frequencies = 1.0 / 100.0 ** (torch.arange(width // 4) / (width // 4))
    y, x = torch.meshgrid(torch.arange(grid[0]).float(), torch.arange(grid[1]).float(), indexing="ij")
    waves = [f(axis.flatten()[:, None] * frequencies) for axis in (x, y) for f in (torch.sin, torch.cos)]
    table = torch.cat(waves, dim=1) * scale
    return nn.functional.pad(table, (0, width - table.shape[1]))
