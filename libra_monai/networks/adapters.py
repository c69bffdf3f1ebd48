# SPDX-License-Identifier: Apache-2.0
"""LoRA on the parts of a report model, through PEFT.

Adapters are put into the part in place, so that the part keeps its own interface; the rule of Libra is
"all linear layers but the head" (arXiv 2411.19378, stage 2: r 128, alpha 256, dropout 0.05).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from libra_monai.errors import ConfigError

LORA = {"r": 128, "lora_alpha": 256, "lora_dropout": 0.05, "bias": "none"}  # as published
_HEADS = ("lm_head", "embed_out")


def linear_names(part: nn.Module) -> list[str]:
    """Names of all linear layers of a part, without the vocabulary head."""
    return [
        name
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear) and not name.split(".")[-1].startswith(_HEADS)
    ]


def add_lora(part: nn.Module, options: Mapping[str, Any] | None = None) -> list[str]:
    """Put LoRA layers into a part and freeze everything else of it.

    Args:
        part: encoder, connector or language model.
        options: fields of `peft.LoraConfig` that differ from the published ones.

    Returns:
        names of the layers that got an adapter.

    Raises:
        ConfigError: the part has no linear layer, or an option does not exist.
    """
    if not getattr(part, "takes_lora", True):
        raise ConfigError(f"LoRA: {type(part).__name__} cannot take adapters", "Train it fully or leave it frozen.")
    targets = linear_names(part)
    if not targets:
        raise ConfigError(f"LoRA: {type(part).__name__} has no linear layers", "Train it fully or leave it frozen.")
    try:
        config = LoraConfig(target_modules=targets, **{**LORA, **(options or {})})
    except TypeError as error:
        raise ConfigError(f"LoRA: {error}", "See the fields of peft.LoraConfig.") from error
    with warnings.catch_warnings():  # over int8 of torchao, PEFT could not merge; saving does that in float
        warnings.filterwarnings("ignore", message=".*get_apply_tensor_subclass")
        inject_adapter_in_model(config, part)
    for name, parameter in part.named_parameters():
        parameter.requires_grad = ".lora_" in name
    return targets


def merge_lora(part: nn.Module) -> int:
    """Fold the adapters of a part into its weights and remove them.

    Args:
        part: a part with or without adapters.

    Returns:
        how many layers were merged.
    """
    merged = 0
    for name, module in list(part.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent = part.get_submodule(name.rpartition(".")[0]) if "." in name else part
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
            merged += 1
    return merged


def lora_state(part: nn.Module, prefix: str = "model.") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The adapters of a part as PEFT stores them, or None if it has none.

    Args:
        part: a language model's wrapper.
        prefix: of the wrapper, left out of the names.

    Returns:
        tensors of `adapter_model.safetensors`, and `adapter_config.json`.
    """
    tensors: dict[str, Tensor] = {}
    ranks, alphas, targets = set(), set(), set()
    for name, module in part.named_modules():
        if isinstance(module, BaseTunerLayer):
            layer = name.removeprefix(prefix)
            for kind in ("lora_A", "lora_B"):
                value = getattr(module, kind)["default"].weight
                tensors[f"base_model.model.{layer}.{kind}.weight"] = value.detach().cpu().contiguous()
            ranks.add(int(module.r["default"]))
            alphas.add(float(module.lora_alpha["default"]))
            targets.add(layer)
    if not tensors:
        return None
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "bias": "none",
        "r": max(ranks), "lora_alpha": max(alphas), "lora_dropout": 0.0, "fan_in_fan_out": False,
        "inference_mode": True, "target_modules": sorted(targets),
    }  # fmt: skip
    return tensors, config
