# SPDX-License-Identifier: Apache-2.0
"""A published checkpoint to a model folder, tensor by tensor, or to a model in memory.

Whole checkpoints, a projector with its base, LoRA with its base and `non_lora_trainables.bin`. Every tensor of the
model must be found and every tensor of the checkpoint used; nothing is left random. In the folder tensors keep
their type, and never more than one shard is in memory.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import GenerationConfig
from transformers.utils import logging as library_logging

from libra_monai import registry
from libra_monai.checkpoints.folder import load_state
from libra_monai.checkpoints.published.building import language_config
from libra_monai.checkpoints.published.shards import ShardWriter
from libra_monai.checkpoints.published.sources import PublishedModel, Source, open_published
from libra_monai.checkpoints.published.towers import build_tower, kind_of_tower
from libra_monai.checkpoints.writing import check_replaceable, finish_folder, processor_of, save_encoder
from libra_monai.data.processor import StudyProcessor
from libra_monai.networks.report_model import ReportModel


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
        ConfigError: its configuration names something unknown, or `out` is no model folder but full.
    """
    out = Path(out)
    check_replaceable(out)
    model = open_published(source, base)
    tower = kind_of_tower(model, encoder)
    rule, chosen = model.settings(tower, settings or {})
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        place = Path(scratch) / "model"
        place.mkdir()
        parts, counts = {}, {}
        spec, module = build_tower(model, tower, encoder)
        parts["encoder"], counts["encoder"] = save_encoder(module, place, spec), len(module.model.state_dict())
        parts["connector"], counts["connector"] = _connector(model, place, module)
        parts["language"], counts["language"] = _language(model, place)
        processor = processor_of(model.tokenizer(), module, chosen)
        finish_folder(place, out, parts, processor, model.card())
    return Imported(out, model.kind, rule, processor.settings, counts)


def load_published(
    source: str | Path, encoder: str | None = None, dtype: torch.dtype = torch.float32
) -> tuple[ReportModel, StudyProcessor, dict[str, Any]]:
    """The model of a published checkpoint in memory, its processor and its card; nothing is written.

    Args:
        source: published folder.
        encoder: folder or hub name of the encoder; default what the configuration names.
        dtype: float type of the weights.

    Raises:
        ModelError: the source is no checkpoint, or its tensors do not fit.
        ConfigError: its configuration names something unknown.
    """
    model = open_published(source)
    tower = kind_of_tower(model, encoder)
    _, module = build_tower(model, tower, encoder)
    spec, values = model.connector(module)
    connector = registry.build("connector", **spec)
    load_state(connector, values, f"{source}: connector")
    language = _language_in_memory(model, dtype)
    processor = processor_of(model.tokenizer(), module, model.settings(tower, {})[1])
    return ReportModel(module, connector, language), processor, model.card()


def _language_in_memory(model: PublishedModel, dtype: torch.dtype) -> nn.Module:
    empty, readers = model.language()
    tensors = {name: read().to(dtype, copy=True) for name, read in _bar(readers)}  # copied, since files may change
    options = {**model.kept_part("language", "causal_lm"), "config": language_config(model.config), "meta": True}
    part = registry.build("language", "causal_lm", **options)
    with _without_bars():
        part.model = type(empty).from_pretrained(None, config=empty.config, state_dict=tensors, dtype=dtype)
    part.model.generation_config = _generation_config(model, empty)
    part.build_spec = {key: value for key, value in part.build_spec.items() if key != "meta"}
    return part


def _connector(model: PublishedModel, place: Path, encoder: nn.Module) -> tuple[dict[str, Any], int]:
    spec, values = model.connector(encoder)
    writer = ShardWriter(place, "connector", limit=sys.maxsize)
    for name, value in values.items():
        writer.add(name, value)
    writer.close(single=True)
    return spec, len(values)


def _language(model: PublishedModel, place: Path) -> tuple[dict[str, Any], int]:
    empty, readers = model.language()
    folder = place / "language"
    folder.mkdir()
    writer = ShardWriter(folder, "model")
    for name, read in _bar(readers):
        writer.add(name, read())
    writer.close()
    empty.config.dtype = None
    empty.config.save_pretrained(str(folder))
    _generation_config(model, empty).save_pretrained(str(folder))
    return {"name": "causal_lm", "weights": "language", **model.kept_part("language", "causal_lm")}, len(readers)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without Transformers' bar for tensors that are in memory already."""
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library_logging.enable_progress_bar()


def _bar(readers: Mapping[str, Source]) -> tqdm:
    return tqdm(readers.items(), desc="language model", unit="tensor", delay=2, leave=False)


def _generation_config(model: PublishedModel, empty: nn.Module) -> GenerationConfig:
    """End and padding ids, from the checkpoint's own file where it has one."""
    for folder in model.folders():
        if (folder / "generation_config.json").is_file():
            own = GenerationConfig.from_pretrained(str(folder))
            return GenerationConfig(**{k: getattr(own, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")})
    return empty.generation_config
