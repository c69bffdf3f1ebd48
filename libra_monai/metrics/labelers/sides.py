# SPDX-License-Identifier: Apache-2.0
"""Side and size of what is named in a clause: which words before and after a name belong to it."""

from __future__ import annotations

from collections.abc import Sequence

from libra_monai.metrics.labelers.cues import AUXILIARIES, SEVERITY

BILATERAL = "bilateral"
OTHER_SIDE = {"right": "left", "left": "right"}
SIDES = {
    "right": "right", "left": "left", "rul": "right", "rml": "right", "rll": "right", "lul": "left", "lll": "left",
    "lingula": "left", "lingular": "left", "bilateral": BILATERAL, "both": BILATERAL, "bibasilar": BILATERAL,
    "bibasal": BILATERAL, "biapical": BILATERAL, "bases": BILATERAL, "sides": BILATERAL, "bihilar": BILATERAL,
    "bipulmonary": BILATERAL, "rue": "right", "lue": "left", "rightward": "right", "leftward": "left", "either": BILATERAL,
}  # fmt: skip
_BREAKS = AUXILIARIES | frozenset(", and or with plus which that without no nor rather versus".split())
_NOT_A_SIDE = frozenset(  # right atrium, left main bronchus: anatomy in the middle, where a line may end
    "atrium atrial ventricle ventricular main mainstem bronchus heart brachiocephalic innominate axis convex ward to".split()
)
_ENDS = frozenset(
    "tip terminate terminating end ending project projecting course coursing extend extending overlie lie reach loop".split()
)
NEIGHBOURS = frozenset(
    "adjacent associated underlying overlying compressive accompanying subjacent relaxation resultant".split()
)
_CAUSES = frozenset("consistent compatible represent reflect suggest representing reflecting due".split())
_LOOSE = frozenset("a an with without no".split()) | AUXILIARIES | set(SEVERITY)


def regions(spans: Sequence[tuple[int, int]], words: Sequence[str], begin: int, end: int) -> list[tuple[range, range]]:
    """The words before and after each name that may describe it.

    Args:
        spans: start and end of the names of a clause, in order.
        words: base forms of the sentence.
        begin, end: the clause.
    """
    lefts, rights = [begin], []
    for (_, before), (after, _) in zip(spans, spans[1:], strict=False):
        cuts = [i for i in range(before, after) if words[i] in _BREAKS and not _within_pair(words, i, before, after)]
        if cuts:
            rights.append(cuts[-1])
            lefts.append(cuts[-1] + 1)
        else:
            place = before < after and words[before] in ("in", "at", "on", "within")
            rights.append(after if place else before)
            lefts.append(after if place else before)
    rights.append(end)
    return [(range(left, a), range(b, right)) for (a, b), left, right in zip(spans, lefts, rights, strict=False)]


def side_of(words: Sequence[str], before: range, after: range, device: bool) -> tuple[str | None, bool]:
    """The side of a name, and whether it was read after it.

    Args:
        words: base forms.
        before, after: what `regions` gave.
        device: read behind the name only up to where the device ends.
    """
    found = _sides(words, before)
    pair = _pair(words, before)
    if pair:
        return BILATERAL, False
    if found:
        return SIDES[words[found[-1]]], False
    if device:
        stop = next((i for i in after if words[i] in _ENDS or words[i] == "with"), after.stop)
        after = range(after.start, stop)
    if _pair(words, after):
        return BILATERAL, True
    found = _sides(words, after)
    return (SIDES[words[found[0]]], True) if found else (None, False)


def severity_of(
    words: Sequence[str], before: range, after: range, turning: frozenset[int], cue_places: frozenset[int] = frozenset()
) -> str | None:
    """`small`, `moderate`, `large` or None.

    Args:
        words: base forms.
        before, after: what `regions` gave.
        turning: places where words of change begin; a size word right before one speaks of the change.
        cue_places: words that belong to cues.
    """
    found = {
        i: SEVERITY[words[i]] for i in (*before, *after)
        if words[i] in SEVERITY and i not in cue_places and not _of_change(words, i, turning)
    }  # fmt: skip
    now = [i for i in found if i in after and {"now", "currently", "to"} & set(words[max(i - 2, 0) : i])]
    first = [i for i in found if i in before]
    last = [i for i in found if i in after]
    chosen = now or first[-1:] or last
    return found[chosen[0]] if chosen else None


def _of_change(words: Sequence[str], at: int, turning: frozenset[int]) -> bool:
    following = at + 1
    while following < len(words) and (words[following] in SEVERITY or words[following] == "interval"):
        following += 1
    return following in turning or (following < len(words) and words[following] in ("change", "amount"))


def bare(words: Sequence[str], begin: int, end: int, cue_places: frozenset[int]) -> bool:
    """Whether two names stand in one list without words of their own, as in "left effusion and atelectasis".

    Args:
        words: base forms.
        begin, end: the words between the names.
        cue_places: words that belong to cues.
    """
    gap = words[begin:end]
    if any(i in cue_places for i in range(begin, end)) or any(word in _LOOSE for word in gap):
        return False
    return any(word in ("and", "or", ",", "plus", "&") for word in gap) and len(gap) <= 8


def shares_side(words: Sequence[str], begin: int, end: int) -> bool:
    """Whether the second of two names is beside the first ("with adjacent") or explains it ("consistent with").

    Args:
        words: base forms.
        begin, end: the words between the names.
    """
    near = words[max(begin, end - 5) : end]
    beside = end - begin <= 5 or "with" in near[-3:]
    return any(word in _CAUSES for word in near) or (beside and any(word in NEIGHBOURS for word in near))


def _sides(words: Sequence[str], where: range) -> list[int]:
    return [
        i for i in where
        if words[i] in SIDES and not (words[i] in ("right", "left") and i + 1 < len(words) and words[i + 1] in _NOT_A_SIDE)
        and not (words[i] == "both" and i and words[i - 1] == ",")  # "effusion and atelectasis, both unchanged"
    ]  # fmt: skip


def _pair(words: Sequence[str], where: range) -> bool:
    found = [i for i in _sides(words, where) if SIDES[words[i]] in ("right", "left")]
    for a, b in zip(found, found[1:], strict=False):
        between = words[a + 1 : b]
        if SIDES[words[a]] != SIDES[words[b]] and len(between) <= 6 and any(w in ("and", "than", "&", "or") for w in between):
            return True
    return False


def _within_pair(words: Sequence[str], at: int, begin: int, end: int) -> bool:
    """`and` between right and left joins sides, not names."""
    if words[at] not in ("and", "or"):
        return False
    before, after = words[max(begin, at - 2) : at], words[at + 1 : min(at + 3, end - 1)]
    return any({first, second} == {"right", "left"} for first in before for second in after)
