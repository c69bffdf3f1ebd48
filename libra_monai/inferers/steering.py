# SPDX-License-Identifier: Apache-2.0
"""Stop strings, the guard and the stream: what needs the text while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from libra_monai.inferers.guard import Guard
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
        guard = Guard(decode, has_prior, ends, wanted)
    return TextSteering(decode, decoding.stop, guard)


def cut(generation: Generation, processor: Any, stop: Sequence[str]) -> Generation:
    """The generation with its text up to the first stop string, the others under it likewise.

    Args:
        generation: what a model wrote.
        processor: decodes ids.
        stop: texts at which an answer ends.
    """
    if not stop:
        return generation
    others = [cut(other, processor, stop) for other in generation.others]
    return replace(generation, text=cut_text(processor.decode(generation), stop), others=others)


def cut_text(text: str, stop: Sequence[str]) -> str:
    """A text up to the first stop string."""
    places = [place for end in stop if (place := text.find(end)) >= 0]
    return text[: min(places)].strip() if places else text


def pieces(ids: Iterable[int], decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> Iterator[str]:
    """Pieces of text that join to the whole, as soon as they are sure.

    A word is sure when the next begins: later tokens can change its end, and half a letter of several bytes is none.

    Args:
        ids: tokens as they come.
        decode: all ids so far to text without surrounding space.
        stop: texts at which the answer ends.
    """
    said: list[int] = []
    given = ""
    for token in ids:
        said.append(token)
        text = decode(said)
        sure = cut_text(text, stop)
        if sure == text:  # a stop string may have begun
            begun = max((n for end in stop for n in range(1, len(end)) if text.endswith(end[:n])), default=0)
            sure = text[: len(text) - begun]
        sure = sure[: max(sure.rfind(" "), sure.rfind("\n"), 0)].rstrip()
        if len(sure) > len(given) and sure.startswith(given):
            yield sure[len(given) :]
            given = sure
    whole = cut_text(decode(said), stop)
    if len(whole) > len(given):
        yield whole[len(given) :]
