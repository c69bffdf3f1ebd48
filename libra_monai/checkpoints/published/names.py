# SPDX-License-Identifier: Apache-2.0
"""Tensor names of published checkpoints and ours, both ways; the one place that spells them.

A published file holds language model, connector (`mm_projector.`) and sometimes the encoder
(`vision_tower.`) under one roof. Source: X-iZhang/Libra (`libra/model/`), LLaVA, and the names that
transformers 4 gave to DINOv2 and CLIP. Tensors are renamed and reshaped, never changed in value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from libra_monai.checkpoints.published.timm_names import TIMM_MARK, from_timm
from libra_monai.errors import ModelError

CONNECTOR_MARK, ENCODER_MARK = "mm_projector.", "vision_tower."
_COMPUTED = re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$|position_ids$")  # buffers, not learned

_TAC_WORDS = {
    "cur_self_attention": "current_attention", "prior_self_attention": "prior_attention",
    "cros_attention": "cross_attention", "norm1": "current_norm", "norm2": "prior_norm", "norm3": "cross_norm",
    "norm4": "fused_norm", "in_proj_weight": "in_projection.weight", "in_proj_bias": "in_projection.bias",
    "out_proj": "out_projection", "bias_k": "extra_key", "bias_v": "extra_value", "mlp_attn": "attention_mlp",
    "mlp_final": "output_mlp", "LFE_prior_bias": "prior_bias",
}  # fmt: skip
_LFE = re.compile(r"LFE\.(\d+)\.(?:(fc1|fc2)\.)?(weight|bias)$")  # even: gate, odd: 1x1 convolution
_GATE = {"fc1": "reduce", "fc2": "expand"}
_STAGE = re.compile(r"extractor\.(gates|mixes)\.(\d+)\.(?:(reduce|expand)\.)?(weight|bias)$")

# spelling of transformers 4 -> the common form used here to compare spellings
_ENCODER_OLD = {
    "attention.attention.query.": "attention.q_proj.", "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.", "attention.output.dense.": "attention.o_proj.",
}  # fmt: skip
_ENCODER_MARKS = (  # a name that only this kind of encoder has, most telling first
    ("timm", TIMM_MARK),
    ("open_clip", r"(^|\.)trunk\.|(^|\.)vit\.|transformer\.resblocks\."),
    ("dinov2", r"embeddings\.cls_token$"),
    ("clip", r"embeddings\.class_embedding$"),
    ("siglip", r"embeddings\.patch_embedding\.weight$"),
)


def part_of(name: str) -> str:
    """Which part a published tensor belongs to: `connector`, `encoder` or `language`."""
    if CONNECTOR_MARK in name:
        return "connector"
    return "encoder" if ENCODER_MARK in name else "language"


def is_computed(name: str) -> bool:
    """Whether a published tensor is a buffer that models compute themselves."""
    return bool(_COMPUTED.search(name))


def connector_from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our connector's tensors from published ones (TAC, `linear`, `mlp{k}x_gelu`).

    Args:
        state: published tensors, with or without what stands before `mm_projector.`; other parts are left out.

    Raises:
        ModelError: a name belongs to no connector known here.
    """
    own = _below(state, CONNECTOR_MARK)
    if any(name.startswith("LFE") for name in own):
        return dict(_tac_from_published(name, value) for name, value in own.items())
    renamed = {}
    for name, value in own.items():
        bare = name.removeprefix("projector.")  # Libra wraps the layers once more than LLaVA does
        if not re.fullmatch(r"(\d+\.)?(weight|bias)", bare):
            raise ModelError(f"tensor {name} belongs to no known connector", "Known: TAC, linear, mlp{k}x_gelu.")
        renamed[f"projection.{bare}"] = value
    return renamed


def connector_to_published(state: Mapping[str, Tensor], llava: bool = False) -> dict[str, Tensor]:
    """Published names of our connector's tensors, relative to `mm_projector.`.

    Args:
        state: tensors of a `tac`, `linear` or `mlp` connector.
        llava: leave out the level that Libra has around linear and MLP layers.

    Raises:
        ModelError: a name belongs to no connector that has a published form.
    """
    if "prior_bias" in state:
        return dict(_tac_to_published(name, value) for name, value in state.items())
    strange = [name for name in state if not name.startswith("projection.")]
    if strange:
        raise ModelError(f"tensor {strange[0]} has no published name", "Only tac, linear and mlp can be exported so.")
    level = "" if llava else "projector."
    return {level + name.removeprefix("projection."): value for name, value in state.items()}


def encoder_from_published(state: Mapping[str, Tensor], wanted: Iterable[str] = ()) -> dict[str, Tensor]:
    """Our encoder's tensors from published ones, in the names of transformers 5 or of a given model.

    Args:
        state: published tensors, with or without what stands before the last `vision_tower.`.
        wanted: names the encoder's model has; spellings of other library versions are matched to them.
    """
    known = {_common(name): name for name in wanted}
    own = {name: v for name, v in _below(state, ENCODER_MARK).items() if not _COMPUTED.search(name)}
    if encoder_kind(own) == "timm":
        own = from_timm(own)
    return {known.get(_common(name), _common(name)): value for name, value in own.items()}


def encoder_to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers 4 for our encoder's tensors, relative to the last `vision_tower.`."""
    kind = encoder_kind(state)
    return {_old(_common(name), kind): value for name, value in state.items()}


def language_from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The language model's tensors: all that belong to no other part and are learned."""
    return {n: v for n, v in state.items() if part_of(n) == "language" and not _COMPUTED.search(n)}


def encoder_kind(names: Iterable[str]) -> str | None:
    """`dinov2`, `timm` (DINOv2 as timm names it), `clip`, `siglip` or `open_clip`, from tensor names; None if of none."""
    names = list(names)
    return next((kind for kind, mark in _ENCODER_MARKS if any(re.search(mark, name) for name in names)), None)


def _below(state: Mapping[str, Tensor], mark: str) -> dict[str, Tensor]:
    """Tensors below the last `mark` of their names; all of them if no name carries it."""
    marked = {name.rpartition(mark)[2]: value for name, value in state.items() if mark in name}
    return marked or dict(state)


def _tac_from_published(name: str, value: Tensor) -> tuple[str, Tensor]:
    stage = _LFE.match(name)
    if stage:
        number, gate, kind = int(stage[1]), stage[2], stage[3]
        flat = value.flatten(1) if value.dim() == 4 else value  # 1x1 convolutions are linear layers
        if gate:
            return f"extractor.gates.{number // 2}.{_GATE[gate]}.{kind}", flat
        return f"extractor.mixes.{number // 2}.{kind}", flat
    words = [_TAC_WORDS.get(word, word) for word in name.split(".")]
    if words[0] == name.split(".")[0]:
        raise ModelError(f"tensor {name} belongs to no known connector", "It is not among the 54 tensors of a TAC.")
    return ".".join(words), value.flatten() if words[-1].startswith("extra_") else value


def _tac_to_published(name: str, value: Tensor) -> tuple[str, Tensor]:
    stage = _STAGE.match(name)
    if stage:
        group, number, gate, kind = stage[1], int(stage[2]), stage[3], stage[4]
        square = value[:, :, None, None] if value.dim() == 2 else value
        if group == "mixes":
            return f"LFE.{2 * number + 1}.{kind}", square
        return f"LFE.{2 * number}.{'fc1' if gate == 'reduce' else 'fc2'}.{kind}", square
    for published, ours in _TAC_WORDS.items():
        name = re.sub(rf"(^|\.){re.escape(ours)}(?=\.|$)", rf"\g<1>{published}", name)
    return name, value.view(1, 1, -1) if name.endswith(("bias_k", "bias_v")) else value


def _common(name: str) -> str:
    name = name.removeprefix("vision_model.")
    for old, new in _ENCODER_OLD.items():
        name = name.replace(old, new)
    return name


def _old(name: str, kind: str | None) -> str:
    if kind in ("clip", "siglip"):
        return f"vision_model.{name}"
    if kind == "dinov2":
        for old, new in _ENCODER_OLD.items():
            name = name.replace(f".{new}", f".{old}")
    return name
