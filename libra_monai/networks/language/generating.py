# SPDX-License-Identifier: Apache-2.0
"""How answers are written from prompts that were read once.

Beam search is the library's own, started from the cache of the prompts' beginnings repeated per beam. Greedy search and
sampling run in `rows`, for what the library's loop cannot do: rows that end leave the batch, every study draws
from its own noise, and tokens are handed out as they come. Tokens are those of the library's `generate`
(tests compare them).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from libra_monai.errors import ConfigError
from libra_monai.networks.language.beam_cache import fork
from libra_monai.networks.language.choosing import Choice, end_ids
from libra_monai.networks.language.prefix import CACHE, Prompts, read_beginnings
from libra_monai.networks.language.rows import Rows, Said
from libra_monai.types import Decoding, Generation, Steering


def write_answers(
    model: nn.Module, prompts: Prompts, study_ids: Sequence[str], decoding: Decoding, steering: Steering | None
) -> list[Generation]:
    """Answers of B prompts.

    Args:
        model: a causal language model of the library.
        prompts: B prompts.
        study_ids: B identifiers; each study's noise depends on its own.
        decoding: how to choose tokens.
        steering: watches the text as it comes.

    Raises:
        ConfigError: options that exclude each other.
    """
    check_decoding(decoding)
    if decoding.num_beams > 1:
        return _beams(model, prompts, decoding, steering)
    answers = [Answer() for _ in range(len(prompts.mask) * decoding.num_return_sequences)]
    for said in _tokens(model, prompts, study_ids, decoding, steering):
        answers[said.row].add(said)
    return by_study([answer.generation(decoding, end_ids(model), steering) for answer in answers], decoding)


def stream_answer(
    model: nn.Module, prompts: Prompts, study_ids: Sequence[str], decoding: Decoding, steering: Steering | None
) -> Iterator[int]:
    """Ids of one answer as they come, without the end token; arguments and errors as of `write_answers`."""
    check_decoding(decoding)
    if len(prompts.mask) != 1 or decoding.num_return_sequences > 1 or decoding.num_beams > 1:
        raise ConfigError("only one answer of one study can be streamed", "Use one study, one beam and one sequence.")
    ends = end_ids(model)
    for said in _tokens(model, prompts, study_ids, decoding, steering):
        if said.token not in ends:
            yield said.token


def check_decoding(decoding: Decoding) -> None:
    """Refuse options that exclude each other.

    Raises:
        ConfigError: the option and the remedy.
    """
    answers, beams = decoding.num_return_sequences, decoding.num_beams
    if answers < 1 or (beams > 1 and answers > beams) or (beams == 1 and answers > 1 and not decoding.do_sample):
        raise ConfigError(
            f"decoding.num_return_sequences is {answers} with {beams} beams and do_sample {decoding.do_sample}",
            "Use at most as many as beams, or sample.",
        )
    if beams > 1 and (decoding.static_cache or decoding.compile):
        raise ConfigError("decoding.static_cache and decoding.compile serve one beam", "Set num_beams to 1.")
    if decoding.compile and not decoding.static_cache:
        raise ConfigError("decoding.compile needs decoding.static_cache", "Set both.")


def plain_config(model: nn.Module, decoding: Decoding) -> GenerationConfig:
    """The same options for the library's own `generate`.

    Args:
        model: whose special tokens count.
        decoding: how to choose tokens.
    """
    own = model.generation_config
    sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    return GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        min_new_tokens=decoding.min_new_tokens or None,
        num_beams=decoding.num_beams,
        num_return_sequences=decoding.num_return_sequences,
        do_sample=decoding.do_sample,
        use_cache=True,
        length_penalty=decoding.length_penalty,
        no_repeat_ngram_size=decoding.no_repeat_ngram_size,
        repetition_penalty=decoding.repetition_penalty,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else end_ids(model)[0],
        return_dict_in_generate=True,
        output_scores=decoding.num_beams > 1,
        **(sampling if decoding.do_sample else {}),
    )


def _beams(model: nn.Module, prompts: Prompts, decoding: Decoding, steering: Steering | None) -> list[Generation]:
    """Beam search by the library: prompts but for the last place are read here, with one row each."""
    last = prompts.mask.shape[1] - 1
    cache = {}
    if last > 0:
        cache[CACHE] = read_beginnings(model, prompts, last)
        fork(cache[CACHE], decoding.num_beams)
    watch: list[LogitsProcessor] = [] if steering is None else [_Watch(steering, decoding.num_beams)]
    config = plain_config(model, decoding)
    if decoding.repetition_penalty != 1.0:  # the library's own passes over as many of the answer's ids as the prompt has padding
        config.repetition_penalty = 1.0
        watch.insert(0, RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    end = [] if steering is None else [_Stop(steering)]
    # noise of a batch, since beams share it
    with torch.random.fork_rng(enabled=decoding.do_sample), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Passing `no_repeat_ngram_size`")  # the published way
        if decoding.do_sample:
            torch.manual_seed(decoding.seed)
        output = model.generate(
            inputs_embeds=prompts.embeddings,
            attention_mask=prompts.mask.long(),
            generation_config=config,
            logits_processor=LogitsProcessorList(watch),
            stopping_criteria=StoppingCriteriaList(end),
            synced_gpus=False,  # sharded models are whole here; processes may have different numbers of batches
            **cache,
        )
    ends = end_ids(model)
    answers = [
        _generation(row.tolist(), float(score), ends, steering)
        for row, score in zip(output.sequences, output.sequences_scores, strict=True)
    ]
    return by_study(answers, decoding)


class _Watch(LogitsProcessor):
    """Steering in the library's beam search, whose rows stand by study."""

    def __init__(self, steering: Steering, beams: int) -> None:
        self.steering, self.beams = steering, beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.steering.weigh(input_ids, scores, [row // self.beams for row in range(len(scores))])


class _Stop(StoppingCriteria):
    """Stop strings in the library's beam search."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.tensor([self.steering.stopped(row) for row in input_ids.tolist()], device=input_ids.device)


def _tokens(
    model: nn.Module, prompts: Prompts, study_ids: Sequence[str], decoding: Decoding, steering: Steering | None
) -> Iterator[Said]:
    """Tokens of all answers, step by step."""
    count = len(prompts.mask)
    rows, choice = Rows(model, decoding), Choice(model, decoding, steering, study_ids, count, prompts.mask.device)
    rows.begin(prompts, choice, range(count * decoding.num_return_sequences))
    while rows.live:
        yield from rows.step()


@dataclass
class Answer:
    """One answer while it is written."""

    ids: list[int] = field(default_factory=list)
    log_probability: float = 0.0

    def add(self, said: Said) -> None:
        """Its next token."""
        self.ids.append(said.token)
        self.log_probability += said.log_probability

    def generation(self, decoding: Decoding, ends: Sequence[int], steering: Steering | None) -> Generation:
        """What was written, with its score."""
        score = self.log_probability / max(len(self.ids), 1) ** decoding.length_penalty
        return _generation(self.ids, score, ends, steering)


def _generation(ids: list[int], score: float, ends: Sequence[int], steering: Steering | None) -> Generation:
    place = next((number for number, token in enumerate(ids) if token in ends), None)
    said = ids if place is None else ids[:place]
    return Generation(said, finished=place is not None or (steering is not None and steering.stopped(said)), score=score)


def by_study(answers: list[Generation], decoding: Decoding) -> list[Generation]:
    """One generation a study, with the others under it."""
    count = decoding.num_return_sequences
    for start in range(0, len(answers), count):
        answers[start].others = answers[start + 1 : start + count]
    return answers[::count]
