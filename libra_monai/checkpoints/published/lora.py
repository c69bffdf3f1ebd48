# SPDX-License-Identifier: Apache-2.0
"""LoRA of PEFT folded into the weights it belongs to, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from libra_monai.checkpoints.published.readers import WeightFiles
from libra_monai.errors import ModelError

_DOWN, _UP = ".lora_A.", ".lora_B."


class LoraLayers:
    """The low-rank changes of a checkpoint.

    Args:
        files: tensors, those of LoRA among them.
        config: `adapter_config.json` (rank, alpha, `use_rslora`, per-layer patterns).

    Raises:
        ModelError: half of a pair is missing, or the adapter is of another kind than plain LoRA.
    """

    def __init__(self, files: WeightFiles, config: Mapping[str, Any]) -> None:
        self.files, self.config = files, config
        if config.get("use_dora") or str(config.get("peft_type", "LORA")).upper() != "LORA":
            raise ModelError("adapter_config.json: only plain LoRA can be folded in", "Merge it with PEFT first.")
        self.down = {_layer(n, _DOWN): n for n in files if _DOWN in n}
        self.up = {_layer(n, _UP): n for n in files if _UP in n}
        odd = set(self.down) ^ set(self.up)
        if odd:
            raise ModelError(f"LoRA of layer {min(odd)} lacks one of its two matrices", "Download the adapter again.")

    def targets(self) -> list[str]:
        """Names of the weights that change, such as `model.layers.0.self_attn.q_proj.weight`."""
        return [f"{layer}.weight" for layer in self.down]

    def merged(self, name: str, base: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """A reader of one changed weight.

        Args:
            name: of `targets`.
            base: reads the weight of the base model.
        """
        layer = name.removesuffix(".weight")

        def read() -> Tensor:
            down, up = self.files.tensor(self.down[layer]), self.files.tensor(self.up[layer])
            weight = base()
            change = up.float() @ down.float() * self._scale(layer, down.shape[0])
            if self.config.get("fan_in_fan_out"):
                change = change.T
            if change.shape != weight.shape:
                raise ModelError(f"LoRA of {layer} is {list(change.shape)}, its base {list(weight.shape)}", "Check --base.")
            return (weight.float() + change).to(weight.dtype)

        return read

    def _scale(self, layer: str, rank: int) -> float:
        alpha = float(_by_pattern(self.config.get("alpha_pattern"), layer, self.config.get("lora_alpha", rank)))
        return alpha / (rank**0.5 if self.config.get("use_rslora") else rank)


def lora_pair(weight: Tensor, base: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two matrices whose product is a change of given rank, down [r,in] and up [out,r].

    Args:
        weight, base: changed and unchanged weight [out,in].
        rank: r.
    """
    u, s, v = torch.linalg.svd(weight.double() - base.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return (root[:, None] * v[:rank]).to(weight.dtype), (u[:, :rank] * root).to(weight.dtype)


def _layer(name: str, mark: str) -> str:
    return name.partition(mark)[0].removeprefix("base_model.model.")


def _by_pattern(patterns: Any, layer: str, default: Any) -> Any:
    return next((value for pattern, value in (patterns or {}).items() if layer.endswith(pattern)), default)
