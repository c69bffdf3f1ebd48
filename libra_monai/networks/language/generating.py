# SPDX-License-Identifier: Apache-2.0
"""How answers are written from prompts that were read once.

Beam search is the library's own, started from the cache of the prompts' beginnings repeated per beam. Greedy search and
sampling run here, for what the library's loop cannot do: rows that end leave the batch, every study draws
from its own noise, and tokens are handed out as they come. Tokens are those of the library's `generate`
(tests compare them).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from libra_monai.errors import ConfigError
from libra_monai.networks.language.beam_cache import fork
from libra_monai.networks.language.prefix import Prompts, positions, read_beginnings, read_prompts
from libra_monai.types import Decoding, Generation, Steering

_COMPACT = 4  # rows leave the cache when a quarter of those in it have ended: each time it is copied


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
    rows: list[list[int]] = [[] for _ in range(len(prompts.mask) * decoding.num_return_sequences)]
    sums, ends = [0.0] * len(rows), end_ids(model)
    for row, token, log_probability in _tokens(model, prompts, study_ids, decoding, steering):
        rows[row].append(token)
        sums[row] += log_probability
    scores = [total / max(len(ids), 1) ** decoding.length_penalty for total, ids in zip(sums, rows, strict=True)]
    return _by_study([_generation(*pair, ends, steering) for pair in zip(rows, scores, strict=True)], decoding)


def stream_answer(
    model: nn.Module, prompts: Prompts, study_ids: Sequence[str], decoding: Decoding, steering: Steering | None
) -> Iterator[int]:
    """Ids of one answer as they come, without the end token; arguments and errors as of `write_answers`."""
    check_decoding(decoding)
    if len(prompts.mask) != 1 or decoding.num_return_sequences > 1 or decoding.num_beams > 1:
        raise ConfigError("only one answer of one study can be streamed", "Use one study, one beam and one sequence.")
    ends = end_ids(model)
    for _, token, _ in _tokens(model, prompts, study_ids, decoding, steering):
        if token not in ends:
            yield token


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


def study_seed(seed: int, study_id: str, number: int = 0) -> int:
    """Seed of one answer: of its study and its number among the study's answers, not of the batch."""
    return (seed ^ crc32(study_id.encode())) + number


def end_ids(model: nn.Module) -> list[int]:
    """Tokens that end an answer."""
    eos = model.generation_config.eos_token_id
    return [0] if eos is None else list(eos) if isinstance(eos, list) else [eos]


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
        cache["past_key_values"] = read_beginnings(model, prompts, last)
        fork(cache["past_key_values"], decoding.num_beams)
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
    return _by_study(answers, decoding)


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
) -> Iterator[tuple[int, int, float]]:
    """Row, token and its log-probability, step by step; a row's last is its end token, if it was said."""
    count, answers = len(prompts.mask), decoding.num_return_sequences
    cache, fixed = None, prompts.mask.shape[1] + decoding.max_new_tokens
    if decoding.static_cache:
        cache = StaticCache(config=model.config, max_cache_len=fixed)
        prompts = Prompts(prompts.embeddings.repeat_interleave(answers, 0), prompts.mask.repeat_interleave(answers, 0))
    cache, logits = read_prompts(model, prompts, 1 if decoding.static_cache else answers, cache)
    mask = prompts.mask if decoding.static_cache else prompts.mask.repeat_interleave(answers, dim=0)
    choose = _Choice(model, decoding, steering, study_ids, count, logits.device)
    step = _step(decoding.compile)
    rows = list(range(count * answers))  # which answers stand in the cache
    live = [True] * len(rows)
    ids = torch.zeros(len(rows), 0, dtype=torch.long, device=logits.device)
    ends = set(end_ids(model))
    for number in range(decoding.max_new_tokens):
        chosen, log_probabilities = choose(ids, logits.float(), rows)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        for place, (token, said) in enumerate(zip(chosen.tolist(), log_probabilities.tolist(), strict=True)):
            if live[place]:
                yield rows[place], token, said
                stopped = steering is not None and steering.stopped(ids[place].tolist())
                live[place] = not (token in ends or stopped)
        if not any(live) or number + 1 == decoding.max_new_tokens:
            return
        if not decoding.static_cache and live.count(False) * _COMPACT >= len(live):
            kept = torch.tensor([place for place, going in enumerate(live) if going], device=ids.device)
            cache.batch_select_indices(kept)
            ids, mask = ids[kept], mask[kept]
            rows = [rows[place] for place in kept.tolist()]
            live = [True] * len(rows)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = step(model, ids[:, -1:], mask.long(), positions(mask)[:, -1:], cache)


class _Choice:
    """The next token of each row: likeliest or drawn, after penalties, in the library's order."""

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


def _forward(model: nn.Module, ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Tensor:
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    return output.logits[:, -1]


@lru_cache(maxsize=2)
def _step(compiled: bool) -> Any:
    """One token further, [N,1] to logits [N,V]."""
    return torch.compile(_forward, dynamic=True) if compiled else _forward


def _generation(ids: list[int], score: float, ends: Sequence[int], steering: Steering | None) -> Generation:
    place = next((number for number, token in enumerate(ids) if token in ends), None)
    said = ids if place is None else ids[:place]
    return Generation(said, finished=place is not None or (steering is not None and steering.stopped(said)), score=score)


def _by_study(answers: list[Generation], decoding: Decoding) -> list[Generation]:
    """One generation a study, with the others under it."""
    count = decoding.num_return_sequences
    for start in range(0, len(answers), count):
        answers[start].others = answers[start + 1 : start + count]
    return answers[::count]
