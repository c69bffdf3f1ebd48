# SPDX-License-Identifier: Apache-2.0
"""What is left to say of a sentence that the guard broke off: "The enteric tube is un." becomes "Enteric tube."

It is told as radiologists dictate. Nothing is added but punctuation, and nothing is said of a finding that the refused
words would have called gone: what the model was about to write decides whether its subject stands. Of bare anatomy
nothing is said ("The heart is un."), so it does not stand. Only sentences that are known to be broken come here; how
they are known is the business of `guard`. English only, as the labelers whose words and clauses are used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from typing import NamedTuple

from libra_monai.metrics.labelers.clauses import clauses, sentence_spans
from libra_monai.metrics.labelers.cues import AUXILIARIES
from libra_monai.metrics.labelers.lexicon import base_form
from libra_monai.metrics.labelers.reader import read_report

_WORD = re.compile(r"\d+(?:\.\d+)?|[a-z]+(?:['-][a-z]+)*|[^\sa-z0-9]", re.IGNORECASE)
_ITEM = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*\u2022]+)\s+")
_ARTICLE = re.compile(r"(?:the|an?)\s+", re.IGNORECASE)
_LINKS = frozenset("which that who whose where".split())
_DENIALS = frozenset("no not without never neither nor cannot".split())
_VERBS = AUXILIARIES | frozenset(
    "remains appears seems becomes do does did can could may might will would should shall represent represents reflect "
    "reflects suggest suggests indicate indicates demonstrates undergoes continue continues continued".split()
)
# Words that say nothing at the end of a sentence.
_LOOSE = (
    _VERBS | _LINKS | _DENIALS
    | frozenset(
        "a an the this that these those there it its their any some all both each either "
        "of with in at on to from by for within than over under near as into along through between about since during "
        "after before if and or but while whereas although though however "
        "now also still only otherwise again yet likely probably possibly presumably apparently overall slightly mildly "
        "minimally moderately markedly significantly substantially somewhat much even quite very rather more less most "
        "least relatively essentially grossly largely mostly nearly almost perhaps further "
        "representing reflecting suggesting indicating showing demonstrating compared consistent compatible due "
        "secondary related".split()
    )
)  # fmt: skip
# Beginnings of words that say of something that it is there still, or there now.
_THERE = (
    "unchang unalter stable stabil persist remain continu still again increas decreas diminish reduc enlarg grow larger "
    "smaller bigger progress worse improv better new develop recurr chang similar residual evolv more less redemonstr "
    "same appear"
).split()
# Those that say so even where they are denied ("has not increased"); "is not still present" says the contrary.
_EVEN_DENIED = (
    "chang alter increas decreas diminish reduc enlarg grow larger smaller bigger progress worse improv better more less "
    "similar"
).split()
# Words that may say that it is not ("if any").
_GONE = (
    "if resol clear remov disappear longer gone absent withdr subsid extubat evacuat normal return expand replac exchang "
    "vanish pulled taken"
).split()
_BEGUN = 3  # letters of a begun word that are enough: the guard refuses only beginnings that can become nothing else
_ANATOMY = re.compile(
    r"\b(?:lungs?|lobes?|heart|cardiac|aort\w+|mediastin\w+|cardiomediastin\w+|hil(?:um|a|ar)|pleura\w*|diaphragm\w*"
    r"|hemidiaphragm\w*|costophrenic|trachea\w*|bronch\w+|ribs?|bon(?:es?|y)|osseous|spine|vertebra\w*|clavicles?"
    r"|vasculature|vascularity|vessels?|hemithorax|chest|apex|apices|bases?|silhouette|soft tissues?|abdomen|stomach)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Broken:
    """A sentence that was broken off.

    Args:
        next: the refused letters that the model would have gone on with.
        half: they would have gone on with the last word.
        ended: the answer ended there, without a full stop.
    """

    next: str
    half: bool
    ended: bool = False


@dataclass(frozen=True)
class Mended:
    """A text whose broken sentences were mended.

    Args:
        text: what stands.
        places: for each of its letters the place in the text that was written; -1 for a letter that was put in.
    """

    text: str
    places: tuple[int, ...]

    def ends(self, written: Sequence[int]) -> list[int]:
        """For each token the letters of `text` up to and with it; a token that does not stand adds none.

        Args:
            written: the same in the text that was written, see `text.token_ends`.
        """
        ends, end, place = [], 0, 0
        for last in written:
            while place < len(self.places) and self.places[place] < last:
                place += 1
                end = place if self.places[place - 1] >= 0 and not self.text[place - 1].isspace() else end
            ends.append(end)
        return ends


def mend(text: str, broken: Sequence[tuple[int, Broken]], size: int | None = None) -> Mended:
    """The beginning of a text, with only that of each broken sentence which can stand.

    Args:
        text: as written.
        broken: where in the text each of them ends, in order, and how it was broken.
        size: letters of the beginning; None is all. A sentence of which it lacks words stays as it is: something else
            cut that off.
    """
    size = len(text) if size is None else size
    told: list[tuple[str, int]] = []
    done = 0
    for end, how in broken:
        start, stop = (sentence_spans(text[:end]) or [(size, size)])[-1]
        if start < done or size < len(text[:stop].rstrip(" .")):
            continue
        stop = min(stop, size)
        kept = _standing(text[start:stop], how)
        told += _places(text, done, start if kept else len(text[:start].rstrip()))
        told += [(letter, place + start if place >= 0 else -1) for letter, place in kept]
        done = stop
    return _stripped(told + _places(text, done, size))


def _places(text: str, start: int, end: int) -> list[tuple[str, int]]:
    """Letters of a text, each with its place."""
    return [(text[place], place) for place in range(start, end)]


def _stripped(told: list[tuple[str, int]]) -> Mended:
    """Without white space around it."""
    text = "".join(letter for letter, _ in told)
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return Mended(text.strip(), tuple(place for _, place in told[start : max(start, end)]))


class _Word(NamedTuple):
    """A word of a sentence in lower case, and where it stands."""

    text: str
    start: int
    end: int


def _standing(sentence: str, how: Broken) -> list[tuple[str, int]]:
    """Letters of a broken sentence that stand, each with its place in it; none if nothing does."""
    item = _ITEM.match(sentence)
    first = item.end() if item else 0
    whole = sentence.rstrip(" .")
    words = [_Word(mark[0].lower(), *mark.span()) for mark in _WORD.finditer(whole, first)]
    last = (clauses([base_form(word.text) for word in words]) or [(0, 0)])[-1][0]  # where the last clause begins
    before = _without_loose(words[:last])
    spans = [(before[0].start, before[-1].end)] if before else []
    spans += _clause_standing(whole, list(dropwhile(lambda word: word.text in (",", "and"), words[last:])), how)
    if not spans:
        return []
    letters = _places(sentence, 0, first)
    for number, (start, end) in enumerate(spans):
        letters += [*[(";", -1), (" ", -1)][: 2 * number], *_places(sentence, start, end)]
    letter, place = letters[first]
    if sentence[first].isupper() and len(letter.upper()) == 1:
        letters[first] = (letter.upper(), place)
    return [*letters, (".", -1)] if sentence.endswith(".") or how.ended else letters


def _without_loose(words: list[_Word]) -> list[_Word]:
    """Without what says nothing at the end."""
    while words and (words[-1].text in _LOOSE or not words[-1].text[0].isalnum()):
        words = words[:-1]
    return words


def _clause_standing(sentence: str, words: list[_Word], how: Broken) -> list[tuple[int, int]]:
    """From where to where the last clause of a sentence stands, if it does."""
    kept = _without_loose(words[: len(words) - how.half])
    if not kept:
        return []
    start, end = kept[0].start, kept[-1].end
    lost = re.findall(r"[a-z]+", f"{sentence[end:]}{'' if how.half else ' '}{how.next}".lower())
    said = sentence[start:end]
    if _begins(lost, _GONE):
        return []
    if any(word.text in _VERBS and before.text not in _LINKS for before, word in pairwise(kept)):  # a whole statement
        tells = _names(said) or (kept[0].text != "there" and _ANATOMY.search(said))  # there always is a lung
        return [(start, end)] if tells else []
    there = _EVEN_DENIED if _DENIALS.intersection(lost) else _THERE
    if not _begins(lost, there) or not _names(said):
        return []
    article = _ARTICLE.match(said)
    return [(start + (article.end() if article else 0), end)]


def _begins(words: list[str], stems: Sequence[str]) -> bool:
    """Whether one of some words begins like a stem; the last word may itself have only begun."""
    if any(word.startswith(stem) for word in words for stem in stems):
        return True
    return bool(words) and len(words[-1]) >= _BEGUN and any(stem.startswith(words[-1]) for stem in stems)


def _names(said: str) -> bool:
    """Whether a finding or a device is named."""
    return bool(read_report(said))
