# SPDX-License-Identifier: Apache-2.0
"""Statements that are only parted by commas: "Effusion unchanged, no pneumothorax, new right basal opacity"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from libra_monai.metrics.labelers.cues import CHANGE, DENIED, find_cues
from libra_monai.metrics.labelers.phrases import names

_JOINING = frozenset("and or nor with without which that who but as both all neither none".split())


def spliced(words: Sequence[str], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a clause that say something of their own, each with a name and with what became of it or that it is not there.

    Args:
        words: base forms of the sentence.
        begin, end: the clause.
    """
    commas = [i for i in range(begin, end) if words[i] == ","]
    if not commas:
        yield begin, end
        return
    found = names().find(words[begin:end])
    named = [begin + a for a, _, concept in found if concept.name and concept.kind != "aside"]
    if not any(named[0] < comma < named[-1] for comma in commas if named):
        yield begin, end
        return
    said = [(begin + a, cue.kind) for a, _, cue in find_cues(words[begin:end]) if cue.kind in CHANGE or cue.kind == DENIED]
    said += [(begin + a, "") for a, _, concept in found if concept.kind == "event"]
    start = begin
    for comma, until in zip(commas, [*commas[1:], end], strict=True):
        if comma + 1 < until and words[comma + 1] not in _JOINING and _whole(named, said, start, comma) and _whole(named, said, comma, until):
            denied = any(start <= at < comma and kind == DENIED for at, kind in said)
            if not (denied and "or" in words[comma:until]):
                yield start, comma
                start = comma + 1
    yield start, end


def _whole(named: Sequence[int], said: Sequence[tuple[int, str]], start: int, end: int) -> bool:
    return any(start <= at < end for at in named) and any(start <= at < end for at, _ in said)
