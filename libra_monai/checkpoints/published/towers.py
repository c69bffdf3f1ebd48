# SPDX-License-Identifier: Apache-2.0
"""The encoder of a published checkpoint: from the checkpoint itself where it carries one, else from its own folder.

An encoder of open_clip that is no DINOv2 needs a plugin: a part registered as encoder `open_clip`, built from the
JSON of `open_clip_config.json` (argument `config`) and the options of the built-in encoders, whose `model` names
its tensors as open_clip does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig
from transformers.image_processing_base import ImageProcessingMixin

from libra_monai import registry
from libra_monai.checkpoints.published.building import encoder_options
from libra_monai.checkpoints.published.checks import check_names
from libra_monai.checkpoints.published.layouts import read_json
from libra_monai.checkpoints.published.names import encoder_from_published, encoder_kind
from libra_monai.checkpoints.published.sources import PublishedModel
from libra_monai.checkpoints.published.tower_shapes import BUILT_IN, TOWERS, tower_shape
from libra_monai.errors import ModelError
from libra_monai.networks.encoders.clip import CLIP_MEAN, CLIP_STD

logger = logging.getLogger(__name__)
TOWER_FILE = "vision_config.json"  # written by our export; the original builds its tower from the hub's
_PLUGIN_FILE = "open_clip_config.json"
_FAMILIES = {  # model_type of Transformers -> encoder
    "dinov2": "dinov2", "clip": "clip", "clip_vision_model": "clip", "siglip": "siglip", "siglip_vision_model": "siglip",
}  # fmt: skip
_OPENAI = {"mean": list(CLIP_MEAN), "std": list(CLIP_STD)}  # open_clip's default, which LLaVA-Rad uses


def kind_of_tower(model: PublishedModel, given: str | None) -> str:
    """What the encoder is, from its tensors in the checkpoint or the configuration of its own folder.

    Args:
        model: the published checkpoint.
        given: folder or hub name from `--encoder`.

    Raises:
        ModelError: it cannot be found out.
    """
    own = model.part("encoder")
    if own:
        kind = encoder_kind(own)
        if kind is None:
            raise ModelError(f"the encoder's tensors, such as {min(own)}, are of no known kind", "Ask for a plugin.")
        return kind
    name = given or str(model.config.get("mm_vision_tower") or "")
    if "biomedclip" in name.lower() or name.startswith("hf-hub:"):
        return "open_clip"
    remedy = f"Download {name or 'the encoder'} and give its folder as --encoder."
    try:
        family = AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as error:
        said = name or "(config.json names none)"
        raise ModelError(f"the encoder {said} is not in the checkpoint and cannot be loaded", remedy) from error
    if family not in _FAMILIES:
        raise ModelError(f"the encoder {name} is of family '{family}', which is not built in", "Install a plugin for it.")
    return _FAMILIES[family]


def build_tower(model: PublishedModel, kind: str, given: str | None) -> tuple[dict[str, Any], nn.Module]:
    """The encoder with its weights, and its entry in `report_model.json` without `weights`.

    Args:
        model: the published checkpoint.
        kind: from `kind_of_tower`.
        given: folder or hub name from `--encoder`; an encoder in the checkpoint wins, and takes only its shape there.

    Raises:
        ModelError: tensors are missing, unexpected or of another shape, or no encoder of that kind is registered.
    """
    name = BUILT_IN.get(kind, kind)
    named = str(model.config.get("mm_vision_tower") or "")
    if name not in registry.names("encoder"):
        remedy = f"Install a plugin that registers an encoder '{name}' (docs/plugins.md)."
        raise ModelError(f"the encoder {named} is one of {kind}, which is not built in", remedy)
    kept = model.kept_part("encoder", name)
    options = {**encoder_options(model.config), **_normalisation(kind, given or named), **kept}
    own = {n: read() for n, read in model.part("encoder").items()}
    if not own:
        module = registry.build("encoder", name, weights=given or named, **options)
        return {"name": name, **options}, module
    module = _empty(name, _shape(model, kind, named, given, own), options)
    values = encoder_from_published(own, module.model.state_dict())
    check_names(module.model.state_dict(), values, "encoder")
    module.model.load_state_dict(values, assign=True)
    return {"name": name, **options}, module


def _shape(model: PublishedModel, kind: str, named: str, given: str | None, own: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the encoder's configuration: of the checkpoint, of --encoder, or of the published tower."""
    if kind == "open_clip":
        places = [*model.folders(), *([Path(given)] if given else [])]
        return next((found for place in places if (found := read_json(place / _PLUGIN_FILE))), {"name": named})
    written = next((place / TOWER_FILE for place in model.folders() if (place / TOWER_FILE).is_file()), given)
    if not written or kind == "timm":
        return tower_shape(kind, named, own)
    try:
        found = AutoConfig.from_pretrained(str(written))
    except (OSError, ValueError) as error:
        raise ModelError(f"the configuration of the encoder {written} cannot be read", "Give another --encoder.") from error
    found = getattr(found, "vision_config", found)
    known = set(type(found)().to_dict()) - {"architectures", "_name_or_path", "transformers_version", "dtype"}
    return {key: value for key, value in found.to_dict().items() if key in known}  # older releases wrote more


def _empty(name: str, shape: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    try:
        return registry.build("encoder", name, config=dict(shape), **options)
    except TypeError as error:
        raise ModelError(f"the encoder's configuration does not fit '{name}' ({error})", "Check --encoder.") from error


def _normalisation(kind: str, name: str) -> dict[str, Any]:
    """Mean and deviation the encoder expects, where its folder says so; one number where all channels agree."""
    if kind in ("timm", "open_clip"):
        return dict(_OPENAI)
    if name in TOWERS:  # known to be the encoder's own defaults
        return {}
    try:
        said, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except (OSError, ValueError):
        logger.warning("%s has no preprocessor_config.json: the normalisation of encoder '%s' is taken", name, kind)
        return {}
    pair = {"mean": said.get("image_mean"), "std": said.get("image_std")}
    if not all(isinstance(value, (list, tuple)) and value for value in pair.values()):
        return {}
    return {key: value[0] if len(set(value)) == 1 else list(value) for key, value in pair.items()}
