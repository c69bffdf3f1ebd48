# SPDX-License-Identifier: Apache-2.0
"""Encoder, connector and language model joined: pictures and prompts in, loss or tokens out.

It knows nothing of files, text or decoding options. Every distinct picture of a batch is encoded once,
whatever the number of views, studies or beams that use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.networks.adapters import add_lora, linear_names
from libra_monai.networks.language.splice import has_slots
from libra_monai.networks.quantize import is_quantized, quantize_linears
from libra_monai.networks.sharding import is_sharded
from libra_monai.networks.stand_in import runs_all_parts, with_stand_in
from libra_monai.types import VIEWS, Decoding, Generation, LanguageOutput, Steering, StudyBatch

PARTS = ("encoder", "connector", "language")
DROPOUT = "frozen_with_dropout"  # the original's stage 2 leaves the frozen TAC in training mode


class ReportModel(nn.Module):
    """A report model of three parts.

    Args:
        encoder: pixels to layer features, or None for a language model that takes pictures itself.
        connector: features to slot tokens, or None likewise.
        language: slot tokens and prompt to text.
        trainable: part -> False (frozen, in eval mode), True, `"lora"`, or `"frozen_with_dropout"` (frozen, but its
            dropout stays active in training, as the original's); absent parts are frozen.
        lora: options of LoRA that differ from the published ones.

    Raises:
        ConfigError: widths or layers of neighbours differ, or `trainable` names no part.
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        connector: nn.Module | None,
        language: nn.Module,
        trainable: Mapping[str, bool | str] | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.connector, self.language = encoder, connector, language
        self.trainable: dict[str, bool | str] = dict.fromkeys(PARTS, False)
        self.lora = dict(lora or {})
        _check_fit(encoder, connector, language)
        self.set_trainable(trainable or {})

    def set_trainable(self, trainable: Mapping[str, bool | str]) -> None:
        """Freeze and unfreeze parts; parts with `quantize` are quantised here, when their weights are in.

        Args:
            trainable: part -> False, True, `"lora"` or `"frozen_with_dropout"`; absent parts are frozen. Without any
                part nothing is quantised.

        Raises:
            ConfigError: a name is no part, a value none of the four, or a quantised part is to be trained fully.
        """
        for name, how in trainable.items():
            if name not in PARTS:
                raise ConfigError(f"trainable names '{name}', which is no part", did_you_mean(name, PARTS))
            if how not in (True, False, "lora", DROPOUT):
                raise ConfigError(f"trainable.{name} is {how!r}", f"Use true, false, 'lora' or '{DROPOUT}'.")
        for name in PARTS:
            part, how = getattr(self, name), trainable.get(name, False)
            self.trainable[name] = how
            if part is None:
                continue
            if trainable:
                _quantize(part, name, how)
            if how == "lora":
                add_lora(part, self.lora)
            else:
                part.requires_grad_(how is True)
        self.train(self.training)

    def train(self, mode: bool = True) -> ReportModel:
        """Training mode for trained parts only; frozen parts stay in eval mode, their dropout off."""
        super().train(mode)
        for name in PARTS:
            if getattr(self, name) is not None and not self.trainable[name]:
                getattr(self, name).eval()
        return self

    def forward(self, batch: StudyBatch | Tensor) -> LanguageOutput | Tensor:
        """Loss of a batch; or, for a plain tensor, the visual tokens.

        Args:
            batch: studies with targets, or pictures [B,C,h,w] without priors.

        Returns:
            the loss sum, or [B,T,H] visual tokens.
        """
        if isinstance(batch, Tensor):
            return self.visual_tokens(batch)
        if self.training and is_sharded(self) and not runs_all_parts(batch, self.encoder is not None):  # others wait for every layer
            output = self._learn(with_stand_in(batch))
            return output if len(batch) else LanguageOutput(output.loss_sum * 0, batch.input_ids.new_zeros(()))
        return self._learn(batch)

    def _learn(self, batch: StudyBatch) -> LanguageOutput:
        if len(batch) == 0:
            return LanguageOutput(self._untouched(PARTS), batch.input_ids.new_zeros(()))
        slots = self.slots(batch)
        output = self.language(batch, slots)
        if not slots and self.training and self.encoder is not None:  # no picture in the whole batch
            output = replace(output, loss_sum=output.loss_sum + self._untouched(("encoder", "connector")))
        return output

    def _untouched(self, parts: Sequence[str]) -> Tensor:
        """Zero, with a gradient of zero for every trained parameter: processes must exchange the same ones at each step."""
        modules = [part for name in parts if (part := getattr(self, name)) is not None]
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        nothing = torch.zeros((), device=next(self.parameters()).device)
        return sum((p.sum() * 0 for p in trained), nothing)

    def generate(self, batch: StudyBatch, decoding: Decoding, steering: Steering | None = None) -> list[Generation]:
        """Write one answer a study.

        Args:
            batch: studies.
            decoding: how to choose tokens.
            steering: watches the text as it comes, see `libra_monai.types.Steering`.
        """
        more = {} if steering is None else {"steering": steering}  # parts that write text themselves take none
        return self.language.generate(batch, self.slots(batch), decoding, **more)

    def stream(self, batch: StudyBatch, decoding: Decoding, steering: Steering | None = None) -> Iterator[int]:
        """The ids of the answer of one study, one by one.

        Args:
            batch: one study.
            decoding: greedy or sampling.
            steering: watches the text as it comes.

        Raises:
            ConfigError: the language part does not write word by word.
        """
        if not hasattr(self.language, "stream"):
            raise ConfigError(f"a {type(self.language).__name__} does not write word by word", "Use `report` instead.")
        return self.language.stream(batch, self.slots(batch), decoding, steering)

    def refilled(self, decoding: Decoding, places: int) -> Any:
        """Answers of a stream of batches, see `language.refilling`.

        Args:
            decoding: greedy search or sampling.
            places: studies written side by side.

        Raises:
            ConfigError: the language part writes batch by batch only, or the options do not allow it.
        """
        if not hasattr(self.language, "refilled"):
            raise ConfigError(f"a {type(self.language).__name__} writes batch by batch", "Set `refill` to false.")
        return self.language.refilled(self.slots, decoding, places)

    def slots(self, batch: StudyBatch) -> dict[str, Tensor]:
        """Slot tokens of B studies, name -> [B,T,H]; empty for prompts without slots.

        A connector with `takes_records` shows what the records say instead of pictures: `forward(None, index, embed,
        records=...)`. It serves pre-training.
        """
        if self.encoder is None or self.connector is None:
            return {}
        if getattr(self.connector, "takes_records", False):  # shows what the records say; no encoder runs
            return self.connector(None, batch.index, self.language.embed, records=batch.records)
        if len(batch.images) == 0 or (self.language.takes == "embeddings" and not has_slots(batch)):
            return {}
        images, index = _looked_at(batch, getattr(self.connector, "views", VIEWS))
        with nullcontext() if self.trainable["encoder"] in (True, "lora") else torch.no_grad():
            features = self.encoder(images)
        seen = torch.stack([index[view] for view in sorted(index)], dim=1)
        distinct, place = seen.unique(dim=0, return_inverse=True)
        if self.training or len(distinct) == len(seen):  # in training, dropout differs from row to row
            return self.connector(features, index, self.language.embed)
        index = dict(zip(sorted(index), distinct.unbind(dim=1), strict=True))  # several questions on one study
        return {name: tokens[place] for name, tokens in self.connector(features, index, self.language.embed).items()}

    def visual_tokens(self, images: Tensor) -> Tensor:
        """What B pictures without priors look like to the language model, [B,C,h,w] to [B,T,H]."""
        rows = torch.arange(len(images), device=images.device)
        index = {"current": rows, "prior": torch.full_like(rows, -1), "lateral": torch.full_like(rows, -1)}
        if self.encoder is None or self.connector is None:
            raise ConfigError("this model has no encoder and connector", "Its language model takes pictures itself.")
        return next(iter(self.connector(self.encoder(images), index, self.language.embed).values()))


def _looked_at(batch: StudyBatch, views: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The pictures a connector looks at, and the index into them; the others are not encoded."""
    rows = torch.cat([batch.index[view] for view in views]).unique()
    rows = rows[rows >= 0]
    if len(rows) == len(batch.images):
        return batch.images, batch.index
    place = torch.full((len(batch.images) + 1,), -1, dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    # index -1 reads the last place, which stays -1
    return batch.images[rows], {view: place[batch.index[view]] for view in batch.index}


def _quantize(part: nn.Module, name: str, how: bool | str) -> None:
    """Put the linear layers of a part that asks for it into fewer bits."""
    kind = getattr(part, "quantize", None)
    if kind and how is True:
        raise ConfigError(f"{name} is quantised ({kind}) and cannot be trained fully", "Use 'lora', or no `quantize`.")
    if kind and not any(map(is_quantized, part.modules())):
        quantize_linears(part, linear_names(part), kind)


def _check_fit(encoder: nn.Module | None, connector: nn.Module | None, language: nn.Module) -> None:
    """Refuse neighbours that do not fit, in words instead of a shape error in the first batch."""
    if (encoder is None) != (connector is None):
        raise ConfigError("only one of encoder and connector is given", "Give both, or neither.")
    if encoder is None or connector is None:
        return
    pairs = [("width", encoder, connector), ("num_layers", encoder, connector), ("hidden_size", language, connector)]
    for name, giver, taker in pairs:
        given, taken = getattr(giver, name, None), getattr(taker, name, None)
        if given is not None and taken is not None and given != taken:
            raise ConfigError(
                f"connector.{name} is {taken}, but the {type(giver).__name__} has {given}", "Make them equal."
            )
