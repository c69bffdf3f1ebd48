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
_FINITE = AUXILIARIES | frozenset("persist develop continue".split())
_ADVERBS = CLASSES["adv"] | {"not", "no", "longer", "also", "therefore", "thus", "then"}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a report.

    A line end is the end of a sentence if the line is short or the next one starts a new item; reports with hard
    line breaks are joined again.

    Args:
        text: as written, in any case.
    """
    joined: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        item = _LISTED.match(line)
        start = following.lstrip()[:1]
        wraps = len(line) >= 50 and start != "" and (start.islower() or start.isdigit()) and not _LISTED.match(following)
        wraps = wraps or (start.islower() and not _LISTED.match(following))
        joined.append((line[item.end() :] if item else line) + (" " if wraps else "\n"))
    for line in "".join(joined).split("\n"):
        for sentence in _END.split(line):
            if sentence.strip():
                yield sentence.strip()


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


def _halves(words: Sequence[str], begin: int, end: int) -> list[tuple[int, int]]:
    """Part a run of words at commas and `and` where a full statement stands on both sides."""
    marks = [i for i in range(begin, end) if words[i] in (",", "and")]
    parts, start = [], begin
    for number, mark in enumerate(marks):
        until = next((m for m in marks[number + 1 :] if m > mark + 1), end)
        after = mark + 1
        while after < until and (words[after] in _ADVERBS or words[after] in (",", "and")):
            after += 1
        verbs = [i for i in range(after, until) if words[i] in _FINITE]
        own_subject = verbs and verbs[0] > after and words[after] not in ("which", "that", "who")
        if own_subject and any(words[i] in _FINITE for i in range(start, mark)):
            parts.append((start, mark))
            start = mark + 1
    return [*parts, (start, end)]
