# SPDX-License-Identifier: Apache-2.0
"""A model folder to other people's layouts.

`original`: one folder as X-iZhang/Libra loads it. `transformers`: the language model alone. `projector`: the
connector alone, to be put on a base. `peft`: the change against a base language model as a LoRA adapter, of the
rank it really has, and the connector beside it. `full`: our own layout, for folders that hold only what was trained. Tensors are streamed and keep their type. What those layouts cannot
say (card, processor, options of the parts) goes into `libra_monai.json`, so that the model comes back as it was.
"""

from __future__ import annotations

import inspect
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from libra_monai import registry
from libra_monai.checkpoints.card import read_model_file
from libra_monai.checkpoints.adapter_files import adapter_folder
from libra_monai.checkpoints.published.building import PUBLISHED_TYPES
from libra_monai.checkpoints.published.layouts import KEPT_FILE, read_json
from libra_monai.checkpoints.published.lora import lora_pair
from libra_monai.checkpoints.published.names import connector_to_published, encoder_to_published
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.checkpoints.published.shards import ShardWriter
from libra_monai.checkpoints.published.towers import TOWER_FILE
from libra_monai.checkpoints.whole import fill, whole_folder
from libra_monai.data.processor import read_settings
from libra_monai.errors import ConfigError, ModelError, did_you_mean
from libra_monai.files import share, write_json

logger = logging.getLogger(__name__)
LAYOUTS = ("original", "transformers", "projector", "peft", "full")
_CONNECTORS = {"tac": "TAC", "linear": "linear"}
_TAC_LAYERS = 12  # constant in the original
_ALONE = "Export it as 'transformers'."
_TOWER_NAMES = {
    "dinov2": "microsoft/rad-dino", "clip": "openai/clip-vit-large-patch14-336", "siglip": "google/siglip-so400m-patch14-384",
}  # fmt: skip
_WEIGHTS = (".safetensors", ".index.json")


def export_weights(
    model: str | Path, out: str | Path, layout: str = "original", base: str | Path | None = None, rank: int = 256
) -> Path:
    """Write a model folder in another layout.

    Args:
        model: a model folder.
        out: folder to write; must not exist yet.
        layout: one of `LAYOUTS`.
        base: folder of the base language model, for `peft`; for `full`, the model folder whose parts are missing in `model`,
            if it no longer stands where `model` says.
        rank: largest rank of a `peft` adapter.

    Raises:
        ConfigError: the layout is unknown, or `out` exists.
        ModelError: the model has no form in that layout, or its base is missing or has changed.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout '{layout}' does not exist", did_you_mean(layout, LAYOUTS))
    model, out = Path(model), Path(out)
    if out.exists():
        raise ConfigError(f"{out} exists already", "Choose a new folder.")
    language = read_model_file(model)["parts"].get("language")
    if layout != "full" and (not language or language["name"] != "causal_lm"):
        raise ModelError(f"{model} has no causal language model to export", "Only those have a published form.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        place = Path(scratch) / "export"
        if layout == "full":
            fill(model, place, base)
        else:
            place.mkdir()
            with whole_folder(model, Path(scratch)) as whole:
                _write(whole, place, layout, base, rank)
        for path in place.rglob("*.safetensors"):  # safetensors writes private files
            share(path)
        place.rename(out)
    return out


def _write(model: Path, place: Path, layout: str, base: str | Path | None, rank: int) -> None:
    """Write a model folder that holds all its weights in another layout."""
    content = read_model_file(model)
    parts = content["parts"]
    if layout == "original":
        _original(model, parts, place)
    elif layout == "transformers":
        _copy_language(model, place, weights=True)
    elif layout == "projector":
        _projector(model, parts, place)
    else:
        _peft(model, parts, base, rank, place)
    if layout != "transformers":
        write_json(place / KEPT_FILE, {**content, "processor": read_settings(model)})


def published_config(model: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` of the original's layout.

    Args:
        model: the model folder.
        parts: its parts.

    Raises:
        ModelError: a part has no published form.
    """
    config = read_json(model / "language" / "config.json")
    kind = _published_kind(parts, config)
    encoder, connector = parts["encoder"], parts["connector"]
    settings = read_settings(model)
    return {
        **_for_older(config),
        "model_type": PUBLISHED_TYPES[config["model_type"]],
        "architectures": [f"Libra{config['model_type'].capitalize()}ForCausalLM"],
        "mm_hidden_size": connector["width"],
        "mm_projector_type": kind,
        "mm_vision_tower": _TOWER_NAMES[encoder["name"]],
        "mm_vision_select_layer": encoder.get("layer", "all" if encoder["name"] == "dinov2" else -2),
        "mm_vision_select_feature": "cls_patch" if encoder.get("keep_cls") else "patch",
        **({"use_maira_feature_norm": True} if encoder.get("final_norm") else {}),
        "unfreeze_mm_vision_tower": True,  # makes the original load the tower from this checkpoint
        "image_aspect_ratio": "pad" if settings.get("aspect", "pad") == "pad" else "square",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }


def _published_kind(parts: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """`mm_projector_type` of a model, if the original can hold it."""
    encoder, connector = parts["encoder"], parts["connector"]
    if not encoder or not connector:
        raise ModelError("the model has no encoder and connector", _ALONE)
    kind = _CONNECTORS.get(connector["name"]) or (
        f"mlp{connector['depth']}x_gelu" if connector["name"] == "mlp" else None
    )
    family = PUBLISHED_TYPES.get(config["model_type"])
    if kind is None or family is None:
        what = f"connector '{connector['name']}'" if kind is None else f"family '{config['model_type']}'"
        raise ModelError(f"{what} has no form in the original's layout", _ALONE)
    if kind == "TAC" and connector["num_heads"] != config["num_attention_heads"]:
        raise ModelError(
            f"the TAC has {connector['num_heads']} heads, the original takes the language model's "
            f"{config['num_attention_heads']}",
            "Only models with equal heads can be loaded there.",
        )
    if kind == "TAC" and connector["num_layers"] != _TAC_LAYERS:
        raise ModelError(f"the TAC takes {connector['num_layers']} layers, the original's {_TAC_LAYERS}", _ALONE)
    if encoder["name"] not in _TOWER_NAMES:
        raise ModelError(f"encoder '{encoder['name']}' has no form in the original's layout", _ALONE)
    own = inspect.signature(registry.find("encoder", encoder["name"])).parameters
    if any(_plain(encoder.get(name, own[name].default)) != _plain(own[name].default) for name in ("mean", "std")):
        tower = _TOWER_NAMES[encoder["name"]]
        logger.warning("the original will normalise pictures as %s does, this model's encoder otherwise", tower)
    return kind


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # as JSON gives it back


def _for_older(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with rotary positions said as Transformers 4 reads them; it would take its defaults otherwise."""
    rotary = dict(config.get("rope_parameters") or {})
    if "rope_theta" not in rotary:
        return dict(config)
    theta = rotary.pop("rope_theta")
    return {**config, "rope_theta": theta, "rope_scaling": None if rotary.get("rope_type", "default") == "default" else rotary}


def _original(model: Path, parts: Mapping[str, Any], place: Path) -> None:
    config = published_config(model, parts)
    _copy_language(model, place, weights=False)
    write_json(place / "config.json", config)
    write_json(place / TOWER_FILE, read_json(model / "encoder" / "config.json"))
    writer = ShardWriter(place, "model")
    files = WeightFiles(weight_files(model / "language"))
    for name in tqdm(files, desc="language model", unit="tensor", delay=2, leave=False):
        writer.add(name, files.tensor(name))
    for name, value in connector_to_published(_part(model / "connector.safetensors")).items():
        writer.add(f"model.mm_projector.{name}", value)
    tower = WeightFiles(weight_files(model / "encoder"))
    for name, value in encoder_to_published({n: tower.tensor(n) for n in tower}).items():
        writer.add(f"model.vision_tower.vision_tower.{name}", value)
    writer.close()


def _projector(model: Path, parts: Mapping[str, Any], place: Path) -> None:
    write_json(place / "config.json", published_config(model, parts))
    torch.save(_published_connector(model, "model.mm_projector."), place / "mm_projector.bin")


def _peft(model: Path, parts: Mapping[str, Any], base: str | Path | None, rank: int, place: Path) -> None:
    if not base or not Path(base).is_dir():
        raise ModelError("a LoRA adapter is a change against a base model", "Give the base's folder as --base.")
    own = model / adapter_folder("language")
    if (own / "adapter_config.json").is_file():
        config = read_json(own / "adapter_config.json")
        shutil.copyfile(own / "adapter_model.safetensors", place / "adapter_model.safetensors")
        write_json(place / "adapter_config.json", {**config, "base_model_name_or_path": str(base)})
    else:
        _decompose(model, Path(base), rank, place)
    try:
        config = published_config(model, parts)
    except ModelError as error:
        logger.warning("the adapter is written without the connector: %s", error)
        return
    write_json(place / "config.json", config)
    torch.save(_published_connector(model, "base_model.model.model.mm_projector."), place / "non_lora_trainables.bin")


def _decompose(model: Path, base: Path, rank: int, place: Path) -> None:
    """Write the change against a base as LoRA of the rank it really has, for models that keep no adapter."""
    pairs: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, new, old in _changes(model, base):
        pair = lora_pair(new, old, rank) if new.dim() == 2 and name.endswith(".weight") else None
        if pair is None:
            raise ModelError(f"tensor {name} differs from the base by more than rank {rank}", _ALONE)
        layer = name.removesuffix(".weight")
        pairs[f"base_model.model.{layer}.lora_A.weight"], pairs[f"base_model.model.{layer}.lora_B.weight"] = pair
        ranks[layer] = len(pair[0])
    if not pairs:
        raise ModelError("the model equals its base: there is no adapter", "Check --base.")
    save_file(pairs, str(place / "adapter_model.safetensors"), metadata={"format": "pt"})
    write_json(place / "adapter_config.json", _adapter_config(str(base), ranks))


def _changes(model: Path, base: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Tensors of the language model that differ from those of the base: name, new, old."""
    changed, unchanged = (WeightFiles(weight_files(folder)) for folder in (model / "language", base))
    for name in tqdm(changed, desc="comparing with the base", unit="tensor", delay=2, leave=False):
        if name not in unchanged:
            raise ModelError(f"--base {base} has no tensor {name}", "Give the base this model was trained from.")
        new, old = changed.tensor(name), unchanged.tensor(name)
        if new.shape != old.shape:
            what = f"tensor {name} is {list(new.shape)}, in --base {base} {list(old.shape)}"
            raise ModelError(what, "Give the base this model was trained from.")
        if not torch.equal(new, old):
            yield name, new, old


def _adapter_config(base: str, ranks: Mapping[str, int]) -> dict[str, Any]:
    """`adapter_config.json` of PEFT; alpha equals the rank, so that the product is added as it is."""
    top = max(ranks.values())
    lower = {layer: rank for layer, rank in ranks.items() if rank != top}
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "bias": "none",
        "r": top, "lora_alpha": top, "lora_dropout": 0.0, "fan_in_fan_out": False, "inference_mode": True,
        "target_modules": sorted(ranks), "rank_pattern": lower, "alpha_pattern": lower,
    }  # fmt: skip


def _published_connector(model: Path, prefix: str) -> dict[str, Tensor]:
    state = connector_to_published(_part(model / "connector.safetensors"))
    return {f"{prefix}{name}": value.contiguous() for name, value in state.items()}


def _copy_language(model: Path, place: Path, weights: bool) -> None:
    for path in (model / "language").iterdir():
        if path.is_file() and (weights or not path.name.endswith(_WEIGHTS)):
            shutil.copyfile(path, place / path.name)
    if weights:
        write_json(place / "config.json", _for_older(read_json(place / "config.json")))


def _part(path: Path) -> dict[str, Tensor]:
    files = WeightFiles([path])
    return {name: files.tensor(name) for name in files}
