# SPDX-License-Identifier: Apache-2.0
"""Answers that are written side by side, one token a step: they end, leave, and make room for others.

All rows share one cache and end at its last place; in front of a shorter one stand masked places. So answers that began at different
steps are computed together, whatever they have said so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import StaticCache

from libra_monai.networks.language.beam_cache import fork
from libra_monai.networks.language.choosing import Choice, end_ids
from libra_monai.networks.language.prefix import CACHE, Prompts, read_prompts
from libra_monai.networks.language.row_cache import join, trim
from libra_monai.types import Decoding

COMPACT = 4  # rows leave the cache when a quarter of those in it have ended: each time it is copied
_ROUND = 64  # lengths of static caches are multiples of it, so that a compiled step serves many prompts
_MODES = ("default", "reduce-overhead", "max-autotune")  # of torch.compile; other names are backends


class Said(NamedTuple):
    """A token of an answer.

    Args:
        row: number of the answer.
        token: its id.
        log_probability: its natural logarithm of the probability.
        last: whether the answer ends with it.
    """

    row: int
    token: int
    log_probability: float
    last: bool


class Rows:
    """The rows of one cache; see the module.

    Args:
        model: a causal language model of the library.
        decoding: greedy search or sampling.
    """

    def __init__(self, model: nn.Module, decoding: Decoding) -> None:
        self.model, self.decoding = model, decoding
        self._ends, self._step = set(end_ids(model)), compiled_step(decoding.compile)
        self._clear()

    @property
    def live(self) -> int:
        """Number of answers that have not ended."""
        return sum(sum(group.live) for group in self._groups)

    def begin(self, prompts: Prompts, choice: Choice, rows: Sequence[int], first: int = 0) -> None:
        """Read prompts; their answers are written from the next step on, beside those that are being written.

        Args:
            prompts: P of them.
            choice: chooses their tokens.
            rows: which answers of `choice` these are, P times `num_return_sequences`.
            first: added to their numbers in what `step` gives.
        """
        answers = self.decoding.num_return_sequences
        if self.decoding.static_cache:
            cache, mask, logits = self._begin_static(prompts, answers)
        else:
            cache, logits = read_prompts(self.model, prompts)
            fork(cache, answers)
            mask, logits = prompts.mask.repeat_interleave(answers, dim=0), logits.repeat_interleave(answers, dim=0)
        if self._groups:
            self._leave()
            mask, logits = join(self._cache, self._mask, cache, mask), torch.cat([self._logits, logits])
            cache = self._cache
        self._cache, self._mask, self._logits = cache, mask, logits
        ids = torch.zeros(len(rows), 0, dtype=torch.long, device=logits.device)
        self._groups.append(_Group(choice, list(rows), first, ids, [True] * len(rows)))

    def step(self) -> Iterator[Said]:
        """The next token of every answer that has not ended; behind the last one the step after is computed."""
        place = 0
        for group in self._groups:
            yield from group.say(self._logits[place : place + len(group.rows)], self._ends, self.decoding.max_new_tokens)
            place += len(group.rows)
        self._advance()

    def _advance(self) -> None:
        live = [going for group in self._groups for going in group.live]
        if not any(live):
            self._clear()
            return
        if self.decoding.static_cache:
            self._mask[:, self._cache.get_seq_length()] = True
        else:
            if live.count(False) * COMPACT >= len(live):
                self._leave()
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        last = torch.cat([group.ids[:, -1:] for group in self._groups])
        places = self._mask.sum(dim=1, keepdim=True) - 1
        self._logits = self._step(self.model, last, self._mask.long(), places, self._cache)

    def _leave(self) -> None:
        """Answers that ended leave the cache, and so do places that are masked in all rows that stay."""
        live = [going for group in self._groups for going in group.live]
        if not all(live):
            kept = torch.tensor([place for place, going in enumerate(live) if going], dtype=torch.long, device=self._mask.device)
            self._cache.batch_select_indices(kept)
            self._mask, self._logits = self._mask[kept], self._logits[kept]
            self._groups = [group.remaining() for group in self._groups if any(group.live)]
        self._mask = trim(self._cache, self._mask)

    def _begin_static(self, prompts: Prompts, answers: int) -> tuple[StaticCache, Tensor, Tensor]:
        """A cache of fixed size in which each answer has a row from the start, and a mask as wide."""
        prompts = Prompts(prompts.embeddings.repeat_interleave(answers, 0), prompts.mask.repeat_interleave(answers, 0))
        places = prompts.mask.shape[1] + self.decoding.max_new_tokens
        cache = StaticCache(config=self.model.config, max_cache_len=-(-places // _ROUND) * _ROUND)
        _, logits = read_prompts(self.model, prompts, cache)
        mask = prompts.mask.new_zeros(len(prompts.mask), -(-places // _ROUND) * _ROUND)
        mask[:, : prompts.mask.shape[1]] = prompts.mask
        return cache, mask, logits

    def _clear(self) -> None:
        self._groups: list[_Group] = []
        self._cache: Any = None
        self._mask: Any = None
        self._logits: Any = None


@dataclass
class _Group:
    """Answers that began together and have said equally much, [n,t] ids."""

    choice: Choice
    rows: list[int]
    first: int
    ids: Tensor
    live: list[bool]

    def say(self, logits: Tensor, ends: set[int], limit: int) -> Iterator[Said]:
        chosen, log_probabilities = self.choice(self.ids, logits.float(), self.rows)
        self.ids = torch.cat([self.ids, chosen[:, None]], dim=1)
        for place, (token, said) in enumerate(zip(chosen.tolist(), log_probabilities.tolist(), strict=True)):
            if self.live[place]:
                ended = token in ends or self.ids.shape[1] == limit or self.choice.stopped(self.ids[place])
                self.live[place] = not ended
                yield Said(self.first + self.rows[place], token, said, ended)

    def remaining(self) -> _Group:
        kept = [place for place, going in enumerate(self.live) if going]
        return _Group(self.choice, [self.rows[place] for place in kept], self.first, self.ids[kept], [True] * len(kept))


def _forward(model: nn.Module, ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Tensor:
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=places, use_cache=True, logits_to_keep=1, **{CACHE: cache}
    )
    return output.logits[:, -1]


@lru_cache(maxsize=4)
def compiled_step(compile: bool | str) -> Any:
    """One token further, [N,1] to logits [N,V].

    Args:
        compile: see `Decoding`.
    """
    if not compile:
        return _forward
    if compile in _MODES:
        return torch.compile(_forward, mode=compile)
    return torch.compile(_forward, backend="inductor" if compile is True else compile)
