# SPDX-License-Identifier: Apache-2.0
"""Reads a report: every finding and device it names, with status, side, size and change.

The rules work on sentences and clauses (`clauses`), names (`phrases`), cues (`cues`) and reach (`grammar`). They stand
in the tradition of NegEx, ConText and the CheXpert labeler, without a parser: what decides is the list of cues. It
does not read history, does not resolve coreference beyond "this" and "the tube", and knows English only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from libra_monai.metrics.labelers import cues as c
from libra_monai.metrics.labelers.clauses import LONGEST, clauses, sentences
from libra_monai.metrics.labelers.grammar import Clause, Name
from libra_monai.metrics.labelers.lexicon import base_form, plain, words_of
from libra_monai.metrics.labelers.phrases import DEVICES, MIDLINE, SUPPORT, names
from libra_monai.metrics.labelers.sides import BILATERAL, bare, regions, severity_of, shares_side, side_of

PRESENT, LIKELY, UNCERTAIN, ABSENT, GONE = "present", "likely", "uncertain", "absent", "gone"
_STATUS = {c.DENIED: ABSENT, c.DOUBTED: UNCERTAIN, c.LIKELY: LIKELY}
_CHANGES = (c.GONE, c.NEW, c.WORSE, c.BETTER, c.SAME)
_REMEMBERED = 5000  # letters of the longest text that is kept
_ORDER = {"small": 1.0, "moderate": 2.0, "large": 3.0}
_POINTING = frozenset("this these it they both which that those he she patient".split())
_STUDY = frozenset("exam examination study radiograph film appearance chest finding".split())


@dataclass(frozen=True)
class Mention:
    """One finding or device named in a report.

    Args:
        finding: CheXpert-14 name or device; empty for other abnormalities.
        side: left, right, bilateral or None.
        status: `present`, `likely`, `uncertain`, `absent` or `gone` (resolved or removed since the prior).
        severity: small, moderate, large or None.
        change: new, worsened, improved, stable, resolved, removed or None.
        also: further CheXpert observations the phrase counts for.
        generic: a line or tube without a name of its own; the word.
    """

    finding: str
    side: str | None
    status: str
    severity: str | None = None
    change: str | None = None
    also: tuple[str, ...] = ()
    generic: str = ""


def read_report(text: str | None) -> tuple[Mention, ...]:
    """All mentions of a report in order. Reports are remembered, since several metrics read the same ones.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    return _remembered(text or "") if len(text or "") <= _REMEMBERED else tuple(_read(text or ""))


@lru_cache(maxsize=32768)
def _remembered(text: str) -> tuple[Mention, ...]:
    return tuple(_same(mention) for mention in _read(text))


@lru_cache(maxsize=4096)
def _same(mention: Mention) -> Mention:
    """One object for equal mentions, so that remembering is cheap."""
    return mention


def _read(text: str) -> list[Mention]:
    mentions: list[Mention] = []
    last = 0  # where the mentions of the sentence before begin
    for sentence in sentences(text):
        found, pending = _read_sentence(sentence)
        if pending and not found:
            for place in range(last, len(mentions)):
                mentions[place] = _turned(mentions[place], pending)
            continue
        last = len(mentions)
        mentions += [_named_before(mention, mentions) for mention in found]
    return mentions


@lru_cache(maxsize=4096)
def _read_sentence(sentence: str) -> tuple[tuple[Mention, ...], tuple[str, ...]]:
    """Mentions of a sentence, and the cues in it that are said of the sentence before."""
    raw = words_of(plain(sentence))
    mentions: list[Mention] = []
    pending: list[str] = []
    for start in range(0, len(raw), LONGEST * 4):  # no sentence is that long
        part = raw[start : start + LONGEST * 4]
        words = [base_form(word) for word in part]
        subject: list[Name] = []
        read: list[Name] = []
        for begin, end in clauses(words):
            clause = _clause(words, part, begin, end)
            unmet = _read_clause(clause)
            if unmet and subject and not [n for n in clause.names if n.concept.name]:
                _pass_on(subject, unmet, _other_side(clause, unmet), read)
            elif unmet and not read and _points_back(clause):
                pending += [kind for kind, _ in unmet]
            subject = [name for name in clause.names if name.concept.kind != "aside"] or subject
            read += clause.names
        mentions += [m for m in (_mention(name, part) for name in read) if m is not None]
    return tuple(mentions), tuple(pending)


def _clause(words: list[str], raw: list[str], begin: int, end: int) -> Clause:
    found = names().find(words[begin:end])
    masked = list(words[begin:end])
    for start, stop, concept in found:
        if concept.kind not in ("state", "aside"):
            masked[start:stop] = ["_"] * (stop - start)
    hits = [(a + begin, b + begin, cue) for a, b, cue in c.find_cues(masked)]
    named = [
        Name(a + begin, b + begin, concept, plural=raw[b + begin - 1].endswith("s") and concept.kind == "finding")
        for a, b, concept in found
    ]
    places = frozenset(i for a, b, cue in hits if cue.kind in _CHANGES or cue.kind in _STATUS for i in range(a, b))
    return Clause(words, begin, end, named, hits, places)


def _read_clause(clause: Clause) -> list[tuple[str, int]]:
    """Apply all cues of a clause; gives those that reach nothing in it."""
    unmet: list[tuple[str, int]] = []
    for start, end, cue in clause.cues:  # adjectives and denials first: subjects leave out what has its own adjective
        if cue.kind in _STATUS:
            _apply_status(clause, start, end, cue, unmet)
    ordered = sorted(clause.cues, key=lambda hit: clause.verb_before(hit[0]) is not None)
    for start, end, cue in ordered:
        if cue.kind in _CHANGES:
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
    return unmet


def _apply_status(clause: Clause, start: int, end: int, cue: c.Cue, unmet: list[tuple[str, int]]) -> None:
    words = clause.words
    on = cue.reach == "on"
    if cue.reach == "near":
        following = clause.scope(end, cue.kind)
        between = words[end : following[0].start] if following else []
        there = clause.verb_before(start)
        subject = clause.subject(start, cue.kind)
        barred = {",", "with", "and"} | ({"in", "on", "at"} if there is not None and subject else set())
        on = bool(following) and not barred & set(between)
        if on and cue.kind == c.DENIED:
            on = not subject
    if on:
        reached = clause.scope(end, cue.kind)
        if words[start] == "versus":
            reached = reached[:1] + clause.nearest_back(start)[:1]
        elif words[start] in ("rather", "instead"):
            reached = reached[:1] and clause.group_on(reached[0])
    else:
        reached = clause.subject(start, cue.kind)
        if not reached:
            unmet.append((cue.kind, start))
    for name in reached:
        if cue.kind == c.DENIED and name.status == c.DOUBTED and cue.reach == "back":
            continue
        if name.status != c.DENIED or cue.kind != c.LIKELY:
            name.status = cue.kind if not (name.status == c.DENIED and on and cue.kind == c.DOUBTED and words[start] != "no") else name.status


def _compares_sides(clause: Clause, end: int) -> bool:
    """ "worse on the right", "greater than left": sides are compared, not times."""
    words = list(clause.words[end : end + 4])
    if words[:1] == ["than"] and {"right", "left"} & set(words[1:3]):
        return True
    if words[:1] in (["on"], ["at"], ["in"]) and {"right", "left", "bases"} & set(words[1:3]):
        turned = {"than", "since", "compared", "prior", "interval", "now"} & set(clause.words[clause.begin : clause.end])
        adjective = clause.words[end - 1] in ("worse", "larger", "greater", "smaller", "extensive", "pronounced", "severe", "prominent")
        return adjective and not turned and not {"has", "have", "become"} & set(clause.words[clause.begin : end])
    return False


def _sizes(clause: Clause) -> None:
    """Whether the heart and the mediastinum are normal or enlarged: the nearest such word says."""
    judged = [(a, b, cue.kind) for a, b, cue in clause.cues if cue.kind in (c.NORMAL, c.BIG)]
    judged = [hit for hit in judged if not _of_finding(clause, hit[1])]
    for name in clause.names:
        if name.concept.kind == "state" and judged:
            name.size = min(judged, key=lambda hit: _distance(clause, name, hit[0], hit[1]))[2]


def _of_finding(clause: Clause, end: int) -> bool:
    following = [n for n in clause.names if 0 <= n.start - end <= 3]
    return bool(following) and following[0].concept.kind in ("finding", "other")


def _distance(clause: Clause, name: Name, start: int, end: int) -> int:
    between = clause.words[name.end : start] if start >= name.end else clause.words[end : name.start]
    return len(between) + 4 * sum(word == "," for word in between)


def _alternatives(clause: Clause) -> None:
    """ "atelectasis or pneumonia" without denial leaves both open."""
    kinds = ("finding", "state")
    for first, second in zip(clause.names, clause.names[1:], strict=False):
        named = first.concept.name and second.concept.name and first.concept.kind in kinds and second.concept.kind in kinds
        device = {first.concept.name, second.concept.name} & {*DEVICES, SUPPORT}
        gap = clause.words[first.end : second.start]
        if named and not device and "or" in gap and "," not in gap and len(gap) <= 5 and not first.status and not second.status:
            if first.concept.kind == "finding" and first.concept.name != second.concept.name and not (first.changes or second.changes):
                first.status = second.status = c.DOUBTED


def _describe(clause: Clause) -> None:
    """Sides and sizes."""
    spans = [(name.start, name.end) for name in clause.names]
    turning = frozenset(a for a, _, cue in clause.cues if cue.kind in _CHANGES)
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
    told = [(i, _ORDER.get(c.SEVERITY.get(words[i], ""), _number(words[i]))) for i in range(clause.begin, clause.end)]
    told = [(i, size) for i, size in told if size is not None]
    old = [i for i, _ in told if {"previously", "prior", "from", "was", "were"} & set(words[max(i - 3, clause.begin) : i])]
    if len(told) < 2 or not old:
        return
    sizes = dict(told)
    others = [i for i in sizes if i not in old and (sizes[i] >= 10) == (sizes[old[0]] >= 10)]
    reached = clause.nearest_back(old[0])[:1]
    if not others or not reached or any(kind != c.SAME for kind, _ in reached[0].changes):
        return
    new = sizes[max(others)]
    if new != sizes[old[0]]:
        reached[0].changes.append((c.WORSE if new > sizes[old[0]] else c.BETTER, 0))


def _number(word: str) -> float | None:
    return 10 + float(word) if word[:1].isdigit() and len(word) < 8 else None


def _other_side(clause: Clause, unmet: list[tuple[str, int]]) -> str | None:
    """The side that stands for a finding: "... while the right has decreased"."""
    at = unmet[0][1]
    named = [word for word in clause.words[clause.begin : at] if word in ("right", "left")]
    after = list(clause.words[at : at + 6])
    if not named and "on" in after:
        named = [word for word in after[after.index("on") :] if word in ("right", "left")]
    return named[-1] if named and unmet[0][0] in _CHANGES else None


def _pass_on(subject: list[Name], unmet: list[tuple[str, int]], side: str | None, read: list[Name]) -> None:
    if side and subject[-1].side != side:
        old = subject[-1]
        subject = [Name(old.start, old.end, old.concept, status=old.status, side=side)]
        read.extend(subject)
    for kind, _ in unmet:
        for name in subject:
            if kind in _CHANGES:
                name.changes.append((kind, 0))
            elif name.status is None or kind == c.DOUBTED:
                name.status = kind


def _points_back(clause: Clause) -> bool:
    """Whether a clause without a name speaks of the sentence before: "This has increased", "Unchanged from prior"."""
    words = clause.words[clause.begin : clause.end]
    if any(name.concept.name or name.concept.kind == "aside" for name in clause.names):
        return False
    return words[0] in _POINTING or (len(words) <= 7 and not _STUDY & set(words) and "lungs" not in words)


def _mention(name: Name, raw: list[str]) -> Mention | None:
    """The final word on a name."""
    concept = name.concept
    if concept.kind == "aside":
        return None
    device = concept.name in DEVICES or concept.name == SUPPORT
    kind = _change_kind(name, device)
    status = _STATUS.get(name.status or "", PRESENT)
    if concept.kind == "state":
        judged = _state_status(name, kind, status)
        if judged is None:
            return None
        status = judged
    if concept.kind == "event":
        kind = {"removed": c.GONE, "new": c.NEW}.get(concept.change or "", kind)
    if (kind == c.GONE and status in (PRESENT, LIKELY, ABSENT)) or status == GONE:
        status, kind = GONE, c.GONE
    elif status == ABSENT:
        status, kind = (GONE, c.GONE) if name.before else (ABSENT, None)
    change = c.CHANGE.get(kind or "")
    if device and change == "resolved":
        change = "removed"
    if status == UNCERTAIN and kind in (c.GONE, c.NEW):
        change = None
    return Mention(
        concept.name, _side(name), status, None if device else name.severity, change, concept.also,
        raw[name.end - 1] if concept.name == SUPPORT else "",
    )  # fmt: skip


def _state_status(name: Name, kind: str | None, status: str) -> str | None:
    """Status of anatomy: there only if enlarged, open if merely said to be unchanged, else not said."""
    if name.size == c.NORMAL:
        return GONE if kind in (c.BETTER, c.GONE) else ABSENT
    if name.size == c.BIG or kind == c.WORSE:
        return status
    if kind in (c.BETTER, c.SAME, c.GONE) or status == UNCERTAIN:
        return UNCERTAIN if kind != c.GONE else GONE
    return None


def _change_kind(name: Name, device: bool) -> str | None:
    """The cue that counts: direction before sameness, then the nearest."""
    changes = [hit for hit in name.changes if not device or hit[0] in (c.GONE, c.NEW, c.SAME)]
    if not changes:
        return None
    directed = [hit for hit in changes if hit[0] != c.SAME]
    return min(directed or changes, key=lambda hit: hit[1])[0]


def _side(name: Name) -> str | None:
    finding = name.concept.name
    if finding in MIDLINE:
        return None
    if finding == "Edema" and name.side is None:
        return BILATERAL  # pulmonary edema unless a side is named
    if finding == "Pleural Effusion" and name.side is None and name.plural:
        return BILATERAL
    return name.side


def _turned(mention: Mention, kinds: tuple[str, ...]) -> Mention:
    """A mention after a following sentence such as "This has increased"."""
    for kind in kinds:
        device = mention.finding in DEVICES or mention.finding == SUPPORT
        if kind in _CHANGES and mention.status in (PRESENT, LIKELY) and (mention.change in (None, "stable")):
            if device and kind in (c.WORSE, c.BETTER):
                continue
            change = "removed" if device and kind == c.GONE else c.CHANGE[kind]
            mention = replace(mention, change=change, status=GONE if kind == c.GONE else mention.status)
        elif kind == c.DOUBTED and mention.status in (PRESENT, LIKELY, ABSENT):
            mention = replace(mention, status=UNCERTAIN)
    return mention


_MEANT = {
    "tube": ("Endotracheal Tube", "Gastric Tube", "Chest Drain"), "catheter": ("Central Line", "Chest Drain"),
    "line": ("Central Line",), "drain": ("Chest Drain",), "device": ("Pacemaker",), "lead": ("Pacemaker",),
    "leads": ("Pacemaker",), "port": ("Central Line",), "sheath": ("Central Line",),
}  # fmt: skip


def _named_before(mention: Mention, earlier: list[Mention]) -> Mention:
    """ "The tube" after "a chest tube" is that tube."""
    for before in reversed(earlier if mention.generic in _MEANT else []):
        if before.finding in _MEANT[mention.generic]:
            return replace(mention, finding=before.finding, side=mention.side or before.side, generic="")
    return mention
