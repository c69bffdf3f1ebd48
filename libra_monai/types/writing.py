# SPDX-License-Identifier: Apache-2.0
"""What a language model is asked for and gives back: options, losses, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from torch import Tensor


@dataclass
class LanguageOutput:
    """Loss of a batch as a sum, so that batches and devices of unequal length average rightly.

    Args:
        loss_sum: scalar, negative log likelihood summed over learned tokens (or terms).
        num_tokens: scalar LongTensor, how many were learned.
        logits: [B,R,V] on request, else None.
    """

    loss_sum: Tensor
    num_tokens: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class Decoding:
    """How text is generated; names and meanings as in Hugging Face's `GenerationConfig`.

    Args:
        max_new_tokens: upper bound of the report length in tokens.
        num_beams: beams of beam search; 1 is greedy or sampling.
        do_sample: draw tokens instead of taking the likeliest.
        temperature, top_p, top_k: sampling options, used with `do_sample` only (top_k 0: off).
        length_penalty: exponent on the length in the beam score.
        no_repeat_ngram_size: n-grams that may not occur twice; 0 is off.
        repetition_penalty: factor on tokens already said; 1 is off.
        seed: seed of sampling; drafts of one seed are equal on one device, whatever studies stand beside them.
        num_return_sequences: answers a study; at most `num_beams` in beam search, only one in greedy search.
        min_new_tokens: tokens before which no answer ends.
        stop: texts at which an answer ends; they are not part of it.
        guard: keep comparisons with earlier studies from answers without a prior, see `inferers.guard`.
        static_cache: a cache of fixed size, for greedy search and sampling; what `compile` needs.
        compile: run the step through `torch.compile`: True, or the name of one of its backends or
            modes, such as `reduce-overhead`; for GPUs, and tried on CPUs only.
    """

    max_new_tokens: int = 160
    num_beams: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    num_return_sequences: int = 1
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    guard: bool = False
    static_cache: bool = False
    compile: bool | str = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))  # JSON has lists


@dataclass
class Generation:
    """What a language model wrote for one study.

    Args:
        token_ids: generated ids without prompt, padding and end token; none of parts that write text themselves.
        finished: False if the length limit cut it off.
        text: for parts that write text themselves (classifiers), and where not all that was written stands; None if
            `token_ids` is to be decoded.
        ends: where sentences were mended, for each token the letters of `text` up to and with it; a token that does not
            stand in it adds none. None if `text` is what the tokens decode to, or its beginning.
        score: sum of the tokens' log-probabilities over the length to the power of `length_penalty`; None for
            parts that write text themselves.
        others: the further answers, with `num_return_sequences`; best first in beam search.
    """

    token_ids: list[int]
    finished: bool = True
    text: str | None = None
    ends: list[int] | None = None
    score: float | None = None
    others: list[Generation] = field(default_factory=list)


class Steering(Protocol):
    """What looks at the text while it is written; the language model itself knows only ids."""

    def weigh(self, ids: Tensor, scores: Tensor, studies: Sequence[int]) -> Tensor:
        """Scores [N,V] of the next token without those that may not follow ids [N,t] of the rows' studies."""
        ...

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether an answer ends here although no end token was said."""
        ...


def decoding_from(options: Mapping[str, Any] | Decoding | None) -> Decoding:
    """A `Decoding` from a dictionary of JSON, refusing unknown names.

    Args:
        options: a `Decoding`, a dictionary of its fields, or None for the defaults.

    Raises:
        TypeError: an option does not exist.
    """
    if isinstance(options, Decoding):
        return options
    options = dict(options or {})
    known = {f.name for f in fields(Decoding)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"unknown decoding option {unknown[0]}; known: {', '.join(sorted(known))}")
    return Decoding(**options)
