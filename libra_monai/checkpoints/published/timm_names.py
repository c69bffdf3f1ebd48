# SPDX-License-Identifier: Apache-2.0
"""DINOv2 as timm names it, to the names of Transformers.

LLaVA-Rad's BiomedCLIP-CXR is timm's `vit_base_patch14_dinov2` at 518 pixels, trained through open_clip. Its blocks
are those of `Dinov2Model`, so that the built-in encoder holds it: query, key and value stand in one matrix, and the
mask token of pre-training is absent. A plain timm transformer without layer scales is another model and not read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from libra_monai.errors import ModelError

TIMM_MARK = r"(^|\.)blocks\.\d+\.ls1\.gamma$"
_ROOT = re.compile(r"^.*?(?=cls_token$|pos_embed$|patch_embed\.|blocks\.|norm\.(weight|bias)$)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)$")
_TOP = {
    "cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
}  # fmt: skip
_INNER = {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
_HEAD_WIDTH = 64  # of every published DINOv2


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `Dinov2Model` from those of timm's transformer; what stands before the names is cut off.

    Args:
        state: tensors of the tower alone.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = _ROOT.sub("", name, count=1)
        block = _BLOCK.match(bare)
        if not block:
            renamed[_TOP.get(bare, bare)] = value
            continue
        place, inner = f"encoder.layer.{block[1]}.", block[2]
        if inner.startswith("attn.qkv."):
            for letter, piece in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{place}attention.{letter}_proj.{inner.rpartition('.')[2]}"] = piece.clone()
        else:
            inner = inner.replace("attn.proj.", "attention.o_proj.")
            renamed[place + _INNER.get(inner, inner)] = value
    return renamed


def timm_shape(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of `Dinov2Config`, read off the tensors.

    Args:
        state: what `from_timm` gives.

    Raises:
        ModelError: a tensor that tells the shape is missing.
    """
    try:
        positions = state["embeddings.position_embeddings"]
        patches = state["embeddings.patch_embeddings.projection.weight"]
        hidden = state["encoder.layer.0.mlp.fc1.weight"]
    except KeyError as error:
        raise ModelError(f"the encoder lacks tensor {error}", "Download the checkpoint again.") from error
    width, patch = int(positions.shape[-1]), int(patches.shape[-1])
    depth = 1 + max(int(m[1]) for m in (re.match(r"encoder\.layer\.(\d+)\.", n) for n in state) if m)
    return {
        "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": max(width // _HEAD_WIDTH, 1),
        "image_size": round((positions.shape[1] - 1) ** 0.5) * patch, "patch_size": patch,
        "mlp_ratio": int(hidden.shape[0]) // width, "layer_norm_eps": 1e-6, "use_mask_token": False,
    }  # fmt: skip
