# SPDX-License-Identifier: Apache-2.0
"""LoRA of PEFT folded into the weights it belongs to, one layer at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from libra_monai.checkpoints.published.readers import WeightFiles
from libra_monai.errors import ModelError

LORA_MARK, _DOWN, _UP = ".lora_", ".lora_A.", ".lora_B."
_ROUNDING = 1e-3  # of the largest singular value, under which a change counts as rounding


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
        own = [n for n in files if LORA_MARK in n]
        strange = [n for n in own if not (n.endswith(".weight") and (_DOWN in n or _UP in n))]
        if strange:
            raise ModelError(f"tensor {strange[0]} is no LoRA of a linear layer", "Merge the adapter with PEFT first.")
        self.down = {_layer(n, _DOWN): n for n in own if _DOWN in n}
        self.up = {_layer(n, _UP): n for n in own if _UP in n}
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


def lora_pair(new: Tensor, old: Tensor, largest: int) -> tuple[Tensor, Tensor] | None:
    """The two matrices whose product is a change, of the rank it really has: down [r,in] and up [out,r].

    Singular values count as rounding below a thousandth of the largest, and below what storing the weight in
    its type does: 16-bit weights are rounded by about half of `eps` times their size, everywhere and at random.

    Args:
        new, old: changed and unchanged weight [out,in].
        largest: largest r.

    Returns:
        None if the rank is larger.
    """
    change = new.double() - old.double()
    smaller = min(change.shape)
    if 4 * (largest + 8) < smaller:  # a full decomposition of a published size takes minutes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(change, q=largest + 8, niter=4)
        v = v.T
    else:
        u, s, v = torch.linalg.svd(change, full_matrices=False)
    noise = 0.5 * torch.finfo(new.dtype).eps * float(new.double().square().mean().sqrt()) * sum(n**0.5 for n in change.shape)
    rank = max(int((s > max(float(s[0]) * _ROUNDING, noise)).sum()), 1)
    if rank > largest:
        return None
    root = s[:rank].sqrt()
    return (root[:, None] * v[:rank]).to(new.dtype).contiguous(), (u[:, :rank] * root).to(new.dtype).contiguous()


def plain_name(name: str) -> str:
    """A tensor's name without what PEFT puts around it."""
    for wrapped in ("base_layer.", "modules_to_save.default."):
        name = name.replace(wrapped, "")
    name = name.removeprefix("base_model.").removeprefix("model.") if name.startswith("base_model.") else name
    return "model." + name.removeprefix("model.model.") if name.startswith("model.model.") else name


def _layer(name: str, mark: str) -> str:
    return plain_name(name.partition(mark)[0])


def _by_pattern(patterns: Any, layer: str, default: Any) -> Any:
    """The value whose pattern fits a layer's name, as PEFT matches them."""
    found = (value for pattern, value in (patterns or {}).items() if re.match(rf"(.*\.)?({pattern})$", layer))
    return next(found, default)
