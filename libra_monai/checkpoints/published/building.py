# SPDX-License-Identifier: Apache-2.0
"""What a published `config.json` says of the three parts, and a model built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig

from libra_monai import registry
from libra_monai.checkpoints.folder import load_state
from libra_monai.checkpoints.published.names import (
    connector_from_published,
    encoder_from_published,
    encoder_kind,
    language_from_published,
)
from libra_monai.checkpoints.published.tower_shapes import BUILT_IN, tower_shape
from libra_monai.errors import ConfigError, ModelError, did_you_mean
from libra_monai.networks.report_model import ReportModel

# model_type of Libra, LLaVA and their relatives -> the family of the language model
FAMILIES = {
    "libra": "llama", "libra_llama": "llama", "libra_mistral": "mistral", "libra_phi3": "phi3", "libra_gemma": "gemma",
    "libra_qwen2": "qwen2", "libra_qwen3": "qwen3", "llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral",
}  # fmt: skip
PUBLISHED_TYPES = {family: name for name, family in reversed(FAMILIES.items()) if name.startswith("libra")}
# fields of a published configuration that are not the language model's
_FOREIGN = (
    "mm_", "image_", "tune_", "freeze_", "unfreeze_", "use_mm_proj", "use_maira_feature_norm", "tokenizer_",
    "pretrain_mm", "architectures", "model_type", "_name_or_path", "transformers_version", "auto_map", "lora_",
    "quantization_config",
)  # fmt: skip


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`model_type` and the fields of the language model's own configuration.

    Args:
        config: a published `config.json`, or that of a plain language model.

    Raises:
        ConfigError: the family is unknown.
    """
    said = str(config.get("model_type") or "llama")
    family = FAMILIES.get(said, said)
    if family not in CONFIG_MAPPING:
        raise ConfigError(f"config.json: model_type '{said}' is unknown", did_you_mean(said, FAMILIES))
    own = {k: v for k, v in config.items() if not k.startswith(_FOREIGN) and v is not None}
    own.pop("dtype", None)
    return {"model_type": family, **own}


def connector_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name and arguments of the connector.

    Args:
        config: a published `config.json`.

    Raises:
        ConfigError: the connector is unknown, or the widths are not given.
    """
    kind = str(config.get("mm_projector_type") or "linear")
    family = AutoConfig.for_model(**language_config(config))
    try:
        widths = {"width": int(config["mm_hidden_size"]), "hidden_size": int(family.hidden_size)}
    except (KeyError, AttributeError) as error:
        raise ConfigError(f"config.json has no {error}", "Download the checkpoint's config.json again.") from error
    if kind == "TAC":
        return {"name": "tac", **widths, "num_layers": 12, "num_heads": int(family.num_attention_heads)}
    if kind == "linear":
        return {"name": "linear", **widths}
    if kind.startswith("mlp") and kind.endswith("x_gelu") and kind[3:-6].isdigit():
        return {"name": "mlp", **widths, "depth": int(kind[3:-6])}
    raise ConfigError(
        f"config.json: mm_projector_type '{kind}' is unknown", did_you_mean(kind, ["TAC", "linear", "mlp2x_gelu"])
    )


def encoder_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Which features the connector was trained on: layer, class token, final norm.

    Args:
        config: a published `config.json`.

    Raises:
        ConfigError: the layer is no number.
    """
    layer = config.get("mm_vision_select_layer", -2)
    try:
        options: dict[str, Any] = {"layer": layer if layer == "all" else int(layer)}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.json: mm_vision_select_layer is {layer!r}", "It is 'all' or a number.") from error
    if config.get("mm_vision_select_feature", "patch") == "cls_patch":
        options["keep_cls"] = True
    if config.get("use_maira_feature_norm"):
        options["final_norm"] = True
    return options


def model_from_published(
    config: Mapping[str, Any], state: Mapping[str, Tensor], vision_config: Mapping[str, Any] | None = None
) -> ReportModel:
    """A report model in memory from published tensors, all of them checked.

    Args:
        config: published `config.json`.
        state: tensors under their published names, the encoder's included.
        vision_config: fields of the encoder's configuration; default the published tower of that name.

    Raises:
        ModelError: tensors are missing, unexpected, or of another shape.
        ConfigError: the configuration names something unknown.
    """
    tower = {name: value for name, value in state.items() if "vision_tower." in name}
    kind = encoder_kind(tower)
    if kind is None:
        raise ModelError("the checkpoint holds no encoder", "Import it with --encoder, see `libra-monai import-weights`.")
    fields = vision_config or tower_shape(kind, str(config.get("mm_vision_tower") or ""), tower)
    encoder = registry.build("encoder", BUILT_IN.get(kind, kind), config=dict(fields), **encoder_options(config))
    connector = registry.build("connector", **connector_spec(config))
    language = registry.build("language", "causal_lm", config=language_config(config))
    load_state(encoder.model, encoder_from_published(tower, encoder.model.state_dict()), "encoder")
    load_state(connector, connector_from_published(state), "connector")
    own = language_from_published(state)
    tied = set(language.model.all_tied_weights_keys or ())
    own |= {name: value for name, value in language.model.state_dict().items() if name in tied and name not in own}
    load_state(language.model, own, "language")
    if tied:
        language.model.tie_weights()
    return ReportModel(encoder, connector, language).eval()
