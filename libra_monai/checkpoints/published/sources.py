# SPDX-License-Identifier: Apache-2.0
"""A published checkpoint and what it needs, seen as one model: every tensor by name, read when asked for.

Later folders win over earlier ones (base, then checkpoint), and LoRA is folded into what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from libra_monai import registry
from libra_monai.checkpoints.published.building import connector_spec, language_config
from libra_monai.checkpoints.published.checks import check_names, check_value
from libra_monai.checkpoints.published.layouts import LANGUAGE, LORA, PROJECTOR, WHOLE, Checkpoint, read_checkpoint
from libra_monai.checkpoints.published.lora import LORA_MARK, LoraLayers, plain_name
from libra_monai.checkpoints.published.names import connector_from_published, is_computed, part_of
from libra_monai.checkpoints.published.rules import choose_rule
from libra_monai.errors import ConfigError, ModelError

Source = Callable[[], Tensor]
_TOKENIZER = ("tokenizer.model", "tokenizer.json", "vocab.json")
_NO_CONNECTOR = "Put its mm_projector.bin into the folder, or give a --base that holds it."


@dataclass(frozen=True)
class PublishedModel:
    """What a published checkpoint and its base hold together.

    Args:
        roots: base first, checkpoint last.
        config: published configuration.
        tensors: published name -> reader.
    """

    roots: list[Checkpoint]
    config: Mapping[str, Any]
    tensors: Mapping[str, Source]

    @property
    def kind(self) -> str:
        """`whole`, `projector` or `lora`."""
        return self.roots[-1].kind

    def folders(self) -> list[Path]:
        """The checkpoint's folder, then that of its base."""
        return [root.folder for root in reversed(self.roots)]

    def part(self, name: str) -> dict[str, Source]:
        """Readers of one part's learned tensors under their published names."""
        return {n: read for n, read in self.tensors.items() if part_of(n) == name and not is_computed(n)}

    def kept(self) -> Mapping[str, Any]:
        """What our export wrote down beside the weights, empty for other people's checkpoints."""
        return self.roots[-1].kept

    def kept_part(self, part: str, name: str) -> dict[str, Any]:
        """Arguments a part had before it was exported, if it is the same kind of part."""
        spec = dict((self.kept().get("parts") or {}).get(part) or {})
        return {k: v for k, v in spec.items() if k not in ("name", "weights")} if spec.get("name") == name else {}

    def card(self) -> dict[str, Any]:
        """Name, version and training data of the model."""
        name = self.roots[-1].folder.resolve().name
        return dict(self.kept().get("card") or {"name": name, "version": "imported", "training_data": "unknown"})

    def settings(self, tower: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """By what rule the processor is set, and how.

        Args:
            tower: kind of encoder.
            given: settings that win; None is not given.
        """
        given = {name: value for name, value in given.items() if value is not None}
        kept = dict(self.kept().get("processor") or {})
        if kept:
            kept.pop("tokenizer", None)
            return "none needed, the export kept the settings", {**kept, **given}
        rule = choose_rule(self.config, language_config(self.config)["model_type"], tower)
        aspect = "pad" if self.config.get("image_aspect_ratio") == "pad" else "crop"  # as the original reads it
        return rule.what, {"aspect": aspect, **rule.settings, **given}

    def tokenizer(self) -> Path:
        """Folder of the tokenizer.

        Raises:
            ModelError: there is none.
        """
        for place in self.folders():
            if any((place / name).is_file() for name in _TOKENIZER):
                return place
        raise ModelError(f"{self.folders()[0]} has no tokenizer", "Download tokenizer.model or tokenizer.json with it.")

    def connector(self, encoder: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Entry in `report_model.json`, and the tensors under our names.

        Args:
            encoder: gives the number of layers.

        Raises:
            ModelError: tensors are missing, unexpected or of another shape.
        """
        spec = connector_spec(self.config)
        if spec["name"] == "tac":
            spec["num_layers"] = encoder.num_layers
        spec |= self.kept_part("connector", spec["name"])
        own = {n: read() for n, read in self.part("connector").items()}
        values = connector_from_published(own) if own else {}
        with torch.device("meta"):
            empty = registry.build("connector", **spec)
        check_names(empty.state_dict(), values, "connector", "" if own else _NO_CONNECTOR)
        return spec, values

    def language(self) -> tuple[Any, dict[str, Source]]:
        """The language model without memory, and readers of its tensors that check shape and kind of number.

        Raises:
            ModelError: tensors are missing or unexpected, or tied tensors differ.
        """
        with torch.device("meta"):
            empty = registry.build("language", "causal_lm", config=language_config(self.config)).model
        wanted, own = empty.state_dict(), self.part("language")
        for copy, first in dict(empty.all_tied_weights_keys or {}).items():
            wanted.pop(copy, None)
            read = own.pop(copy, None)
            if read is not None and first in own and not torch.equal(read(), own[first]()):
                raise ModelError(f"tensors {copy} and {first} differ, config.json ties them", "Check config.json.")
        check_names(wanted, own, "language model")
        return empty, {name: _checked(name, read, wanted[name]) for name, read in own.items()}


def open_published(source: str | Path, base: str | Path | None = None) -> PublishedModel:
    """Find out what a folder is, and what its tensors are; nothing is read yet but their names.

    Args:
        source: published folder.
        base: folder of the base language model, for projectors and LoRA.

    Raises:
        ModelError: it is no checkpoint, or its base is missing.
        ConfigError: it describes no report model.
    """
    roots = _with_base(read_checkpoint(source), base)
    config: dict[str, Any] = {}
    for root in roots:
        config.update(root.config)
    if "mm_hidden_size" not in config:
        where = roots[-1].folder / "config.json"
        raise ConfigError(f"{where} has no mm_hidden_size: it describes no report model", "Download it again.")
    return PublishedModel(roots, config, _tensors(roots))


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


def _tensors(roots: list[Checkpoint]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for root in roots:
        for name in root.files:
            if LORA_MARK not in name:
                found[_rooted(plain_name(name))] = _reader(root, name)
        if root.kind != LORA:
            continue
        lora = LoraLayers(root.files, root.adapter)
        for name in lora.targets():
            target = _rooted(name)
            if target not in found:
                raise ModelError(f"LoRA changes {name}, which the base model does not have", "Check --base.")
            found[target] = lora.merged(name, found[target])
    return found


def _reader(root: Checkpoint, name: str) -> Source:
    return lambda: root.files.tensor(name)


def _checked(name: str, read: Source, wanted: Tensor) -> Source:
    def checked() -> Tensor:
        value = read()
        check_value(name, value, wanted)
        return value

    return checked


def _rooted(name: str) -> str:
    """One spelling for names that some files shorten: everything of a language model stands below `model.`."""
    if part_of(name) != "language" or name.startswith(("model.", "lm_head.", "score.")):
        return name
    return f"model.{name}"
