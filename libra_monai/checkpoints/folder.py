# SPDX-License-Identifier: Apache-2.0
"""The model folder: one layout for shipped, saved and imported models.

`report_model.json` (parts by name and arguments, card), `encoder/` and `language/` in the Hugging Face
layout, `connector.safetensors`, `processor.json`. A folder holds all weights, adapters folded in and beside them in
`adapter/`; or, saved with its base, only what was trained, and pointers (`pointers.py`).
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

from libra_monai.checkpoints.adapter_files import (
    bare,
    check_targets,
    fold_in,
    has_adapters,
    is_plain_lora,
    read_adapters,
    save_adapter,
)
from libra_monai.checkpoints.card import FORMAT, MODEL_FILE, POINTING
from libra_monai.checkpoints.pointers import ADAPTER, BASE, Bases, Source, find_source, part_folder, pointer_to, weights_folder
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.checkpoints.unchanged import is_unchanged
from libra_monai.checkpoints.writing import put_in_place
from libra_monai.data.processor import StudyProcessor, check_same_size, read_settings, same_tokenizer
from libra_monai.errors import ConfigError, ModelError
from libra_monai.files import write_json
from libra_monai.networks.pretrained import load_pretrained_strict
from libra_monai.networks.report_model import PARTS, ReportModel
from libra_monai.networks.sharding import named_tensors

logger = logging.getLogger(__name__)
_UNTOUCHED = "Free space there, then save again; what stood there is untouched."


def assemble(
    encoder: nn.Module | None,
    connector: nn.Module | None,
    language: nn.Module,
    weights: str | Mapping[str, str] | None = None,
    trainable: Mapping[str, bool | str] | None = None,
    lora: Mapping[str, Any] | None = None,
    processor: StudyProcessor | None = None,
    base: Bases = None,
) -> ReportModel:
    """Join three parts into a report model and give it weights; the `network_def` of all workflows.

    Args:
        encoder, connector, language: built parts.
        weights: a model folder for all parts, or folders by part name, or None to keep what the parts have.
        trainable, lora: see `ReportModel`.
        processor: checked against the encoder and against what the weights were trained with.
        base: see `load_weights`.

    Raises:
        ConfigError: the parts do not fit together.
        ModelError: the weights do not fit the parts.
    """
    model = ReportModel(encoder, connector, language)
    if weights is not None:
        load_weights(model, weights, base)
    if processor is not None:
        _check_processor(processor, model, weights)
    model.lora = dict(lora or {})
    model.set_trainable(trainable or {})
    return model


def load_weights(model: ReportModel, weights: str | Mapping[str, str], base: Bases = None) -> None:
    """Put weights into the parts of a model, all of them or none.

    Args:
        model: a report model without adapters.
        weights: a model folder for all parts, or folders by part name.
        base: where the base of folders with pointers stands now, if not where they say.

    Raises:
        ModelError: a folder lacks a part or its base, or tensors are missing, unexpected or of another shape.
    """
    folders = dict.fromkeys(PARTS, weights) if isinstance(weights, str) else dict(weights)
    for name in folders:
        if name not in PARTS:
            raise ConfigError(f"ckpt names '{name}', which is no part", f"Parts are {', '.join(PARTS)}.")
    for name in PARTS:
        part = getattr(model, name)
        if part is None or getattr(part, "reads_own_weights", False):
            continue
        if name in folders:
            _load_part(part, name, folders[name], base)
        else:
            logger.warning("%s keeps the weights it was built with: ckpt names no folder for it", name)


def save_model(
    model: ReportModel,
    processor: StudyProcessor,
    folder: str | Path,
    card: Mapping[str, Any],
    half: bool = False,
    base: Bases = None,
) -> Path:
    """Write a model folder; an existing one is replaced when the new one is complete.

    With a base, a frozen part is not written but pointed at, and a part trained by LoRA is a pointer and an adapter.
    A part is written in full if it is trained fully, if it differs from its base, or if the base cannot be pointed
    at: it is no model folder, or stands in the folder that is replaced.

    Args:
        model: the report model.
        processor: what belongs before and after it.
        folder: where to.
        card: `name`, `version`, `training_data`.
        half: store tensors in 16 bits.
        base: what the run got as `ckpt`: a model folder, or folders by part; None writes all weights.

    Raises:
        ModelError: the disk is full or the folder cannot be written; what stood there is untouched.
    """
    folder = Path(folder)
    try:
        return _save_model(model, processor, folder, card, half, base)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be written ({error})", _UNTOUCHED) from error


def _save_model(
    model: ReportModel, processor: StudyProcessor, folder: Path, card: Mapping[str, Any], half: bool, base: Bases
) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        place = Path(temporary) / "model"
        place.mkdir()
        parts: dict[str, Any] = dict.fromkeys(PARTS)
        for name in PARTS:
            part = getattr(model, name)
            if part is None:
                continue
            pointer = _pointer(model, name, part_folder(base, name), folder)
            if pointer:
                parts[name] = {**_save_config(part, name, place), BASE: pointer}
                adapter = save_adapter(part, name, place, half)
                parts[name] |= {ADAPTER: adapter} if adapter else {}
            else:
                parts[name] = _save_part(part, name, place, half)
        if not (parts["language"] or {}).get(BASE):
            save_adapter(model.language, "language", place)  # for those who want it alone; the weights contain it
        processor.save(place)
        pointing = any(spec and BASE in spec for spec in parts.values())
        write_json(place / MODEL_FILE, {"format": POINTING if pointing else FORMAT, "card": dict(card), "parts": parts})
        put_in_place(place, folder)
    return folder


def _pointer(model: ReportModel, name: str, base: str | Path | None, folder: Path) -> dict[str, Any] | None:
    """The pointer that replaces the weights of a part, or None if they must be written."""
    part = getattr(model, name)
    if base is None or model.trainable[name] is True:
        return None
    if has_adapters(part) and not is_plain_lora(part):
        logger.info("%s is saved in full: adapter files cannot hold its kind of LoRA", name)
        return None
    try:
        pointer, source = pointer_to(base, name, folder)
        same = is_unchanged(part, source)
    except (ModelError, OSError) as error:
        logger.info("%s is saved in full: %s", name, getattr(error, "what", error))
        return None
    if not same:
        logger.warning("%s is saved in full: it is no longer what %s holds", name, base)
        return None
    return pointer


def merged_state(part: nn.Module) -> dict[str, Tensor]:
    """The tensors of a part with its adapters folded in, under the names it has without them."""
    tensors, done = {}, set()
    for name, module in part.named_modules():
        if isinstance(module, BaseTunerLayer):
            prefix = f"{name}." if name else ""
            base = module.get_base_layer()
            for key, value in named_tensors(base).items():
                tensors[prefix + key] = value.detach().clone()
            for adapter in module.active_adapters:
                tensors[prefix + "weight"] += module.get_delta_weight(adapter).to(tensors[prefix + "weight"].dtype)
            done.add(prefix)
    for key, value in named_tensors(part).items():
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


def _save_config(part: nn.Module, name: str, folder: Path) -> dict[str, Any]:
    """Write what belongs to a part besides its tensors; its entry in `report_model.json`."""
    spec = dict(getattr(part, "build_spec", None) or {})
    if not spec:
        raise ModelError(f"{name} was not made by libra_monai.build", "Build it by kind and name to save it.")
    inner = bare(part)
    if not isinstance(inner, PreTrainedModel):
        return spec
    inner.config.save_pretrained(str(folder / name))
    if inner.can_generate():
        inner.generation_config.save_pretrained(str(folder / name))
    return {**{key: value for key, value in spec.items() if key != "config"}, "weights": name}


def _save_part(part: nn.Module, name: str, folder: Path, half: bool) -> dict[str, Any]:
    spec, inner = _save_config(part, name, folder), bare(part)
    tensors = merged_state(inner)
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    tensors = {key: value.cpu().contiguous() for key, value in tensors.items()}
    if isinstance(inner, PreTrainedModel):
        tied = set(inner.all_tied_weights_keys or ())
        tensors = {key: value for key, value in tensors.items() if key not in tied}
        save_file(tensors, str(folder / name / "model.safetensors"), metadata={"format": "pt"})
    else:
        save_file(tensors, str(folder / f"{name}.safetensors"), metadata={"format": "pt"})
    return spec


def _load_part(part: nn.Module, name: str, folder: str, base: Bases) -> None:
    source = find_source(folder, name, base)
    have = (getattr(part, "build_spec", None) or {}).get("name")
    if source is None or (have and source.spec["name"] != have):
        found = source.spec["name"] if source else "none"
        raise ModelError(
            f"{folder} holds {name} '{found}', the configuration asks for '{have}'",
            f"Change the {name}, or give `ckpt` by part.",
        )
    target, where = bare(part), f"{folder}: {name}"
    if not isinstance(target, PreTrainedModel):
        load_state(target, tensors_of(source), where)
        return
    with weights_folder(source) as weights:
        if any(p.is_meta for p in target.parameters()):
            part.model = _same_shape(target, weights, where)
            put_adapters(part.model.state_dict(), source)
            return
        tensors = load_pretrained_strict(type(target), weights).state_dict()
    put_adapters(tensors, source)
    load_state(target, tensors, where)


def tensors_of(source: Source) -> dict[str, Tensor]:
    """The tensors of a part that stand in one file of ours, in float32, adapters folded in.

    Args:
        source: of the part.

    Raises:
        ModelError: a file is missing or damaged.
    """
    tensors = read_tensors(source.owner / f"{source.name}.safetensors")
    put_adapters(tensors, source)
    return tensors


def put_adapters(tensors: Mapping[str, Tensor], source: Source) -> None:
    """Fold the adapters of a part into its weights.

    Args:
        tensors: all tensors of the part, changed in place.
        source: of the part.

    Raises:
        ModelError: a file is missing or damaged, or an adapter does not fit.
    """
    adapters = read_adapters(source.adapters)
    check_targets(tensors, adapters, f"{source.folder}: {source.name}")
    fold_in(tensors, adapters)


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
