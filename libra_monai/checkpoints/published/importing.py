# SPDX-License-Identifier: Apache-2.0
"""A published checkpoint to a model folder, tensor by tensor.

Whole checkpoints, a projector with its base, LoRA with its base and `non_lora_trainables.bin`. Every tensor of the
model must be found and every tensor of the checkpoint used; nothing is left random. Tensors keep their type, and
never more than one shard is in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from libra_monai import registry
from libra_monai.checkpoints.published.building import (
    TOWERS,
    connector_spec,
    encoder_options,
    language_config,
)
from libra_monai.checkpoints.published.layouts import LANGUAGE, LORA, PROJECTOR, WHOLE, Checkpoint, read_checkpoint
from libra_monai.checkpoints.published.lora import LoraLayers
from libra_monai.checkpoints.published.names import (
    connector_from_published,
    encoder_from_published,
    encoder_kind,
    is_computed,
    part_of,
)
from libra_monai.checkpoints.published.rules import choose_rule
from libra_monai.checkpoints.published.shards import ShardWriter
from libra_monai.checkpoints.writing import finish_folder, processor_of, save_encoder
from libra_monai.errors import ConfigError, ModelError

Source = Callable[[], Tensor]
_TOWER_FILE = "vision_config.json"  # written by our export; the original builds its tower from the hub's
_NOT_SHAPE = ("architectures", "_name_or_path", "transformers_version", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Args:
        folder: the model folder.
        kind: of the source, such as `whole`.
        rule: in words, by what the settings were chosen.
        settings: of the processor.
        counts: part -> number of tensors.
    """

    folder: Path
    kind: str
    rule: str
    settings: Mapping[str, Any]
    counts: Mapping[str, int]


def import_weights(
    source: str | Path,
    out: str | Path,
    base: str | Path | None = None,
    encoder: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Imported:
    """Write a model folder from a published checkpoint.

    Args:
        source: published folder.
        out: model folder to write; replaced when the new one is complete.
        base: folder of the base language model, for projectors and LoRA.
        encoder: folder or hub name of the encoder; default what the configuration names.
        settings: processor settings to use instead of those of the rule.

    Raises:
        ModelError: the source is no checkpoint, or its tensors do not fit.
        ConfigError: its configuration names something unknown.
    """
    checkpoint = read_checkpoint(source)
    roots = _with_base(checkpoint, base)
    config = _joined_config(roots)
    language = language_config(config)
    rule = choose_rule(config, language["model_type"])
    chosen = {**rule.settings, **{k: v for k, v in (settings or {}).items() if v is not None}}
    tensors = _tensors(roots)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        place = Path(scratch) / "model"
        place.mkdir()
        parts, counts = {}, {}
        parts["encoder"], counts["encoder"], module = _encoder(place, config, tensors, encoder, roots)
        parts["connector"], counts["connector"] = _connector(place, config, tensors, module)
        parts["language"], counts["language"] = _language(place, language, tensors, roots)
        processor = processor_of(_tokenizer_folder(roots), module, chosen)
        card = {"name": Path(source).resolve().name, "version": "imported", "training_data": "unknown"}
        finish_folder(place, out, parts, processor, card)
    return Imported(out, checkpoint.kind, rule.what, processor.settings, counts)


def _with_base(checkpoint: Checkpoint, base: str | Path | None) -> list[Checkpoint]:
    """The checkpoint and what it needs, the base first."""
    if checkpoint.kind == WHOLE:
        return [checkpoint]
    if checkpoint.kind == LANGUAGE:
        raise ModelError(f"{checkpoint.folder} has no connector: it is a language model alone", "Give it as --base.")
    named = base or checkpoint.adapter.get("base_model_name_or_path") or checkpoint.config.get("_name_or_path")
    if not named or not Path(str(named)).is_dir():
        hint = f" (it was made from {named})" if named else ""
        what = "LoRA" if checkpoint.kind == LORA else "a projector"
        raise ModelError(f"{checkpoint.folder} is {what} and needs its base model{hint}", "Give its folder as --base.")
    below = read_checkpoint(named)
    if below.kind in (PROJECTOR, LORA):
        raise ModelError(f"--base {named} is no whole model", "Give the folder of the base language model.")
    return [below, checkpoint]


def _joined_config(roots: list[Checkpoint]) -> dict[str, Any]:
    """The last configuration that describes a report model, with the base's fields below it."""
    config: dict[str, Any] = {}
    for root in roots:
        config.update(root.config)
    if "mm_hidden_size" not in config:
        where = roots[-1].folder / "config.json"
        raise ConfigError(f"{where} has no mm_hidden_size: it describes no report model", "Download it again.")
    return config


def _tensors(roots: list[Checkpoint]) -> dict[str, Source]:
    """Published name -> where its value comes from; later checkpoints win, LoRA is folded in."""
    found: dict[str, Source] = {}
    for root in roots:
        lora = LoraLayers(root.files, root.adapter) if root.kind == LORA else None
        for name in root.files:
            plain = name.replace("base_model.model.", "").replace("base_layer.", "").replace(".modules_to_save.default", "")
            if ".lora_" not in name:
                found[_rooted(plain)] = _reader(root, name)
        if lora is not None:
            for name in lora.targets():
                target = _rooted(name)
                if target not in found:
                    raise ModelError(f"LoRA changes {name}, which the base model does not have", "Check --base.")
                found[target] = lora.merged(name, found[target])
    return found


def _reader(root: Checkpoint, name: str) -> Source:
    return lambda: root.files.tensor(name)


def _rooted(name: str) -> str:
    """One spelling for names that some files shorten: everything of a language model stands below `model.`."""
    if part_of(name) != "language" or name.startswith(("model.", "lm_head.", "score.")):
        return name
    return f"model.{name}"


def _encoder(
    place: Path, config: Mapping[str, Any], tensors: Mapping[str, Source], given: str | None, roots: list[Checkpoint]
) -> tuple[dict[str, Any], int, nn.Module]:
    own = [name for name in tensors if part_of(name) == "encoder"]
    named = str(config.get("mm_vision_tower") or "")
    options = encoder_options(config)
    if own:
        kind = encoder_kind(own) or ""
        module = _adapted_tower(kind, _tower_shape(kind, named, given, roots), options)
        values = encoder_from_published({n: tensors[n] for n in own}, module.model.state_dict())
        values = {name: read() for name, read in values.items()}
        _check_names(module.model.state_dict(), values, "encoder")
        module.model.load_state_dict(values, strict=False, assign=True)
    else:
        kind = _kind_of_tower(given or named)
        module = registry.build("encoder", kind, weights=given or named, **options)
    spec = save_encoder(module, place, {"name": kind, **options})
    return spec, len(module.model.state_dict()), module


def _adapted_tower(kind: str, shape: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    """An empty tower for weights that stand in the checkpoint itself."""
    try:
        return registry.build("encoder", kind, config=dict(shape), **options)
    except TypeError as error:
        raise ModelError(f"the encoder's configuration does not fit '{kind}' ({error})", "Check --encoder.") from error


def _tower_shape(kind: str, named: str, given: str | None, roots: list[Checkpoint]) -> dict[str, Any]:
    """Fields of the encoder's configuration: of the checkpoint, of --encoder, or of the published tower."""
    from transformers import AutoConfig

    if kind == "open_clip" or not kind:
        raise ModelError("the checkpoint's encoder is one of open_clip, which is not built in", "Install a plugin for it.")
    own = next((r.folder / _TOWER_FILE for r in reversed(roots) if (r.folder / _TOWER_FILE).is_file()), given)
    if own:
        found = AutoConfig.from_pretrained(str(own))
        found = getattr(found, "vision_config", found)
        return {k: v for k, v in found.to_dict().items() if k not in _NOT_SHAPE}
    known = TOWERS.get(named)
    if known is None or known[0] != kind:
        remedy = "Give a folder with its config.json as --encoder."
        raise ModelError(f"the shape of the encoder '{named}' is not known", remedy)
    return dict(known[1])


def _kind_of_tower(name: str) -> str:
    """The registered encoder for a folder or hub name, by its configuration."""
    from transformers import AutoConfig

    remedy = f"Download {name or 'the encoder'} and give its folder as --encoder."
    try:
        family = AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as error:
        raise ModelError(f"the encoder {name or '(not named)'} is not in the checkpoint and cannot be loaded", remedy) from error
    kinds = {"dinov2": "dinov2", "clip": "clip", "clip_vision_model": "clip", "siglip": "siglip", "siglip_vision_model": "siglip"}
    if family not in kinds:
        raise ModelError(f"the encoder {name} is of family '{family}', which is not built in", "Install a plugin for it.")
    return kinds[family]


def _connector(
    place: Path, config: Mapping[str, Any], tensors: Mapping[str, Source], encoder: nn.Module
) -> tuple[dict[str, Any], int]:
    spec = connector_spec(config)
    if spec["name"] == "tac":
        spec["num_layers"] = encoder.num_layers
    values = connector_from_published({n: read() for n, read in tensors.items() if part_of(n) == "connector"})
    with torch.device("meta"):
        empty = registry.build("connector", **spec)
    _check_names(empty.state_dict(), values, "connector")
    writer = ShardWriter(place, "connector")
    for name, value in values.items():
        writer.add(name, value)
    writer.close(single=True)
    return spec, len(values)


def _language(
    place: Path, config: Mapping[str, Any], tensors: Mapping[str, Source], roots: list[Checkpoint]
) -> tuple[dict[str, Any], int]:
    with torch.device("meta"):
        empty = registry.build("language", "causal_lm", config=dict(config)).model
    wanted, tied = empty.state_dict(), set(empty.all_tied_weights_keys or ())
    own = {n: read for n, read in tensors.items() if part_of(n) == "language" and not is_computed(n)}
    wanted = {name: value for name, value in wanted.items() if name not in tied}
    own = {name: read for name, read in own.items() if name not in tied}
    _check_names(wanted, own, "language model")
    folder = place / "language"
    folder.mkdir()
    writer = ShardWriter(folder, "model")
    for name, read in own.items():
        value = read()
        _check_shape(name, value, wanted[name])
        writer.add(name, value)
    writer.close()
    empty.config.dtype = None
    empty.config.save_pretrained(str(folder))
    _generation_config(empty, roots, folder)
    return {"name": "causal_lm", "weights": "language"}, len(own)


def _generation_config(empty: nn.Module, roots: list[Checkpoint], folder: Path) -> None:
    """End and padding ids, from the checkpoint's own file where it has one."""
    from transformers import GenerationConfig

    for root in reversed(roots):
        if (root.folder / "generation_config.json").is_file():
            own = GenerationConfig.from_pretrained(str(root.folder))
            ids = {k: getattr(own, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
            GenerationConfig(**ids).save_pretrained(str(folder))
            return
    empty.generation_config.save_pretrained(str(folder))


def _tokenizer_folder(roots: list[Checkpoint]) -> Path:
    names = ("tokenizer.model", "tokenizer.json", "vocab.json", "tokenizer_config.json")
    for root in reversed(roots):
        if any((root.folder / name).is_file() for name in names[:3]):
            return root.folder
    raise ModelError(f"{roots[-1].folder} has no tokenizer", f"Download {', '.join(names[:2])} and {names[3]}.")


def _check_names(wanted: Mapping[str, Tensor], found: Iterable[str] | Mapping[str, Any], where: str) -> None:
    have = set(found)
    for what, names in (("missing", set(wanted) - have), ("unexpected", have - set(wanted))):
        if names:
            listed = sorted(names)
            more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
            raise ModelError(f"{where}: tensors {what}: {', '.join(listed[:5])}{more}", "Check config.json and weights.")
    if isinstance(found, Mapping):
        for name, value in found.items():
            if isinstance(value, Tensor):
                _check_shape(name, value, wanted[name])


def _check_shape(name: str, value: Tensor, wanted: Tensor) -> None:
    if value.shape != wanted.shape:
        raise ModelError(
            f"tensor {name} has shape {list(value.shape)}, config.json makes it {list(wanted.shape)}", "Check config.json."
        )
