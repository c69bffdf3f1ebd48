# SPDX-License-Identifier: Apache-2.0
"""Frozen linear layers in 8 or 4 bits, so that adapters can be trained over a large model on a small device (QLoRA).

`int8` is weight-only through torchao, or LLM.int8 through bitsandbytes where torchao is absent; `nf4` is bitsandbytes'
4-bit normal float with doubly quantised scales, as in the original's QLoRA (arXiv 2305.14314). Only the given layers
change: heads, embeddings, norms, encoder and connector stay in float. Such a layer gives its weight in float to
`state_dict`, so that a saved model is an ordinary one. Nothing is quantised for speed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from libra_monai.errors import ConfigError, did_you_mean

_PACKAGES = {"int8": ("torchao", "bitsandbytes"), "nf4": ("bitsandbytes",)}  # the first that is there


def check_quantize(name: str | None) -> None:
    """Refuse a kind of quantisation that does not exist; whether its package is there is asked when it is used.

    Raises:
        ConfigError: it is none of those known.
    """
    if name == "int4":
        raise ConfigError("quantize 'int4' does not exist: adapters do not go over it", "Use 'nf4', 4 bits as well.")
    if name is not None and name not in _PACKAGES:
        raise ConfigError(f"quantize '{name}' does not exist", did_you_mean(str(name), _PACKAGES))


def quantize_linears(part: nn.Module, names: Iterable[str], kind: str) -> int:
    """Quantise linear layers in place and freeze them; layers that are quantised already stay as they are.

    Args:
        part: a part with its weights in it, on the device where the work is to be done.
        names: of its layers.
        kind: `int8` or `nf4`.

    Returns:
        how many layers are quantised now.

    Raises:
        ConfigError: the package is not installed, or the part has no weights yet.
    """
    check_quantize(kind)
    package = next((name for name in _PACKAGES[kind] if find_spec(name)), None)
    if package is None:
        wanted = " or ".join(_PACKAGES[kind])
        raise ConfigError(f"quantize '{kind}' needs {wanted}", "Run: pip install 'libra-monai[quantize]'.")
    done = 0
    for name in names:
        layer = part.get_submodule(name)
        if not is_quantized(layer):
            if layer.weight.is_meta:
                raise ConfigError(f"{name} has no weights to quantise", "Give `ckpt` or `weights`.")
            layer.requires_grad_(False)
            layer = _torchao_int8(layer) if package == "torchao" else _bitsandbytes(layer, kind)
            layer.register_state_dict_post_hook(_write_float)
            part.set_submodule(name, layer)
        done += 1
    return done


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weight is stored in fewer bits."""
    return _write_float in layer._state_dict_hooks.values()


def float_weight(layer: nn.Module) -> Tensor:
    """The weight of a quantised linear layer in float, as near as its bits allow, [out,in]."""
    weight = layer.weight
    if hasattr(weight, "dequantize") and hasattr(weight, "__tensor_flatten__"):
        return weight.dequantize()
    from bitsandbytes import functional

    if getattr(weight, "quant_state", None) is not None:
        return functional.dequantize_4bit(weight.data, weight.quant_state)
    codes, scales = (weight.CB, weight.SCB) if weight.CB is not None else (layer.state.CB, layer.state.SCB)
    return functional.int8_vectorwise_dequant(codes, scales).to(scales.dtype)


def stored(parameter: Tensor) -> tuple[int, int]:
    """How many numbers a parameter holds, and in how many bytes.

    Args:
        parameter: of an ordinary or a quantised layer.
    """
    state = getattr(parameter, "quant_state", None)  # bitsandbytes, 4 bits
    if state is not None:
        inner = getattr(state, "state2", None)  # of doubly quantised scales
        extra = [state.absmax, *([inner.absmax] if inner is not None else [])]
        return state.shape.numel(), sum(t.numel() * t.element_size() for t in (parameter.data, *extra))
    if hasattr(parameter, "__tensor_flatten__"):  # torchao
        pieces = [getattr(parameter, name) for name in parameter.__tensor_flatten__()[0]]  # of a sharded one: this process's part
        return parameter.numel(), sum(t.numel() * t.element_size() for t in pieces if isinstance(t, Tensor))
    return parameter.numel(), parameter.numel() * parameter.element_size()


def _torchao_int8(layer: nn.Linear) -> nn.Linear:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(layer, Int8WeightOnlyConfig())
    return layer


def _bitsandbytes(layer: nn.Linear, kind: str) -> nn.Linear:
    import bitsandbytes

    sizes = {"input_features": layer.in_features, "output_features": layer.out_features, "bias": layer.bias is not None}
    weight, device = layer.weight.data, layer.weight.device
    with torch.device("meta"):
        if kind == "nf4":
            new = bitsandbytes.nn.Linear4bit(**sizes, quant_type="nf4", compress_statistics=True)
        else:
            new = bitsandbytes.nn.Linear8bitLt(**sizes, has_fp16_weights=False, threshold=6.0)
    if kind == "nf4":
        packed = bitsandbytes.nn.Params4bit(weight, False, quant_type="nf4", compress_statistics=True, module=new)
    else:
        packed = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    new.weight, new.bias = packed.to(device), layer.bias  # moving is what packs it
    return new


def _write_float(layer: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """What `state_dict` says of a quantised layer: weight and bias in float, as of an ordinary one."""
    for key in [key for key in state if key.startswith(prefix) and key != f"{prefix}bias"]:
        del state[key]
    state[f"{prefix}weight"] = float_weight(layer)
