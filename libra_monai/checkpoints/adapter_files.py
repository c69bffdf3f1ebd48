# SPDX-License-Identifier: Apache-2.0
"""LoRA of a part in a model folder: PEFT's two files, written beside the parts and folded in when they are read.

`adapter/` is that of the language model, `encoder_adapter/` and `connector_adapter/` those of the others.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from libra_monai.checkpoints.published.layouts import read_json
from libra_monai.checkpoints.published.lora import LORA_MARK, LoraLayers
from libra_monai.checkpoints.published.readers import WeightFiles
from libra_monai.errors import ModelError
from libra_monai.files import write_json
from libra_monai.networks.adapters import lora_state
from libra_monai.networks.sharding import named_tensors

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_TASKS = {"language": "CAUSAL_LM"}


def adapter_folder(name: str) -> str:
    """The subfolder that holds the LoRA of a part."""
    return "adapter" if name == "language" else f"{name}_adapter"


def bare(part: nn.Module) -> nn.Module:
    """The module whose tensors stand in the part's files: a library's model without our wrapper, or the part itself."""
    inner = getattr(part, "model", None)
    return inner if isinstance(inner, PreTrainedModel) else part


def has_adapters(part: nn.Module) -> bool:
    """Whether a part has LoRA layers, trained or not."""
    return any(isinstance(module, BaseTunerLayer) for module in part.modules())


def is_plain_lora(part: nn.Module) -> bool:
    """Whether the files of an adapter say all of a part's LoRA: one scale, one adapter, two matrices a layer."""
    layers = [module for module in part.modules() if isinstance(module, BaseTunerLayer)]
    scales = set()
    for layer in layers:
        if layer.active_adapters != ["default"] or layer.merged or layer.r.keys() != {"default"}:
            return False
        rank, alpha = layer.r["default"], layer.lora_alpha["default"]
        if layer.scaling["default"] != alpha / rank or getattr(layer, "use_dora", {}).get("default"):
            return False
        scales.add((rank, alpha))
    odd = [n for n, _ in part.named_parameters() if LORA_MARK in n and ".lora_A." not in n and ".lora_B." not in n]
    return len(scales) == 1 and not odd and not any(".lora_" in n and n.endswith(".bias") for n, _ in part.named_parameters())


def unadapted_state(part: nn.Module) -> dict[str, Tensor]:
    """The tensors of a part as they were before LoRA was put in, under the names they had; nothing is copied."""
    state = named_tensors(bare(part))
    return {key.replace(".base_layer.", "."): value for key, value in state.items() if LORA_MARK not in key}


def save_adapter(part: nn.Module, name: str, place: Path, half: bool = False) -> str | None:
    """Write the LoRA of a part in PEFT's layout.

    Args:
        part: one of the three parts.
        name: which.
        place: the model folder being written.
        half: store tensors in 16 bits.

    Returns:
        the subfolder, or None if the part has no LoRA.
    """
    found = lora_state(part, "model." if bare(part) is not part else "")
    if found is None:
        return None
    tensors, config = found
    if half:
        tensors = {key: value.half() for key, value in tensors.items()}
    folder = place / adapter_folder(name)
    folder.mkdir()
    save_file(tensors, str(folder / ADAPTER_FILES[1]), metadata={"format": "pt"})
    write_json(folder / ADAPTER_FILES[0], {**config, "task_type": _TASKS.get(name, "FEATURE_EXTRACTION")})
    return folder.name


def read_adapters(folders: Sequence[Path]) -> list[LoraLayers]:
    """The adapters of a part, in the order in which they are folded in.

    Args:
        folders: each with PEFT's two files.

    Raises:
        ModelError: a file is missing or damaged, or an adapter is no plain LoRA.
    """
    for folder in folders:
        for name in ADAPTER_FILES:
            if not (folder / name).is_file():
                raise ModelError(f"{folder / name} does not exist", "The model folder is incomplete; copy it again, whole.")
    return [LoraLayers(WeightFiles([folder / ADAPTER_FILES[1]]), read_json(folder / ADAPTER_FILES[0])) for folder in folders]


def check_targets(names: Container[str], adapters: Sequence[LoraLayers], where: str) -> None:
    """Refuse adapters of another part than they are put on.

    Args:
        names: tensors of the part.
        adapters: from `read_adapters`.
        where: whose they are, for the message.

    Raises:
        ModelError: an adapter changes a tensor that the part does not have.
    """
    for name in (name for adapter in adapters for name in adapter.targets()):
        if name not in names:
            raise ModelError(f"{where}: its adapter changes {name}, which is not there", "Use the base it was trained on.")


@torch.no_grad()
def fold_in(tensors: Mapping[str, Tensor], adapters: Sequence[LoraLayers]) -> None:
    """Add adapters to weights, in place and in the weights' own type.

    Args:
        tensors: tensors of a part by name, all or some.
        adapters: from `read_adapters`.

    Raises:
        ModelError: a change has another shape than its weight.
    """
    for adapter in adapters:
        for name in adapter.targets():
            if name in tensors:
                weight = tensors[name]
                weight.copy_(adapter.merged(name, lambda weight=weight: weight)())
