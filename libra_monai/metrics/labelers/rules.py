# SPDX-License-Identifier: Apache-2.0
"""What the cues of a clause say of its names: denial and doubt, change, size of the heart, sides."""

from __future__ import annotations

from dataclasses import replace

from libra_monai.metrics.labelers import cues as c
from libra_monai.metrics.labelers.grammar import Clause, Name
from libra_monai.metrics.labelers.idioms import read_idioms
from libra_monai.metrics.labelers.phrases import DEVICES, SUPPORT
from libra_monai.metrics.labelers.sides import bare, regions, severity_of, shares_side, side_of

_STATUS = (c.DENIED, c.DOUBTED, c.LIKELY)
_ORDER = {"small": 1.0, "moderate": 2.0, "large": 3.0}
_ADJECTIVES = frozenset("worse larger greater smaller extensive pronounced severe prominent".split())
_ASKED = frozenset("questioned suspected questionable".split())
_APART = frozenset(", with without no".split())
_PAST = frozenset("previously prior from was were having".split())
_OF_TIME = _PAST | {"compared"}
_TIMED = frozenset("than since compared prior interval now has have become".split())


def read_clause(clause: Clause) -> list[tuple[str, int]]:
    """Apply all cues of a clause; gives kind and place of those that reach nothing in it.

    Args:
        clause: its names are filled in.
    """
    unmet: list[tuple[str, int]] = []
    for start, end, cue in clause.cues:  # adjectives and denials first: subjects leave out what has its own adjective
        if cue.kind in _STATUS:
            _apply_status(clause, start, end, cue, unmet)
    ordered = sorted(clause.cues, key=lambda hit: clause.verb_before(hit[0]) is not None)
    for start, end, cue in ordered:
        if cue.kind in c.CHANGE:
            if cue.kind in (c.WORSE, c.BETTER, c.SAME) and _compares_sides(clause, end):
                continue
            reached = clause.change_reaches(start, end)
            for name in reached or ():
                name.changes.append((cue.kind, min(abs(name.start - end), abs(start - name.end))))
            if reached is None:
                unmet.append((cue.kind, start))
        elif cue.kind == c.BEFORE:
            for name in clause.attribute(end) or (clause.nearest_back(start) if end - start > 1 else []):
                name.before = True
    _sizes(clause)
    _measured(clause)
    _alternatives(clause)
    _describe(clause)
    read_idioms(clause)
    _part_sides(clause)
    return unmet


def _apply_status(clause: Clause, start: int, end: int, cue: c.Cue, unmet: list[tuple[str, int]]) -> None:
    """Denial and doubt."""
    on = cue.reach == "on" or (cue.reach == "near" and _looks_on(clause, start, end, cue.kind))
    reached = clause.scope(end, cue.kind) if on else clause.subject(start, cue.kind)
    word = clause.words[start]
    if word in _ASKED and any(a > start and later.kind == c.GONE for a, _, later in clause.cues):
        return  # "the opacity questioned before is no longer seen"
    if word == "differential" and "include" in clause.words[end : clause.end]:
        end = clause.words.index("include", end)
        reached = clause.scope(end, cue.kind)
    if on and word == "versus":
        reached = reached[:1] + clause.nearest_back(start)[:1]
    elif on and word in ("rather", "instead"):
        reached = reached[:1] and clause.group_on(reached[0])
    elif on and not reached and clause.words[end - 1] == "be":  # "the heart may be enlarged"
        reached = [name for name in clause.subject(start, cue.kind) if name.concept.kind == "state"]
    elif not on and not reached:
        unmet.append((cue.kind, start))
    for name in reached:
        if name.status == c.DENIED and on and cue.kind != c.DENIED and word != "no":
            continue  # "no opacity to suggest pneumonia" denies both
        if name.status == c.DOUBTED and cue.kind == c.DENIED and cue.reach == "back":
            continue
        if name.status != c.DENIED or cue.kind != c.LIKELY:
            name.status = cue.kind


def _part_sides(clause: Clause) -> None:
    """ "increased on the left and decreased on the right": one line for each side."""
    words, told = clause.words, []
    for start, end, cue in clause.cues:
        near = words[end : min(end + 4, clause.end)]
        sides = [word for word in near if word in ("right", "left")]
        if cue.kind in c.CHANGE and sides and near[0] in ("on", "in", "at", *sides):
            told.append((cue.kind, sides[0], start))
    if len({side for _, side, _ in told}) < 2 or len({kind for kind, _, _ in told}) < 2:
        return
    (first, side, begin), (second, other, end) = told[:2]
    meant = [name for name in clause.names if {first, second} <= {kind for kind, _ in name.changes}]
    if not meant and not any(begin <= name.start < end for name in clause.names):
        meant = clause.nearest_back(begin)[-1:]  # "atelectasis, worse on the left, unchanged on the right"
    if len(meant) == 1 and side != other and first != second:
        name = meant[0]
        copy = replace(name, side=other, changes=[(second, 0)])
        name.side, name.changes = side, [(first, 0)]
        clause.names.append(copy)


def _looks_on(clause: Clause, start: int, end: int, kind: str) -> bool:
    """Whether a cue such as "possible" speaks of what follows ("possible effusion") and not of its subject."""
    following, subject = clause.scope(end, kind), clause.subject(start, kind)
    if not following or (kind == c.DENIED and subject):
        return False
    between = set(clause.words[end : following[0].start])
    predicate = clause.verb_before(start) is not None and bool(subject)
    if clause.words[end] == "with":
        between -= {"with"}  # "potentially with superimposed consolidation"
    return not between & {",", "with", "and"} and not (predicate and between & {"in", "on", "at"})


def _compares_sides(clause: Clause, end: int) -> bool:
    """ "worse on the right", "greater than left": sides are compared, not times."""
    words = clause.words[end : end + 4]
    if words[:1] == ["than"] and {"right", "left"} & set(words[1:3]):
        return True
    more = list(clause.words[end : min(end + 10, clause.end)])
    than = more.index("than") if "than" in more and more[0] in ("on", "at", "in") else 0
    if than and {"right", "left"} & set(more[1:3]) and {"right", "left"} & set(more[than : than + 4]):
        return True
    placed = words[:1] in (["on"], ["at"], ["in"]) and {"right", "left", "bases"} & set(words[1:3])
    whole = clause.words[clause.begin : clause.end]
    return bool(placed) and clause.words[end - 1] in _ADJECTIVES and not _TIMED & set(whole)


def _sizes(clause: Clause) -> None:
    """Whether the heart and the mediastinum are normal or enlarged: the nearest such word says."""
    judged = [(a, b, cue.kind) for a, b, cue in clause.cues if cue.kind in (c.NORMAL, c.BIG)]
    judged = [hit for hit in judged if not _of_finding(clause, hit[1])]
    for name in clause.names:
        if name.concept.kind == "state" and judged:
            name.size = min(judged, key=lambda hit: _distance(clause, name, hit[0], hit[1]))[2]


def _of_finding(clause: Clause, end: int) -> bool:
    following = [n for n in clause.names if 0 <= n.start - end <= 3 and not _APART & set(clause.words[end : n.start])]
    return bool(following) and following[0].concept.kind in ("finding", "other")


def _distance(clause: Clause, name: Name, start: int, end: int) -> int:
    between = clause.words[name.end : start] if start >= name.end else clause.words[end : name.start]
    return len(between) + 4 * sum(word == "," for word in between)


def _alternatives(clause: Clause) -> None:
    """ "atelectasis or pneumonia" without denial leaves both open."""
    for first, second in zip(clause.names, clause.names[1:], strict=False):
        gap = clause.words[first.end : second.start]
        if "or" in gap and "," not in gap and len(gap) <= 5 and _open(first) and _open(second):
            if first.concept.name != second.concept.name:
                first.status = second.status = c.DOUBTED


def _open(name: Name) -> bool:
    """A finding of which nothing else is said."""
    finding = name.concept.kind == "finding" and name.concept.name not in (*DEVICES, SUPPORT)
    return finding and not name.status and not name.changes


def _describe(clause: Clause) -> None:
    """Sides and sizes."""
    spans = [(name.start, name.end) for name in clause.names]
    turning = frozenset(a for a, _, cue in clause.cues if cue.kind in c.CHANGE)
    behind: list[bool] = []
    around = regions(spans, clause.words, clause.begin, clause.end)
    for name, (before, after) in zip(clause.names, around, strict=True):
        device = name.concept.name in DEVICES or name.concept.kind == "event"
        name.side, late = side_of(clause.words, range(before.start, name.end), after, device)
        name.severity = None if device else severity_of(clause.words, before, after, turning, clause.cue_places)
        behind.append(late)
    for number, (first, second) in enumerate(zip(clause.names, clause.names[1:], strict=False)):
        listed = bare(clause.words, first.end, second.start, clause.cue_places)
        beside = shares_side(clause.words, first.end, second.start)
        if second.side is None and (listed or beside):
            second.side = first.side
        elif first.side is None and listed and behind[number + 1]:
            first.side = second.side


def _measured(clause: Clause) -> None:
    """ "previously moderate, now large", "from 6 to 8 mm": the sizes say the direction."""
    words = clause.words
    if not _OF_TIME & set(words[clause.begin : clause.end]):
        return
    told = [(i, _ORDER.get(c.SEVERITY.get(words[i], ""), _number(words[i]))) for i in range(clause.begin, clause.end)]
    told = [(i, size) for i, size in told if size is not None]
    behind = [i for i, _ in told if words[i + 1 : i + 2] == ["on"] and "prior" in words[i + 2 : i + 5]]
    behind += [i for i, _ in told if words[i - 2 : i] == ["compared", "with"] and words[i + 1 : i + 2] in (["mm"], ["cm"])]
    old = [i for i, _ in told if _PAST & set(words[max(i - 3, clause.begin) : i]) and words[i - 1] != "to"] or behind
    if len(told) < 2 or not old:
        return
    sizes = dict(told)
    others = [i for i in sizes if i not in old and (sizes[i] >= 10) == (sizes[old[0]] >= 10)]
    reached = clause.nearest_back(old[0])[:1] or [name for name in clause.names if name.start > old[0]][:1]
    if not others or not reached or any(kind != c.SAME for kind, _ in reached[0].changes):
        return
    new = sizes[max(others)]
    if new != sizes[old[0]]:
        reached[0].changes.append((c.WORSE if new > sizes[old[0]] else c.BETTER, 0))


def _number(word: str) -> float | None:
    return 10 + float(word) if word[:1].isdigit() and len(word) < 8 else None
