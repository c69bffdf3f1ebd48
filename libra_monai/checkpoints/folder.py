# SPDX-License-Identifier: Apache-2.0
"""The model folder: one layout for shipped, saved and imported models.

`report_model.json` (parts by name and arguments, card), `encoder/` and `language/` in the Hugging Face
layout, `connector.safetensors`, `processor.json`. Adapters are folded into the saved
weights, and stand beside them in `adapter/`.
A folder is complete or absent: it is written beside its place and renamed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from libra_monai.checkpoints.card import MODEL_FILE, read_model_file
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.data.processor import StudyProcessor, check_same_size, read_settings, same_tokenizer
from libra_monai.errors import ConfigError, ModelError
from libra_monai.files import share, write_json
from libra_monai.networks.adapters import lora_state
from libra_monai.networks.pretrained import load_pretrained_strict
from libra_monai.networks.report_model import PARTS, ReportModel

logger = logging.getLogger(__name__)
FORMAT = 1
ADAPTER = "adapter"  # folder of the LoRA that the saved weights contain, for those who want it alone


def assemble(
    encoder: nn.Module | None,
    connector: nn.Module | None,
    language: nn.Module,
    weights: str | Mapping[str, str] | None = None,
    trainable: Mapping[str, bool | str] | None = None,
    lora: Mapping[str, Any] | None = None,
    processor: StudyProcessor | None = None,
) -> ReportModel:
    """Join three parts into a report model and give it weights; the `network_def` of all workflows.

    Args:
        encoder, connector, language: built parts.
        weights: a model folder for all parts, or folders by part name, or None to keep what the parts have.
        trainable, lora: see `ReportModel`.
        processor: checked against the encoder and against what the weights were trained with.

    Raises:
        ConfigError: the parts do not fit together.
        ModelError: the weights do not fit the parts.
    """
    model = ReportModel(encoder, connector, language)
    if weights is not None:
        load_weights(model, weights)
    if processor is not None:
        _check_processor(processor, model, weights)
    model.lora = dict(lora or {})
    model.set_trainable(trainable or {})
    return model


def load_weights(model: ReportModel, weights: str | Mapping[str, str]) -> None:
    """Put weights into the parts of a model, all of them or none.

    Args:
        model: a report model without adapters.
        weights: a model folder for all parts, or folders by part name.

    Raises:
        ModelError: a folder lacks a part, or tensors are missing, unexpected or of another shape.
    """
    folders = dict.fromkeys(PARTS, weights) if isinstance(weights, str) else dict(weights)
    for name in folders:
        if name not in PARTS:
            raise ConfigError(f"ckpt names '{name}', which is no part", f"Parts are {', '.join(PARTS)}.")
    for name in PARTS:
        part = getattr(model, name)
        if part is None:
            continue
        if name in folders:
            _load_part(part, name, folders[name])
        else:
            logger.warning("%s keeps the weights it was built with: ckpt names no folder for it", name)


def save_model(
    model: ReportModel,
    processor: StudyProcessor,
    folder: str | Path,
    card: Mapping[str, Any],
    half: bool = False,
) -> Path:
    """Write a model folder; an existing one is replaced when the new one is complete.

    Args:
        model: the report model.
        processor: what belongs before and after it.
        folder: where to.
        card: `name`, `version`, `training_data`.
        half: store tensors in 16 bits.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        place = Path(temporary) / "model"
        place.mkdir()
        parts = {
            name: _save_part(getattr(model, name), name, place, half) if getattr(model, name) is not None else None
            for name in PARTS
        }
        _save_adapter(model.language, place)
        processor.save(place)
        write_json(place / MODEL_FILE, {"format": FORMAT, "card": dict(card), "parts": parts})
        for path in place.rglob("*.safetensors"):  # safetensors writes private files
            share(path)
        old = Path(temporary) / "old"
        if folder.exists():
            folder.rename(old)
        place.rename(folder)
    return folder


def _save_adapter(language: nn.Module, place: Path) -> None:
    """LoRA of the language model in PEFT's layout, beside the weights that have it folded in already."""
    found = lora_state(language)
    if found is not None:
        (place / ADAPTER).mkdir()
        save_file(found[0], str(place / ADAPTER / "adapter_model.safetensors"), metadata={"format": "pt"})
        write_json(place / ADAPTER / "adapter_config.json", found[1])


def merged_state(part: nn.Module) -> dict[str, Tensor]:
    """The tensors of a part with its adapters folded in, under the names it has without them."""
    tensors, done = {}, set()
    for name, module in part.named_modules():
        if isinstance(module, BaseTunerLayer):
            prefix = f"{name}." if name else ""
            base = module.get_base_layer()
            for key, value in base.state_dict().items():
                tensors[prefix + key] = value.detach().clone()
            for adapter in module.active_adapters:
                tensors[prefix + "weight"] += module.get_delta_weight(adapter).to(tensors[prefix + "weight"].dtype)
            done.add(prefix)
    for key, value in part.state_dict().items():
        if not any(key.startswith(prefix) for prefix in done):
            tensors[key] = value.detach()
    return tensors


def _check_processor(processor: StudyProcessor, model: ReportModel, weights: str | Mapping[str, str] | None) -> None:
    """Refuse a processor other than the one the weights were trained with; only the task may differ."""
    if model.encoder is not None:
        check_same_size(processor, model.encoder)
    folders = dict.fromkeys(PARTS, weights) if isinstance(weights, str) else dict(weights or {})
    if "encoder" in folders:
        saved = read_settings(folders["encoder"])
        for name in ("image_size", "channels", "mean", "std", "fill", "aspect"):
            if name in saved and processor.settings[name] != saved[name]:
                raise ConfigError(
                    f"processor.{name} is {processor.settings[name]}, but {folders['encoder']} was trained with {saved[name]}",
                    f"Set --processor#{name} {saved[name]}.",
                )
    if "language" in folders and not same_tokenizer(processor, folders["language"]):
        own = Path(folders["language"]) / read_settings(folders["language"])["tokenizer"]
        raise ConfigError(
            f"processor.tokenizer is not the one {folders['language']} was trained with",
            f"Set --processor#tokenizer {own}.",
        )


def _save_part(part: nn.Module, name: str, folder: Path, half: bool) -> dict[str, Any]:
    spec = dict(getattr(part, "build_spec", None) or {})
    if not spec:
        raise ModelError(f"{name} was not made by libra_monai.build", "Build it by kind and name to save it.")
    inner = getattr(part, "model", None)
    tensors = merged_state(inner if isinstance(inner, PreTrainedModel) else part)
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    tensors = {key: value.cpu().contiguous() for key, value in tensors.items()}
    if isinstance(inner, PreTrainedModel):
        inner.config.save_pretrained(str(folder / name))
        if inner.can_generate():
            inner.generation_config.save_pretrained(str(folder / name))
        tied = set(inner.all_tied_weights_keys or ())
        tensors = {key: value for key, value in tensors.items() if key not in tied}
        save_file(tensors, str(folder / name / "model.safetensors"), metadata={"format": "pt"})
        return {**{key: value for key, value in spec.items() if key != "config"}, "weights": name}
    save_file(tensors, str(folder / f"{name}.safetensors"), metadata={"format": "pt"})
    return spec


def _load_part(part: nn.Module, name: str, folder: str) -> None:
    spec = read_model_file(folder)["parts"].get(name)
    have = (getattr(part, "build_spec", None) or {}).get("name")
    if spec is None or (have and spec["name"] != have):
        found = spec["name"] if spec else "none"
        raise ModelError(
            f"{folder} holds {name} '{found}', the configuration asks for '{have}'",
            f"Change the {name}, or give `ckpt` by part.",
        )
    inner = getattr(part, "model", None)
    if isinstance(inner, PreTrainedModel) and any(p.is_meta for p in inner.parameters()):
        part.model = _same_shape(inner, str(Path(folder) / spec["weights"]), f"{folder}: {name}")
        return
    if isinstance(inner, PreTrainedModel):
        target, tensors = inner, load_pretrained_strict(type(inner), str(Path(folder) / spec["weights"])).state_dict()
    else:
        target, tensors = part, read_tensors(Path(folder) / f"{name}.safetensors")
    load_state(target, tensors, f"{folder}: {name}")


def _same_shape(empty: PreTrainedModel, weights: str, where: str) -> PreTrainedModel:
    """The weights of a part that was built without memory, in the float type of their files."""
    files = WeightFiles(weight_files(Path(weights)))
    stored = next((t.dtype for t in map(files.tensor, files) if t.is_floating_point()), None)
    loaded = load_pretrained_strict(type(empty), weights, dtype=stored)
    shapes = [{key: tuple(v.shape) for key, v in model.state_dict().items()} for model in (empty, loaded)]
    different = sorted(key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key))
    if different:
        raise ModelError(f"{where}: tensor {different[0]} has another shape", "Use the configuration it was saved with.")
    return loaded


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "The model folder is incomplete; save or download it again.")
    try:
        return {key: v.float() if v.is_floating_point() else v for key, v in load_file(str(path)).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged ({error})", "Save or download the model again.") from error


def load_state(target: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Strict loading that names what does not fit; nothing is left random silently.

    Args:
        target: the module.
        tensors: all its tensors.
        where: what is loaded, for the message.

    Raises:
        ModelError: tensors are missing, unexpected, or of another shape.
    """
    own = target.state_dict()
    missing, unexpected = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    shapes = [
        f"{key} {list(tensors[key].shape)} for {list(value.shape)}"
        for key, value in own.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ModelError(
                f"{where}: tensors {what}: {', '.join(names[:5])}{more}", "Use the configuration it was saved with."
            )
    target.load_state_dict(dict(tensors))
