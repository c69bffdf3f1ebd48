# SPDX-License-Identifier: Apache-2.0
"""Words and phrases: how report text becomes words, and how phrases of a table are found among them.

Words are lower case and reduced to one form (`effusions`, `effusoin` -> `effusion`), so tables stay short. Phrases
stand in a tree by their words, so a report is read in time linear in its length however long the tables are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Generic, TypeVar

Value = TypeVar("Value")

_WORD = re.compile(r"\d+(?:\.\d+)?|[a-z]+(?:'[a-z]+)?|[^\sa-z0-9]")

# One form for words that differ only in ending; the first fitting start wins.
_STEMS = {
    "atelecta": "atelectasis", "opaci": "opacity", "consolidat": "consolidation", "pneumothora": "pneumothorax",
    "cardiomegal": "cardiomegaly", "infiltrat": "infiltrate", "fractur": "fracture", "worsen": "worsen",
    "improv": "improve", "increas": "increase", "decreas": "decrease", "progress": "progress", "persist": "persist",
    "reduc": "reduce", "diminish": "diminish", "regress": "regress", "deteriorat": "deteriorate", "shrink": "shrink",
    "lessen": "lessen", "unchang": "unchanged", "unalter": "unchanged", "stabil": "stable", "stabl": "stable",
    "redemonstrat": "redemonstrate", "reaccumulat": "reaccumulate", "accumulat": "accumulate", "reidentif": "redemonstrate",
    "calcifi": "calcification", "hyperinflat": "hyperinflation", "granuloma": "granuloma", "thicken": "thickening",
    "visuali": "visualized", "suggest": "suggest", "suspicio": "suspicious", "concern": "concern", "develop": "develop",
    "extubat": "extubated", "intubat": "intubated", "bilateral": "bilateral", "degenerat": "degenerative", "subsid": "subside",
    "emphysema": "emphysema", "exacerbat": "worsen",
}  # fmt: skip
_FORMS = {
    "oedema": "edema", "oedematous": "edema", "edematous": "edema", "ptx": "pneumothorax", "shrunk": "shrink",
    "shrunken": "shrink", "shrank": "shrink", "grown": "grow", "grew": "grow", "growing": "grow", "growth": "grow",
    "vs": "versus",
    "atx": "atelectasis", "fx": "fracture", "fxs": "fracture", "bilat": "bilateral", "pulm": "pulmonary", "pna": "pneumonia",
    "rt": "right", "lt": "left", "evidence": "evidence", "hila": "hila", "haemothorax": "hemothorax",
    "changes": "change", "changed": "change", "altered": "change", "alteration": "change", "alterations": "change",
    "is": "is", "was": "was", "has": "has", "this": "this", "as": "as", "less": "less", "its": "its", "previous": "prior",
    "earlier": "prior", "last": "prior", "former": "prior", "priors": "prior", "previously": "previously", "formerly": "previously",
    "excludes": "exclude", "excluding": "except", "denies": "deny", "appears": "appear", "appeared": "appeared", "visible": "seen",
    "visualized": "seen", "identified": "seen", "noted": "seen", "evident": "seen", "detected": "seen",
    "demonstrated": "seen", "appreciated": "seen", "apparent": "seen", "found": "seen", "observed": "seen",
    "shown": "seen", "discernible": "seen", "discerned": "seen", "depicted": "seen", "recognized": "seen",
    "described": "seen", "reported": "seen", "perceptible": "seen", "pulled": "removed", "discontinued": "removed",
    "explanted": "removed",
    "nil": "no", "cannulae": "cannula", "lungs": "lungs", "bases": "bases", "sides": "sides", "hemithoraces": "sides", "apices": "bases",
}  # fmt: skip
# Names that are looked for with one letter wrong, missing, extra or swapped.
_SPELLED = (
    "effusion effusions pneumothorax atelectasis consolidation cardiomegaly pneumonia opacity opacities fracture "
    "infiltrate pacemaker catheter endotracheal nasogastric unchanged increased decreased improved worsened resolved "
    "bilateral pulmonary pleural moderate persistent removed"
).split()
_RIGHT = (  # words of their own, no slips
    "resolve improve increase decrease removes resolves unresolved moderately intrapleural deceased opacify pneumonic "
    "pleura remove"
).split()


def words_of(text: str) -> list[str]:
    """Words and punctuation marks of plain text.

    Args:
        text: what `shorthand.plain` gave.
    """
    return _WORD.findall(text)


@lru_cache(maxsize=20000)
def base_form(word: str) -> str:
    """The form under which tables know a word.

    Args:
        word: one word of `words_of`.
    """
    if len(word) >= 7:
        word = _misspelled().get(word, word)
    if word in _FORMS:
        return _FORMS[word]
    for start, form in _STEMS.items():
        if word.startswith(start):
            return _FORMS.get(form, form)
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us")):
        if word.endswith("ies"):
            return word[:-3] + "y"
        return word[:-2] if word.endswith(("sses", "xes", "shes")) else word[:-1]
    return word


@lru_cache(maxsize=1)
def _misspelled() -> dict[str, str]:
    """All strings one slip away from a name (Damerau, 1964), with the name."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    slips: dict[str, str] = {}
    for name in _SPELLED:
        parts = [(name[:i], name[i:]) for i in range(1, len(name) + 1)]
        near = {a + b[1:] for a, b in parts if b} | {a + b[1] + b[0] + b[2:] for a, b in parts if len(b) > 1}
        near |= {a + c + b for a, b in parts for c in letters} | {a + c + b[1:] for a, b in parts if b for c in letters}
        for slip in near:
            slips.setdefault(slip, name)
    for name in (*_SPELLED, *_RIGHT):
        slips.pop(name, None)
    return slips


class Lexicon(Generic[Value]):
    """Phrases with a value each, found among words; the longest phrase at a place wins, then the first.

    Args:
        entries: phrases and values. Within a phrase, `a/b` are alternatives, `a?` may be missing and `@name*` stands
            for up to three words of a class.
        classes: words of each class.
    """

    def __init__(
        self, entries: Iterable[tuple[str, Value]], classes: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        self.classes: dict[str, list[str]] = {}
        for name, members in (classes or {}).items():
            for member in members:
                self.classes.setdefault(member, []).append(f"@{name}")
        self.root: dict = {}
        for rank, (phrase, value) in enumerate(entries):
            for words in product(*(_choices(part) for part in phrase.split())):
                node = self.root
                for word in (w for group in words for w in group):
                    node = node.setdefault(word, {})
                node.setdefault("", (rank, value))

    def find(self, words: Sequence[str]) -> list[tuple[int, int, Value]]:
        """Start, end and value of the phrases found, from left to right, none overlapping.

        Args:
            words: base forms.
        """
        found, at = [], 0
        root, classes = self.root, self.classes
        while at < len(words):
            if words[at] not in root and words[at] not in classes:
                at += 1
                continue
            end, value = self._longest(words, at)
            if end:
                found.append((at, end, value))
            at = end or at + 1
        return found

    def _longest(self, words: Sequence[str], at: int) -> tuple[int, Value | None]:
        best: tuple[int, Value | None] = (0, None)
        states, place = [self.root], at
        while states and place < len(words):
            word, following = words[place], []
            keys = [word, *self.classes.get(word, ())]
            for node in states:
                following += [node[key] for key in keys if key and key in node]
            states, place = following, place + 1
            met = [node[""] for node in states if "" in node]
            if met:
                best = (place, min(met, key=_rank)[1])
        return best


def _rank(met: tuple[int, Value]) -> int:
    return met[0]


def _choices(part: str) -> list[tuple[str, ...]]:
    if part.startswith("@"):
        name = part.rstrip("*")
        return [(name,) * n for n in range(4)] if part.endswith("*") else [(name,)]
    optional = part.endswith("?") and len(part) > 1
    options = [(base_form(word),) for word in (part[:-1] if optional else part).split("/")]
    return [*options, ()] if optional else options
