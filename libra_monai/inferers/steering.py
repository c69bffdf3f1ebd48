# SPDX-License-Identifier: Apache-2.0
"""Stop strings, the guard, mended sentences and the stream: what needs the text while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from libra_monai.inferers.guard import Guard
from libra_monai.inferers.mending import Mended, mend
from libra_monai.metrics.labelers.clauses import sentence_spans
from libra_monai.text.token_ends import token_ends
from libra_monai.types import Decoding, Generation, StudyBatch

_DRAWN = 64  # candidates that guarded sampling draws from
_TAIL = 24  # tokens at the end in which a stop string can end


@dataclass
class TextSteering:
    """Watches the text of all rows; see `libra_monai.types.Steering`.

    Args:
        decode: ids to text.
        stop: texts at which an answer ends.
        guard: for rows without a prior, or None.
    """

    decode: Callable[[Sequence[int]], str]
    stop: Sequence[str] = ()
    guard: Guard | None = None

    def weigh(self, ids: Tensor, scores: Tensor, studies: Sequence[int]) -> Tensor:
        """Scores [N,V] as the guard leaves them."""
        return scores if self.guard is None else self.guard.weigh(ids, scores, studies)

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether a stop string was said."""
        if not self.stop:
            return False
        tail = self.decode(ids[-max(_TAIL, *map(len, self.stop)) :])
        return any(text in tail for text in self.stop)

    def guards(self, study: int) -> bool:
        """Whether sentences of a study may be broken off."""
        return self.guard is not None and not self.guard.has_prior[study]

    def mended(self, study: int, ids: Sequence[int], text: str, size: int) -> Mended | None:
        """The beginning of what was written, with broken sentences mended; None if the guard broke none.

        Args:
            study: its number among the studies.
            ids: what was written.
            text: their text, without surrounding space.
            size: letters of the beginning.
        """
        broken = self.guard.broken(study, ids) if self.guard is not None and self.guards(study) else []
        if not broken:
            return None
        return mend(text, [(len(self.decode(ids[:count]).strip()), how) for count, how in broken], size)


def steering_for(batch: StudyBatch, decoding: Decoding, processor: Any, ends: Sequence[int]) -> TextSteering | None:
    """What the options ask for, or None.

    Args:
        batch: the studies; those without a prior are guarded.
        decoding: `stop` and `guard`.
        processor: the model's, for its tokenizer.
        ends: ids that end an answer.
    """
    if not decoding.stop and not decoding.guard:
        return None

    def decode(ids: Sequence[int]) -> str:
        return processor.tokenizer.decode(ids, skip_special_tokens=True)

    guard = None
    if decoding.guard:
        wanted = _DRAWN if decoding.do_sample else 1 if decoding.num_beams == 1 else 3 * decoding.num_beams
        has_prior = [place >= 0 for place in batch.index["prior"].tolist()]
        full_stops = {processor.tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in (".", "seen.")}
        guard = Guard(decode, has_prior, ends, wanted, sorted(full_stops))
    return TextSteering(decode, decoding.stop, guard)


def told(
    generation: Generation, processor: Any, stop: Sequence[str], steering: TextSteering | None = None, study: int = 0
) -> Generation:
    """The generation with its text up to the first stop string and broken sentences mended, the others likewise.

    Args:
        generation: what a model wrote.
        processor: decodes ids.
        stop: texts at which an answer ends.
        steering: that watched while it was written.
        study: number of the study in the batch that `steering` was made for.
    """
    if not stop and (steering is None or not steering.guards(study)):
        return generation
    others = [told(other, processor, stop, steering, study) for other in generation.others]
    written = processor.decode(generation)
    text = cut_text(written, stop)
    mended = None if steering is None else steering.mended(study, generation.token_ids, written, len(text))
    if mended is None:
        return replace(generation, text=text, others=others)
    ends = mended.ends(token_ends(processor.tokenizer, generation.token_ids))
    return replace(generation, text=mended.text, ends=ends, others=others)


def cut_text(text: str, stop: Sequence[str]) -> str:
    """A text up to the first stop string."""
    places = [place for end in stop if (place := text.find(end)) >= 0]
    return text[: min(places)].strip() if places else text


def pieces(
    ids: Iterable[int],
    decode: Callable[[list[int]], str],
    stop: Sequence[str] = (),
    steering: TextSteering | None = None,
) -> Iterator[str]:
    """Pieces of text that join to the whole, as soon as they are sure.

    A word is sure when the next begins: later tokens can change its end, and half a letter of several bytes is none.
    Where the guard may break a sentence off, its words are sure when the next sentence begins.

    Args:
        ids: tokens of one study's answer as they come.
        decode: all ids so far to text without surrounding space.
        stop: texts at which the answer ends.
        steering: that watches meanwhile.
    """
    said: list[int] = []
    given = ""
    guarded = steering is not None and steering.guards(0)

    def known(text: str, size: int) -> str:
        mended = steering.mended(0, said, text, size) if steering is not None and guarded else None
        return text[:size] if mended is None else mended.text

    for token in ids:
        said.append(token)
        text = decode(said)
        sure = known(text, _sure(text, stop, guarded))
        if len(sure) > len(given) and sure.startswith(given):
            yield sure[len(given) :]
            given = sure
    text = decode(said)
    whole = known(text, len(cut_text(text, stop)))
    if len(whole) > len(given):
        yield whole[len(given) :]


def _sure(text: str, stop: Sequence[str], guarded: bool) -> int:
    """How many letters of a text stay as they are, whatever is written behind it."""
    sure = cut_text(text, stop)
    if sure == text:  # a stop string may have begun
        begun = max((n for end in stop for n in range(1, len(end)) if text.endswith(end[:n])), default=0)
        sure = text[: len(text) - begun]
    size = max(sure.rfind(" "), sure.rfind("\n"), 0)
    if guarded:
        size = min(size, (sentence_spans(text) or [(0, 0)])[-1][0])
    return len(sure[:size].rstrip())
