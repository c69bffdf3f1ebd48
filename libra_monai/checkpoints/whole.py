# SPDX-License-Identifier: Apache-2.0
"""A model folder that points at a base, made whole: every part in it, adapters folded in, one shard in memory at a time.

Weights keep the type of their files, or take that of the adapter where it is finer, as a run would have saved them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from libra_monai.checkpoints.adapter_files import adapter_folder, check_targets, fold_in, read_adapters
from libra_monai.checkpoints.card import FORMAT, MODEL_FILE, read_model_file
from libra_monai.checkpoints.pointers import ADAPTER, BASE, Bases, Source, find_source, index_and_weights
from libra_monai.checkpoints.published.lora import LoraLayers
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.checkpoints.published.shards import ShardWriter
from libra_monai.files import write_json


@contextmanager
def whole_folder(folder: Path, scratch: Path) -> Iterator[Path]:
    """A model folder with all its weights, for as long as they are read: itself, or links and merged parts in a scratch one.

    Args:
        folder: a model folder.
        scratch: an existing folder on a disk that has room for the parts with adapters.
    """
    if not any(spec and BASE in spec for spec in read_model_file(folder)["parts"].values()):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=".whole.", dir=scratch) as temporary:
        place = Path(temporary) / folder.resolve().name
        fill(folder, place, link=True)
        yield place


def fill(folder: Path, place: Path, base: Bases = None, link: bool = False) -> None:
    """Write all of a model into a new folder.

    Args:
        folder: a model folder, with pointers or without.
        place: the folder to make.
        base: where the base stands now, see `find_source`.
        link: link to weights that need no merging, for folders that are read and thrown away.

    Raises:
        ModelError: a base is missing or has changed.
    """
    content = read_model_file(folder)
    sources = {name: find_source(folder, name, base) for name in content["parts"]}
    aside = {adapter_folder(name) for name in sources if name != "language"}  # their weights will contain them
    shutil.copytree(folder, place, ignore=lambda _, names: aside & set(names), copy_function=_link if link else shutil.copyfile)
    for name, source in sources.items():
        if source is not None and BASE in source.spec:
            _fill_part(source, place, link)
    parts = {name: _plain(spec) if spec else None for name, spec in content["parts"].items()}
    write_json(place / MODEL_FILE, {"format": FORMAT, "card": content["card"], "parts": parts})


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in (BASE, ADAPTER)}


def _fill_part(source: Source, place: Path, link: bool) -> None:
    """Put the weights of a part that is pointed at into a folder."""
    single = not source.weights.is_dir()
    files = [source.weights] if single else index_and_weights(source.weights)
    target = place if single else place / source.name
    if not source.adapters:
        for path in files:
            (_link if link else shutil.copyfile)(str(path), str(target / path.name))
        return
    adapters = read_adapters(source.adapters)
    tensors = WeightFiles([source.weights] if single else weight_files(source.weights))
    where = f"{source.folder}: {source.name}"
    if single:
        merged = dict(_merged(tensors, adapters, where))
        save_file(merged, str(target / f"{source.name}.safetensors"), metadata={"format": "pt"})
        return
    writer = ShardWriter(target, "model")
    for name, value in _merged(tensors, adapters, where):
        writer.add(name, value)
    writer.close()


def _merged(tensors: WeightFiles, adapters: list[LoraLayers], where: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a part one by one with their adapters folded in."""
    check_targets(tensors, adapters, where)
    finest = [adapter.files.tensor(next(iter(adapter.files))).dtype for adapter in adapters]
    for name in tqdm(tensors, desc="folding in adapters", unit="tensor", delay=2, leave=False):
        value = tensors.tensor(name)
        if value.is_floating_point():
            value = value.to(reduce(torch.promote_types, finest, value.dtype))
        fold_in({name: value}, adapters)
        yield name, value


def _link(source: str, target: str) -> str:
    """Link weights; copy small files, which may be written anew."""
    if source.endswith(".safetensors"):
        os.symlink(os.path.realpath(source), target)
    else:
        shutil.copyfile(source, target)
    return target
