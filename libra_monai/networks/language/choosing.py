# SPDX-License-Identifier: Apache-2.0
"""The next token of each row: likeliest or drawn, after penalties, with noise that belongs to the study."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from libra_monai.types import Decoding, Steering


def study_seed(seed: int, study_id: str, number: int = 0) -> int:
    """Seed of one answer: of its study and its number among the study's answers, not of the batch."""
    return (seed ^ crc32(study_id.encode())) + number


def end_ids(model: nn.Module) -> list[int]:
    """Tokens that end an answer."""
    eos = model.generation_config.eos_token_id
    return [0] if eos is None else list(eos) if isinstance(eos, list) else [eos]


class Choice:
    """Chooses for the answers of some studies, in the library's order of steps.

    Args:
        model: whose end tokens count.
        decoding: how to choose.
        steering: watches the text as it comes.
        study_ids: identifiers; each study's noise depends on its own.
        count: number of studies.
        device: of the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        decoding: Decoding,
        steering: Steering | None,
        study_ids: Sequence[str],
        count: int,
        device: torch.device,
    ) -> None:
        ends = end_ids(model)
        first: list[LogitsProcessor] = []
        if decoding.repetition_penalty != 1.0:
            first.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
        if decoding.no_repeat_ngram_size:
            first.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram_size))
        if decoding.min_new_tokens:
            first.append(MinNewTokensLengthLogitsProcessor(0, decoding.min_new_tokens, ends, device=str(device)))
        last: list[LogitsProcessor] = []
        if decoding.do_sample and decoding.temperature != 1.0:
            last.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.do_sample and decoding.top_k:
            last.append(TopKLogitsWarper(decoding.top_k))
        if decoding.do_sample and decoding.top_p < 1.0:
            last.append(TopPLogitsWarper(decoding.top_p))
        self.first, self.last = LogitsProcessorList(first), LogitsProcessorList(last)
        self.steering, self.answers = steering, decoding.num_return_sequences
        names = [study_ids[row] if row < len(study_ids) else str(row) for row in range(count)]
        self.noise = [
            torch.Generator(device).manual_seed(study_seed(decoding.seed, name, number))
            for name in names
            for number in range(self.answers)
        ] if decoding.do_sample else []  # fmt: skip

    def stopped(self, ids: Tensor) -> bool:
        """Whether an answer of these ids [t] ends although no end token was said."""
        return self.steering is not None and self.steering.stopped(ids.tolist())

    def __call__(self, ids: Tensor, logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens [N] and their log-probabilities [N] from logits [N,V] after ids [N,t]."""
        scores = self.first(ids, logits)
        if self.steering is not None:
            scores = self.steering.weigh(ids, scores, [row // self.answers for row in rows])
        if self.noise:
            shares = self.last(ids, scores).softmax(dim=-1)
            drawn = [torch.multinomial(share, 1, generator=self.noise[row]) for share, row in zip(shares, rows, strict=True)]
            chosen = torch.cat(drawn)
        else:
            chosen = scores.argmax(dim=-1)
        return chosen, logits.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0]
