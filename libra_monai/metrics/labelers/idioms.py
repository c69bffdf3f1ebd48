# SPDX-License-Identifier: Apache-2.0
"""Turns of phrase whose meaning hangs on two names, or on a word that means much else: read after the cues of a clause."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from libra_monai.metrics.labelers import cues as c
from libra_monai.metrics.labelers.grammar import Clause, Name
from libra_monai.metrics.labelers.phrases import DEVICES, SUPPORT

_TAKEN_OUT = frozenset("is are was were has have been now since".split())  # may stand between a tube and `out`
_AFTER_OUT = frozenset(", and since in on now".split())
_EXCHANGED = frozenset("exchanged replaced exchange replacement".split())
_PROPOSED = frozenset("should could would may might must can recommend recommended consider advise if".split())
_LINES = frozenset("tube line catheter drain lead sheath port device".split())  # of support devices, what is exchanged
_EXPLAINING = frozenset("likely probably presumably possibly possible probable suspicious consistent compatible represent representing "
                        "reflect reflecting concern keeping favor favored favoring".split())  # fmt: skip
_FILLING = frozenset("lobar bacterial acute early , which is are may could most to for of with a an be from".split())
_ANEW = frozenset("and with without or there".split())
_MARKS = frozenset("hemidiaphragm diaphragm border".split())
_VEINS = frozenset("jugular ij subclavian femoral brachial brachiocephalic".split())
_AIR = frozenset("aeration ventilation expansion".split())
_PARTING = frozenset(", and or with in".split())
_GROWING = frozenset("widening enlargement collapse thickening".split())
_AMOUNTS = {"more": c.WORSE, "less": c.BETTER, "fewer": c.BETTER, "further": c.WORSE}
_LEFT_OVER = frozenset("residual remaining".split())


def read_idioms(clause: Clause) -> None:
    """Apply all turns of phrase to the names of a clause.

    Args:
        clause: its cues have been read, and its sides.
    """
    _taken_out(clause)
    _exchanged(clause)
    _explained(clause)
    _aerated(clause)
    _more_or_less(clause)
    _as_well(clause)
    _included(clause)
    _by_way_of(clause)


def _taken_out(clause: Clause) -> None:
    """ "Gastric tube out", "the tube is now out"."""
    for name in clause.names:
        at = name.end
        while at < clause.end and clause.words[at] in _TAKEN_OUT:
            at += 1
        ends = at + 1 >= clause.end or clause.words[at + 1] in _AFTER_OUT
        if _device(clause, name) and at < clause.end and clause.words[at] == "out" and ends:
            name.changes.append((c.GONE, 0))


def _exchanged(clause: Clause) -> None:
    """A tube that was exchanged is a new one; one "exchanged for" a tube of another kind or side is gone."""
    for at in range(clause.begin, clause.end):
        if clause.words[at] not in _EXCHANGED or _PROPOSED & set(clause.words[clause.begin : at]):
            continue
        after = clause.words[at + 1] if at + 1 < clause.end else ""
        if clause.words[at] in ("exchanged", "replaced"):
            old = clause.subject(at, c.SAME) or clause.attribute(at + 1)
        else:
            old = clause.of_or_in(at + 1) or clause.nearest_back(at)
        later = [n for n in clause.names if n.start > at and n.concept.name in (*DEVICES, SUPPORT)]
        new = next(iter(later), None) if after in ("for", "by", "with") else None
        for name in old:
            if _device(clause, name):
                name.changes.append((c.NEW if new is None or _same(name, new) else c.GONE, 0))
        if new is not None:
            new.changes.append((c.NEW, 0))


def _explained(clause: Clause) -> None:
    """ "New right consolidation, likely pneumonia": the explanation has the side and the change of what it explains."""
    for first, second in zip(clause.names, clause.names[1:], strict=False):
        gap = clause.words[first.end : second.start]
        place = next((i for i, word in enumerate(gap) if word in _EXPLAINING), None)
        explains = place is not None and set(gap[place:]) <= _EXPLAINING | _FILLING and not _ANEW & set(_stripped(gap[:place]))
        if not explains or not (_disease(first) and _disease(second)):
            continue
        second.side = second.side or first.side
        if not second.changes and second.status in (None, c.LIKELY):
            second.changes = list(first.changes)
        elif not first.changes and first.status is None:  # "consolidation consistent with pneumonia, new since the prior"
            between = any(first.end <= a < second.start for a, _, cue in clause.cues if cue.kind in c.CHANGE)
            first.changes = [] if between else list(second.changes)


def _stripped(words: Sequence[str]) -> Sequence[str]:
    """Without "and most" at the end."""
    end = len(words)
    while end and words[end - 1] in ("and", "most", "which", "very"):
        end -= 1
    return words[:end]


def _aerated(clause: Clause) -> None:
    """ "Improved aeration at the left base with residual atelectasis": what remains lies there, and is less."""
    for first, second in zip(clause.names, clause.names[1:], strict=False):
        gap = clause.words[first.end : second.start]
        less = bool(_LEFT_OVER & set(gap)) or c.BETTER in {kind for kind, _ in second.changes}
        if not (_AIR & set(clause.words[first.start : first.end]) and "with" in gap and less):
            continue
        if _disease(second) and second.status is None and c.BETTER in {kind for kind, _ in first.changes}:
            second.side = second.side or first.side
            if not second.changes:
                second.changes.append((c.BETTER, 0))


def _more_or_less(clause: Clause) -> None:
    """ "More edema than on the last film", "with less atelectasis"; not "more on the right than on the left"."""
    if not _AMOUNTS.keys() & set(clause.words[clause.begin : clause.end]):
        return
    for name in clause.names:
        after = clause.words[name.end : min(name.end + 12, clause.end)]
        than = after.index("than") if "than" in after[:8] else None
        near = reversed(clause.words[max(clause.begin, name.start - 6) : name.start])
        before = list(itertools.takewhile(lambda word: word not in _PARTING, near))
        turn = next((word for word in before if word in _AMOUNTS), None) if "likely" not in before else None
        between_sides = than is not None and bool({"right", "left"} & set(after[than : than + 4]))
        if turn == "further" and clause.words[name.end - 1] not in _GROWING:
            continue  # one more nodule
        sick = _disease(name) or name.concept.kind == "state"
        if turn and sick and not name.changes and not between_sides and (than is not None or turn != "more"):
            name.changes.append((_AMOUNTS[turn], 0))


def _as_well(clause: Clause) -> None:
    """ "Cardiomegaly has resolved, as has the edema"."""
    for before, name in zip(clause.names, clause.names[1:], strict=False):
        gap = clause.words[before.end : name.start]
        said = [i for i in range(len(gap) - 1) if gap[i] == "as" and gap[i + 1] in ("has", "have", "is", "are", "does", "do")]
        if said and len(gap) - said[-1] <= 6 and not name.changes:
            name.changes = list(before.changes)


def _included(clause: Clause) -> None:
    """ "Lines and tubes are unchanged, including the endotracheal tube"."""
    for before in clause.names:
        if before.concept.name != SUPPORT or not before.changes or "including" not in clause.words[before.end : clause.end]:
            continue
        at = clause.words.index("including", before.end)
        for name in clause.names:
            if name.start > at and _device(clause, name) and not name.changes:
                name.changes = list(before.changes)


def _by_way_of(clause: Clause) -> None:
    """ "Dialysis catheter via the right internal jugular vein", "above the left hemidiaphragm": what is named beside it tells the side."""
    for name, mark in zip(clause.names, clause.names[1:], strict=False):
        if name.concept.kind == "aside" and mark.side is None and _disease(mark) and _MARKS & set(clause.words[name.start : name.end]):
            ahead = clause.words[max(name.start - 1, clause.begin) : name.start]
            if "by" in clause.words[name.end : mark.start] and ahead in (["right"], ["left"]):
                mark.side = ahead[0]  # "the right hemidiaphragm is obscured by an effusion"
        gap, marks = clause.words[name.end : mark.start], set(clause.words[mark.start : mark.end])
        passed = _device(clause, name) and _VEINS & marks
        beside = _disease(name) and _MARKS & marks and not _PARTING & set(gap)
        if name.side is None and mark.concept.kind == "aside" and (passed or beside):
            name.side = next((word for word in gap[-2:] if word in ("right", "left")), None)


def _device(clause: Clause, name: Name) -> bool:
    return name.concept.name in DEVICES or (name.concept.name == SUPPORT and clause.words[name.end - 1] in _LINES)


def _same(old: Name, new: Name) -> bool:
    return old.concept.name == new.concept.name and (old.side == new.side or None in (old.side, new.side))


def _disease(name: Name) -> bool:
    return name.concept.kind == "finding" and name.concept.name not in (*DEVICES, SUPPORT)
