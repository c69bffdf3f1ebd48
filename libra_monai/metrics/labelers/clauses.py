# SPDX-License-Identifier: Apache-2.0
"""Sentences of a report, and the clauses of a sentence within which a word of denial or change can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from libra_monai.metrics.labelers.cues import AUXILIARIES, CLASSES

LONGEST = 90  # words; longer runs without a full stop are cut, so the reader's time stays linear in the text
_END = re.compile(
    r"[.!?](?=\s|$)(?<=[^\s\d].)(?<!\bdr.)(?<!\bvs.)(?<!\bapprox.)(?<!\b[ap]\.m.)|[.!](?=\s+[a-z]|\s*$)(?<=\d.)"
    r"|\.(?=[a-z])(?<=[a-z]{3}.)|;",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^\s*(?:\(?\d{1,2}[.)]|[-*\u2022]+)\s+")
_HARD = frozenset("but however although though whereas while nevertheless nonetheless".split())
_NONE = frozenset("no without not".split())
_FINITE = AUXILIARIES | frozenset("persist develop continue".split())
_ADVERBS = CLASSES["adv"] | {"not", "no", "longer", "also", "therefore", "thus", "then"}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a report.

    A line end is the end of a sentence if the line is short or the next one starts a new item; reports with hard
    line breaks are joined again.

    Args:
        text: as written, in any case.
    """
    for _, told in _blocks(text):
        item = _LISTED.match(told)
        for sentence in _END.split(told[item.end() :] if item else told):
            if sentence.strip():
                yield sentence.strip()


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of every sentence in the text, the number of an item before it and its full stop included.

    Args:
        text: as written.
    """
    spans = []
    for first, told in _blocks(text):
        item = _LISTED.match(told)
        begin, start = 0, item.end() if item else 0
        for end in [*(mark.end() for mark in _END.finditer(told, start)), len(told)]:
            if told[max(begin, start) : end].strip(" .!?;\t"):
                lead = len(told[begin:end]) - len(told[begin:end].lstrip())
                spans.append((first + begin + lead, first + begin + len(told[begin:end].rstrip())))
            elif spans and told[begin:end].strip():  # further full stops
                spans[-1] = (spans[-1][0], first + begin + len(told[begin:end].rstrip()))
            begin = end
    return spans


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Lines that belong together, with the place in the text where they begin; line breaks within are spaces."""
    lines = text.splitlines(keepends=True)
    first = at = 0
    parts: list[str] = []
    for number, whole in enumerate(lines):
        line = whole.splitlines()[0]
        following = lines[number + 1].splitlines()[0] if number + 1 < len(lines) else ""
        start = following.lstrip()[:1]
        wraps = len(line) >= 50 and start != "" and (start.islower() or start.isdigit()) and not _LISTED.match(following)
        wraps = wraps or (start.islower() and not _LISTED.match(following))
        parts.append(line + (" " * (len(whole) - len(line)) if wraps else ""))
        at += len(whole)
        if not wraps:
            yield first, "".join(parts)
            first, parts = at, []


def clauses(words: Sequence[str]) -> list[tuple[int, int]]:
    """Where the clauses of a sentence begin and end.

    Args:
        words: base forms of one sentence.
    """
    bounds, begin = [], 0
    for at in range(len(words) + 1):
        if at == len(words) or words[at] in _HARD or at - begin >= LONGEST:
            bounds += _halves(words, begin, at)
            begin = at + (at < len(words) and words[at] in _HARD)
    return [(a, b) for a, b in bounds if a < b]


def _list(words: Sequence[str], marks: Sequence[int], number: int, begin: int, end: int) -> bool:
    """Whether an `and` joins two subjects of one plural verb, behind another statement: "..., effusion and edema are unchanged"."""
    mark, before = marks[number], marks[number - 1] if number else None
    until = marks[number + 1] if number + 1 < len(marks) else end
    verb = next((words[i] for i in range(mark, until) if words[i] in _FINITE), None)
    alone = before is not None and mark - before > 1 and not any(words[i] in _FINITE or words[i] in _NONE for i in range(before, mark))
    return words[mark] == "and" and verb in ("are", "were", "have", "remain", "persist") and alone


def _halves(words: Sequence[str], begin: int, end: int) -> list[tuple[int, int]]:
    """Part a run of words at commas and `and` where a full statement stands on both sides."""
    marks = [i for i in range(begin, end) if words[i] in (",", "and")]
    marks = [mark for number, mark in enumerate(marks) if not _list(words, marks, number, begin, end)]
    parts, start = [], begin
    for number, mark in enumerate(marks):
        until = next((m for m in marks[number + 1 :] if m > mark + 1), end)
        after = mark + 1
        while after < until and (words[after] in _ADVERBS or words[after] in (",", "and")):
            after += 1
        verbs = [i for i in range(after, until) if words[i] in _FINITE]
        own_subject = verbs and verbs[0] > after and words[after] not in ("which", "that", "who", "as")
        if own_subject and words[after] in ("at", "in", "on") and words[verbs[0] - 1] != "there":
            own_subject = False  # "in the left lung and at the right base"
        if own_subject and any(words[i] in _FINITE for i in range(start, mark)):
            parts.append((start, mark))
            start = mark + 1
    return [*parts, (start, end)]
