# SPDX-License-Identifier: Apache-2.0
"""A model folder to other people's layouts.

`original`: one folder as X-iZhang/Libra loads it. `transformers`: the language model alone. `projector`: the
connector alone, to be put on a base. `peft`: the change against a base language model as a LoRA adapter, of the
rank it really has. Tensors are streamed and keep their type.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from libra_monai.checkpoints.card import read_model_file
from libra_monai.checkpoints.published.building import PUBLISHED_TYPES
from libra_monai.checkpoints.published.lora import lora_pair
from libra_monai.checkpoints.published.names import connector_to_published, encoder_to_published
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.checkpoints.published.shards import ShardWriter
from libra_monai.data.processor import read_settings
from libra_monai.errors import ConfigError, ModelError, did_you_mean
from libra_monai.files import write_json

LAYOUTS = ("original", "transformers", "projector", "peft")
_CONNECTORS = {"tac": "TAC", "linear": "linear"}
_TOLERANCE = 1e-3  # of the largest singular value, under which a change counts as rounding
_WEIGHTS = (".safetensors", ".index.json")


def export_weights(
    model: str | Path, out: str | Path, layout: str = "original", base: str | Path | None = None, rank: int = 256
) -> Path:
    """Write a model folder in another layout.

    Args:
        model: a model folder.
        out: folder to write; must not exist yet.
        layout: one of `LAYOUTS`.
        base: folder of the base language model, for `peft`.
        rank: largest rank of a `peft` adapter.

    Raises:
        ConfigError: the layout is unknown, or `out` exists.
        ModelError: the model has no form in that layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout '{layout}' does not exist", did_you_mean(layout, LAYOUTS))
    model, out = Path(model), Path(out)
    if out.exists():
        raise ConfigError(f"{out} exists already", "Choose a new folder.")
    parts = read_model_file(model)["parts"]
    if not parts.get("language") or parts["language"]["name"] != "causal_lm":
        raise ModelError(f"{model} has no causal language model to export", "Only those have a published form.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        place = Path(scratch) / "export"
        place.mkdir()
        if layout == "original":
            _original(model, parts, place)
        elif layout == "transformers":
            _copy_language(model, place, weights=True)
        elif layout == "projector":
            _projector(model, parts, place)
        else:
            _peft(model, base, rank, place)
        place.rename(out)
    return out


def published_config(model: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` of the original's layout.

    Args:
        model: the model folder.
        parts: its parts.

    Raises:
        ModelError: a part has no published form.
    """
    config = json.loads((model / "language" / "config.json").read_text(encoding="utf-8"))
    encoder, connector = parts["encoder"], parts["connector"]
    if not encoder or not connector:
        raise ModelError(f"{model} has no encoder and connector", "Export it as 'transformers'.")
    kind = _CONNECTORS.get(connector["name"]) or (
        f"mlp{connector['depth']}x_gelu" if connector["name"] == "mlp" else None
    )
    family = PUBLISHED_TYPES.get(config["model_type"])
    if kind is None or family is None:
        what = f"connector '{connector['name']}'" if kind is None else f"family '{config['model_type']}'"
        raise ModelError(f"{what} has no form in the original's layout", "Export it as 'transformers'.")
    if kind == "TAC" and connector["num_heads"] != config["num_attention_heads"]:
        raise ModelError(
            f"the TAC has {connector['num_heads']} heads, the original takes the language model's "
            f"{config['num_attention_heads']}",
            "Only models with equal heads can be loaded there.",
        )
    settings = read_settings(model)
    return {
        **config,
        "model_type": family,
        "architectures": ["LibraLlamaForCausalLM"] if family == "libra" else config.get("architectures"),
        "mm_hidden_size": connector["width"],
        "mm_projector_type": kind,
        "mm_vision_tower": encoder.get("origin") or _TOWER_NAMES.get(encoder["name"], encoder["name"]),
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


_TOWER_NAMES = {"dinov2": "microsoft/rad-dino", "clip": "openai/clip-vit-large-patch14-336"}


def _original(model: Path, parts: Mapping[str, Any], place: Path) -> None:
    config = published_config(model, parts)
    _copy_language(model, place, weights=False)
    write_json(place / "config.json", config)
    write_json(place / "vision_config.json", json.loads((model / "encoder" / "config.json").read_text(encoding="utf-8")))
    writer = ShardWriter(place, "model")
    files = WeightFiles(weight_files(model / "language"))
    for name in files:
        writer.add(name, files.tensor(name))
    for name, value in connector_to_published(_part(model / "connector.safetensors")).items():
        writer.add(f"model.mm_projector.{name}", value)
    tower = WeightFiles(weight_files(model / "encoder"))
    for name, value in encoder_to_published({n: tower.tensor(n) for n in tower}).items():
        writer.add(f"model.vision_tower.vision_tower.{name}", value)
    writer.close()


def _projector(model: Path, parts: Mapping[str, Any], place: Path) -> None:
    write_json(place / "config.json", published_config(model, parts))
    state = connector_to_published(_part(model / "connector.safetensors"))
    torch.save({f"model.mm_projector.{name}": value for name, value in state.items()}, place / "mm_projector.bin")


def _peft(model: Path, base: str | Path | None, rank: int, place: Path) -> None:
    if not base or not Path(base).is_dir():
        raise ModelError("a LoRA adapter is a change against a base model", "Give the base's folder as --base.")
    changed, unchanged = (WeightFiles(weight_files(folder)) for folder in (model / "language", Path(base)))
    pairs: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name in changed:
        if name not in unchanged:
            raise ModelError(f"--base {base} has no tensor {name}", "Give the base this model was trained from.")
        new, old = changed.tensor(name), unchanged.tensor(name)
        if torch.equal(new, old):
            continue
        layer = name.removesuffix(".weight")
        found = _rank(new, old) if new.dim() == 2 else rank + 1
        if found > rank:
            raise ModelError(f"tensor {name} differs from the base by more than rank {rank}", "Export it as 'transformers'.")
        down, up = lora_pair(new, old, found)
        pairs[f"base_model.model.{layer}.lora_A.weight"] = down.contiguous()
        pairs[f"base_model.model.{layer}.lora_B.weight"] = up.contiguous()
        ranks[layer] = found
    if not pairs:
        raise ModelError("the model equals its base: there is no adapter", "Check --base.")
    top = max(ranks.values())
    save_file(pairs, str(place / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "bias": "none",
        "r": top, "lora_alpha": top, "lora_dropout": 0.0, "fan_in_fan_out": False, "inference_mode": True,
        "target_modules": sorted({layer.rpartition(".")[2] for layer in ranks}),
        "rank_pattern": {layer: r for layer, r in ranks.items() if r != top},
        "alpha_pattern": {layer: r for layer, r in ranks.items() if r != top},
    }  # fmt: skip
    write_json(place / "adapter_config.json", config)


def _rank(new: Tensor, old: Tensor) -> int:
    """Rank of a change, up to rounding."""
    values = torch.linalg.svdvals(new.double() - old.double())
    return int((values > values[0] * _TOLERANCE).sum())


def _copy_language(model: Path, place: Path, weights: bool) -> None:
    for path in (model / "language").iterdir():
        if path.is_file() and (weights or not path.name.endswith(_WEIGHTS)):
            shutil.copyfile(path, place / path.name)


def _part(path: Path) -> dict[str, Tensor]:
    files = WeightFiles([path])
    return {name: files.tensor(name) for name in files}
