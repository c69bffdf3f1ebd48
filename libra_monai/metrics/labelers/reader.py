# SPDX-License-Identifier: Apache-2.0
"""Reads a report: every finding and device it names, with status, side, size and change.

The rules work on sentences and clauses (`clauses`), names (`phrases`), cues (`cues`) and reach (`grammar`). They stand
in the tradition of NegEx, ConText and the CheXpert labeler, without a parser: what decides is the list of cues. It
does not read history, does not resolve coreference beyond "this" and "the tube", and knows English only.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache

from libra_monai.metrics.labelers import cues as c
from libra_monai.metrics.labelers.clauses import LONGEST, clauses, sentences
from libra_monai.metrics.labelers.grammar import Clause, Name
from libra_monai.metrics.labelers.lexicon import base_form, words_of
from libra_monai.metrics.labelers.mentions import Mention, turned, weighed
from libra_monai.metrics.labelers.phrases import names
from libra_monai.metrics.labelers.places import other_place, place_names, whole
from libra_monai.metrics.labelers.rules import read_clause
from libra_monai.metrics.labelers.shorthand import plain
from libra_monai.metrics.labelers.sides import OTHER_SIDE
from libra_monai.metrics.labelers.splices import spliced

REMEMBERED = 5000  # letters of the longest text that is kept
_POINTING = frozenset("this these it they both which that those he she patient".split())
_STUDY = frozenset(
    "exam examination study radiograph film appearance chest finding bronchoscopy ct ultrasound ultrasonography sonography mri evaluation follow "
    "correlation drainage thoracentesis biopsy consultation repositioning echocardiography imaging".split()
)


def read_report(text: str | None) -> tuple[Mention, ...]:
    """All mentions of a report in order. Reports are remembered, since several metrics read the same ones.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    return _remembered(text or "") if len(text or "") <= REMEMBERED else tuple(_read(text or ""))


@lru_cache(maxsize=32768)
def _remembered(text: str) -> tuple[Mention, ...]:
    return tuple(_same(mention) for mention in _read(text))


@lru_cache(maxsize=4096)
def _same(mention: Mention) -> Mention:
    """One object for equal mentions, so that remembering is cheap."""
    return mention


def _read(text: str) -> list[Mention]:
    mentions: list[Mention] = []
    devices: dict[str, Mention] = {}  # the last mention of each, the last one named last
    last = 0  # where the mentions of the sentence before begin
    for sentence in sentences(text):
        found, pending, side = _read_sentence(sentence)
        if pending and not found and side:  # "that on the right is stationary"
            twins = [mention for mention in mentions[last:] if mention.side == OTHER_SIDE[side]]
            mentions += [turned(replace(mention, side=side, change=None, severity=None), pending) for mention in twins[-1:]]
            continue
        if pending and not found:
            for place in range(last, len(mentions)):
                mentions[place] = turned(mentions[place], pending)
            continue
        last = len(mentions)
        for mention in found:
            mentions.append(_named_before(mention, devices))
            devices.pop(mentions[-1].finding, None)
            devices[mentions[-1].finding] = mentions[-1]
    return mentions


@lru_cache(maxsize=4096)
def _read_sentence(sentence: str) -> tuple[tuple[Mention, ...], tuple[str, ...], str | None]:
    """Mentions of a sentence, the cues in it that are said of the sentence before, and the side that they are said of if it is another."""
    raw = words_of(plain(sentence))
    mentions: list[Mention] = []
    pending: list[str] = []
    for start in range(0, len(raw), LONGEST * 4):  # no sentence is that long
        part = raw[start : start + LONGEST * 4]
        words = [base_form(word) for word in part]
        subject: list[Name] = []
        read: list[Name] = []
        for begin, end in itertools.chain.from_iterable(spliced(words, *bounds) for bounds in clauses(words)):
            clause = _clause(words, part, begin, end)
            unmet = read_clause(clause)
            named = [n.start for n in clause.names if n.concept.name]
            if unmet and subject and (not named or unmet[-1][1] < named[0]):
                _pass_on(subject, unmet, _other_side(clause, unmet), read)
            elif unmet and not read and _points_back(clause):
                pending += [kind for kind, _ in unmet]
            subject = [name for name in clause.names if name.concept.kind != "aside"] or subject
            read += clause.names
        place_names(read, words)
        mentions += [m for m in (weighed(name, part) for name in read) if m is not None]
    return tuple(mentions), tuple(pending), other_place([base_form(word) for word in raw[:9]])


def _clause(words: list[str], raw: list[str], begin: int, end: int) -> Clause:
    found = whole(names().find(words[begin:end]))
    masked = list(words[begin:end])
    for start, stop, concept in found:
        if concept.kind not in ("state", "aside"):
            masked[start:stop] = ["_"] * (stop - start)
    hits = [(a + begin, b + begin, cue) for a, b, cue in c.find_cues(masked)]
    named = [
        Name(a + begin, b + begin, concept, plural=raw[b + begin - 1].endswith("s") and concept.kind == "finding")
        for a, b, concept in found
    ]
    speaking = (*c.CHANGE, c.DENIED, c.DOUBTED, c.LIKELY)
    places = frozenset(i for a, b, cue in hits if cue.kind in speaking for i in range(a, b))
    return Clause(words, begin, end, named, hits, places)


def _other_side(clause: Clause, unmet: list[tuple[str, int]]) -> str | None:
    """The side that stands for a finding: "... while the right has decreased"."""
    at = unmet[0][1]
    named = [word for word in clause.words[clause.begin : at] if word in ("right", "left")]
    after = list(clause.words[at : at + 6])
    if not named and "on" in after:
        named = [word for word in after[after.index("on") :] if word in ("right", "left")]
    return named[-1] if named and unmet[0][0] in c.CHANGE else None


def _pass_on(subject: list[Name], unmet: list[tuple[str, int]], side: str | None, read: list[Name]) -> None:
    if side and subject[-1].side != side:
        old = subject[-1]
        subject = [Name(old.start, old.end, old.concept, status=old.status, side=side)]
        read.extend(subject)
    for kind, _ in unmet:
        for name in subject:
            if kind in c.CHANGE:
                name.changes.append((kind, 0))
            elif name.status is None or kind == c.DOUBTED:
                name.status = kind


def _points_back(clause: Clause) -> bool:
    """Whether a clause without a name speaks of the sentence before: "This has increased", "Unchanged from prior"."""
    words = clause.words[clause.begin : clause.end]
    if any(name.concept.name or name.concept.kind == "aside" for name in clause.names):
        return False
    return words[0] in _POINTING or (len(words) <= 7 and not _STUDY & set(words) and "lungs" not in words)


MEANT = {  # which devices a line or tube without a name of its own can be
    "tube": ("Endotracheal Tube", "Gastric Tube", "Chest Drain"), "catheter": ("Central Line", "Chest Drain"),
    "line": ("Central Line",), "drain": ("Chest Drain",), "device": ("Pacemaker",), "lead": ("Pacemaker",),
    "leads": ("Pacemaker",), "port": ("Central Line",), "sheath": ("Central Line",),
}  # fmt: skip


def _named_before(mention: Mention, devices: dict[str, Mention]) -> Mention:
    """ "The tube" after "a chest tube" is that tube."""
    for before in reversed(devices.values() if mention.generic in MEANT else ()):
        if before.finding in MEANT[mention.generic]:
            return replace(mention, finding=before.finding, side=mention.side or before.side, generic="")
    return mention
