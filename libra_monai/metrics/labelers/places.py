# SPDX-License-Identifier: Apache-2.0
"""Names as a whole sentence places them: "On the right, ...", "on the same side", and names that stand together for one thing."""

from __future__ import annotations

from collections.abc import Sequence

from libra_monai.metrics.labelers.grammar import Name
from libra_monai.metrics.labelers.phrases import DEVICES, Concept
from libra_monai.metrics.labelers.sides import OTHER_SIDE, SIDES

_LUNG = frozenset("lung side hemithorax base chest".split())
_THERE = (["that", "side"], ["same", "side"], ["this", "side"])


def whole(found: Sequence[tuple[int, int, Concept]]) -> list[tuple[int, int, Concept]]:
    """One name for "IJ dialysis catheter" and for "calcified nodule".

    Args:
        found: start, end and concept of the names of a clause, in order.
    """
    names: list[tuple[int, int, Concept]] = []
    for start, end, concept in found:
        begin, stop, before = names[-1] if names else (0, -1, None)
        device = before is not None and before.name == concept.name and concept.name in DEVICES
        described = before is not None and before.kind == "other" and concept.kind == "finding" and concept.name not in DEVICES
        if stop == start and (device or described):
            names[-1] = (begin, end, concept)
        else:
            names.append((start, end, concept))
    return names


def place_names(names: Sequence[Name], words: Sequence[str]) -> None:
    """Give sides to names that have none of their own.

    Args:
        names: of a sentence, in order.
        words: its base forms.
    """
    lead = _leading_side(words)
    other = list(words).index(OTHER_SIDE[lead]) if lead and OTHER_SIDE[lead] in words else len(words)
    last = None
    for name in names:
        if name.side is None and lead and name.start < other:
            name.side = lead
        after = words[name.end : name.end + 5]
        same = any(after[i : i + 2] in _THERE for i in range(len(after))) or "ipsilateral" in words[max(0, name.start - 3) : name.start]
        if name.side is None and same:
            name.side = last
        last = name.side if name.side in OTHER_SIDE else last


def _leading_side(words: Sequence[str]) -> str | None:
    """The side a sentence begins with, and speaks of."""
    if len(words) > 3 and words[:2] == ["on", "the"] and words[2] in OTHER_SIDE and words[3] in (",", "side", "there"):
        return words[2]
    if len(words) > 2 and words[0] in OTHER_SIDE and words[1] in _LUNG and words[2] == ":":
        return words[0]
    return None


def other_place(words: Sequence[str]) -> str | None:
    """The side of "that in the right upper lobe ...", or None.

    Args:
        words: the first base forms of a sentence.
    """
    if len(words) < 3 or words[0] not in ("that", "those") or words[1] not in ("in", "on", "at"):
        return None
    side = next((SIDES[word] for word in words[2:] if word in SIDES), None)
    return side if side in OTHER_SIDE else None
