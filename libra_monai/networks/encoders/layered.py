# SPDX-License-Identifier: Apache-2.0
"""What all vision transformers of Hugging Face share here: which blocks are computed, and which tokens handed out.

Blocks are run one by one, so that none is computed after the last one asked for. Layer k means
`hidden_states[k]` of the library, as in Libra and LLaVA: 0 is the embedding, the last is the output of the
last block, without the final LayerNorm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.networks.pretrained import load_pretrained_strict
from libra_monai.networks.recompute import recompute_blocks
from libra_monai.types import EncoderOutput


class LayeredEncoder(nn.Module):
    """A vision transformer that hands out patch features of one or all of its blocks.

    Subclasses name the model class and say where its parts are.

    Args:
        weights: folder or hub name of a Hugging Face checkpoint; None starts from `config` and random weights.
        config: fields of the model's configuration, used without `weights`.
        layer: `"all"` for all L blocks, or k of `hidden_states[k]` (negative counts from the end).
        keep_cls: keep the class token as the first of the N tokens.
        final_norm: hand out the last block through the final LayerNorm instead of layer k (MAIRA-2's
            `use_maira_feature_norm`); not with `"all"`.
        mean, std: normalisation the weights expect, one number or one a channel.
        gradient_checkpointing: where the encoder is trained, compute its blocks again in the backward pass instead of
            keeping what they made.

    Raises:
        ConfigError: neither or both of `weights` and `config`, an unknown field or layer, or options that exclude
            each other.
        ModelError: the checkpoint cannot be loaded.
    """

    name = "vision transformer"
    model_class: Any
    config_class: Any
    has_cls = True
    config_extra: frozenset[str] = frozenset()
    block_arguments: tuple[None, ...] = (None,)  # after the tokens; here an attention mask that is not there

    def __init__(
        self,
        weights: str | None,
        config: Mapping[str, Any] | None,
        layer: str | int,
        keep_cls: bool,
        final_norm: bool,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if bool(weights) == bool(config):
            raise ConfigError(f"encoder '{self.name}' needs either weights or config", "Give exactly one of them.")
        self.model = load_pretrained_strict(self.model_class, weights) if weights else self._new(config or {})
        self.layer, self.keep_cls, self.final_norm, self.mean, self.std = layer, keep_cls, final_norm, mean, std
        shape = self.model.config
        self.num_blocks = int(shape.num_hidden_layers)
        self._check(layer, keep_cls, final_norm)
        self.width, self.image_size = int(shape.hidden_size), int(shape.image_size)
        self.channels = int(shape.num_channels)
        self.num_layers = self.num_blocks if layer == "all" else 1
        self.gradient_checkpointing = gradient_checkpointing
        self.grid: tuple[int, int] | None = (self.image_size // shape.patch_size,) * 2
        self.num_tokens = self.grid[0] * self.grid[1] + int(keep_cls)

    def forward(self, images: Tensor) -> EncoderOutput:
        """Features of U pictures.

        Args:
            images: [U,C,h,w], normalised.

        Returns:
            layers [U,L,N,D], and the class token of the last block that was computed, [U,D], where there is one.

        Raises:
            ConfigError: the pictures have another size or number of channels.
        """
        wanted = (self.channels, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != wanted:
            raise ConfigError(
                f"pictures are {tuple(images.shape[1:])}, but encoder '{self.name}' takes {wanted}",
                "Set the processor's channels and image_size to the encoder's.",
            )
        chosen = list(self.states(images))
        pooled = chosen[-1][:, 0] if self.has_cls else None
        if self.final_norm:
            chosen = [self.norm(chosen[-1])]
        first = int(self.has_cls and not self.keep_cls)
        layers = torch.stack([state[:, first:] for state in chosen], dim=1)  # [U,L,N,D]
        return EncoderOutput(layers, pooled, self.grid, 0 if self.keep_cls else None)

    def states(self, images: Tensor) -> Iterator[Tensor]:
        """The output of every block, or of the chosen one alone, each [U,N+1,D] or [U,N,D].

        Args:
            images: [U,C,h,w], normalised.
        """
        if self.gradient_checkpointing:
            recompute_blocks(self.model)
        state = self.embed(images)
        for block in self.blocks[: self.last_block]:
            state = block(state, *self.block_arguments)
            state = state[0] if isinstance(state, tuple) else state
            if self.layer == "all":
                yield state
        if self.layer != "all":
            yield state

    @property
    def last_block(self) -> int:
        """How many blocks are computed."""
        if self.layer == "all" or self.final_norm:
            return self.num_blocks
        return int(self.layer) % (self.num_blocks + 1)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.tower.encoder.layers

    @property
    def norm(self) -> nn.Module:
        """The final LayerNorm."""
        return self.tower.post_layernorm

    @property
    def tower(self) -> nn.Module:
        """The transformer itself; some releases of the library keep it one level deeper in the model."""
        return getattr(self.model, "vision_model", self.model)

    def embed(self, images: Tensor) -> Tensor:
        """What goes into the first block, [U,C,h,w] to tokens."""
        raise NotImplementedError  # pragma: no cover - every subclass has it

    def _new(self, fields: Mapping[str, Any]) -> nn.Module:
        known = set(self.config_class().to_dict()) | self.config_extra
        for field in fields:
            if field not in known:
                raise ConfigError(f"encoder '{self.name}': unknown config field '{field}'", did_you_mean(field, known))
        return self.model_class(self.config_class(**fields))

    def _check(self, layer: str | int, keep_cls: bool, final_norm: bool) -> None:
        limit = self.num_blocks
        whole = isinstance(layer, int) and not isinstance(layer, bool)
        if layer != "all" and not (whole and -limit - 1 <= int(layer) <= limit):
            raise ConfigError(f"encoder layer {layer!r} does not exist", f"Use 'all' or a number up to {limit}.")
        if final_norm and layer == "all":
            raise ConfigError("encoder final_norm goes with one layer only", "Set layer to a number, such as -1.")
        if keep_cls and not self.has_cls:
            raise ConfigError(f"encoder '{self.name}' has no class token to keep", "Leave keep_cls off.")
