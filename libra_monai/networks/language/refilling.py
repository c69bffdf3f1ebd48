# SPDX-License-Identifier: Apache-2.0
"""A stream of studies through a fixed number of places: where answers end, waiting studies begin.

A batch that is written to its end reads all weights for fewer and fewer rows; here the rows stay many. It replaces the continuous batching of
servers such as vLLM, and of transformers, whose own takes ids and no embeddings. Beam search is the library's closed loop and cannot be refilled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from libra_monai.errors import ConfigError
from libra_monai.networks.language.choosing import Choice, end_ids
from libra_monai.networks.language.generating import Answer, by_study, check_decoding
from libra_monai.networks.language.prefix import Prompts
from libra_monai.networks.language.rows import COMPACT, Rows, Said
from libra_monai.types import Decoding, Generation, Steering, StudyBatch


class Refilled:
    """Writes answers of studies that come in batches; each study's tokens are those it gets in a batch of its own.

    Args:
        model: a causal language model.
        read: from a batch to its prompts.
        decoding: greedy search or sampling.
        places: studies that are written side by side.

    Raises:
        ConfigError: beams, a static cache, or no place.
    """

    def __init__(self, model: nn.Module, read: Callable[[StudyBatch], Prompts], decoding: Decoding, places: int) -> None:
        check_decoding(decoding)
        if decoding.num_beams > 1 or decoding.static_cache:
            what = "num_beams above 1" if decoding.num_beams > 1 else "static_cache"
            raise ConfigError(f"refill does not go with decoding.{what}", "Set `refill` to false, or use greedy search or sampling.")
        if places < 1:
            raise ConfigError(f"refill with {places} places", "Give a batch_size of 1 or more.")
        self.model, self.read, self.decoding, self.places = model, read, decoding, places
        self._rows, self._ends = Rows(model, decoding), end_ids(model)
        self._waiting: deque[_Waiting] = deque()
        self._open: dict[int, _Open] = {}  # by number of the study
        self._seen = 0

    @torch.no_grad()
    def wait(self, batch: StudyBatch, steering: Steering | None = None) -> list[int]:
        """Encode pictures and let studies wait for a place.

        Args:
            batch: the studies.
            steering: watches their text.

        Returns:
            a number for each, by which `written` gives it back.

        Raises:
            StudyError: a prompt is longer than the model's positions; none of the batch waits then.
        """
        prompts, count = self.read(batch), len(batch)
        choice = Choice(self.model, self.decoding, steering, batch.study_ids, count, prompts.mask.device)
        numbers = list(range(self._seen, self._seen + count))
        self._waiting.append(_Waiting(prompts, choice, self._seen))
        self._open |= {number: _Open([Answer() for _ in range(self.decoding.num_return_sequences)], steering) for number in numbers}
        self._seen += count
        return numbers

    @torch.no_grad()
    def written(self, drain: bool) -> Iterator[tuple[int, Generation]]:
        """Write until no study waits any more; number and answer of every study that is done on the way.

        Args:
            drain: go on until all are done; without it the rest goes on at the next call, beside those that came in between.
        """
        while self._waiting or (drain and self._rows.live):
            self._fill()
            for said in self._rows.step():
                number = self._add(said)
                if number is not None:
                    yield number, self._generation(number)

    def _fill(self) -> None:
        """Give free places to those that wait, when a quarter is free: each time the cache is copied."""
        answers = self.decoding.num_return_sequences
        free = self.places - -(-self._rows.live // answers)
        if free * COMPACT < self.places:
            return
        while self._waiting and free:
            group = self._waiting[0]
            begun = min(free, len(group))
            self._rows.begin(*group.take(begun, answers))
            free -= begun
            if not len(group):
                self._waiting.popleft()

    def _add(self, said: Said) -> int | None:
        """Note a token; the number of its study if that is done."""
        number, which = divmod(said.row, self.decoding.num_return_sequences)
        study = self._open[number]
        study.answers[which].add(said)
        study.ended += said.last
        return number if study.ended == len(study.answers) else None

    def _generation(self, number: int) -> Generation:
        study = self._open.pop(number)
        return by_study([answer.generation(self.decoding, self._ends, study.steering) for answer in study.answers], self.decoding)[0]


@dataclass
class _Open:
    """A study that is not done."""

    answers: list[Answer]
    steering: Steering | None
    ended: int = 0


@dataclass
class _Waiting:
    """Studies that came together and of which some still wait."""

    prompts: Prompts
    choice: Choice
    first: int  # number of the first of them
    begun: int = 0

    def __len__(self) -> int:
        return len(self.prompts.mask) - self.begun

    def take(self, count: int, answers: int) -> tuple[Prompts, Choice, range, int]:
        """What `Rows.begin` wants of the next studies; places that are padding in all of them are left out."""
        begin, end = self.begun, self.begun + count
        self.begun = end
        mask = self.prompts.mask[begin:end]
        lead = int(mask.any(dim=0).long().argmax())
        prompts = Prompts(self.prompts.embeddings[begin:end, lead:], mask[:, lead:])
        return prompts, self.choice, range(begin * answers, end * answers), self.first * answers
