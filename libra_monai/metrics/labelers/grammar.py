# SPDX-License-Identifier: Apache-2.0
"""Which names a cue reaches: lists, subjects of a verb, adjectives before a noun, "increase in"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from libra_monai.metrics.labelers.cues import (
    AUXILIARIES,
    BETTER,
    CLASSES,
    DENIED,
    DOUBTED,
    LIKELY,
    NEW,
    SAME,
    SEVERITY,
    WORSE,
    Cue,
)
from libra_monai.metrics.labelers.phrases import DEVICES, Concept
from libra_monai.metrics.labelers.sides import NEIGHBOURS, SIDES, bare

_ENDS = {
    DENIED: frozenset("with despite after following status except besides because apart aside setting other".split()),
    DOUBTED: frozenset("with which that except setting given".split()),
}
_LINKS = frozenset("which that who".split())
_TIMES = frozenset("from since compared to than when with at on relative versus in which that for during after despite following given".split())
_SHOWS = frozenset("show demonstrate exhibit".split())
_BETWEEN = (CLASSES["adv"] | {"not", "longer", "both", "all"}) - AUXILIARIES  # may stand between a verb and its cue
_ANEW = frozenset("a an there displaced nondisplaced healing healed".split())
_COUNTED = {"both": "both", "all": "all", "neither": "both", "none": "all"}
_NOT_PARTS = frozenset("and or , with".split())


@dataclass
class Name:
    """A name in a clause and what was found out about it."""

    start: int
    end: int
    concept: Concept
    plural: bool = False
    status: str | None = None
    changes: list[tuple[str, int]] = field(default_factory=list)  # kind and distance of the cue
    size: str | None = None  # of a state: normal or big
    before: bool = False  # said to have been there before
    side: str | None = None
    severity: str | None = None


@dataclass(frozen=True)
class Clause:
    """Words, names and cues between two bounds of a sentence."""

    words: Sequence[str]
    begin: int
    end: int
    names: list[Name]
    cues: list[tuple[int, int, Cue]]
    cue_places: frozenset[int]

    def scope(self, start: int, kind: str) -> list[Name]:
        """Names after a place as far as denial or doubt goes.

        Args:
            start: where the cue ends.
            kind: DENIED, DOUBTED or LIKELY.
        """
        end = self._scope_end(start, kind)
        return [name for name in self.names if start <= name.start < end]

    def _scope_end(self, start: int, kind: str) -> int:
        ends = _ENDS[DENIED if kind == DENIED else DOUBTED]
        starts = {name.start for name in self.names}
        status = {a: cue.kind for a, _, cue in self.cues if cue.kind in (DENIED, DOUBTED, LIKELY)}
        named = parted = False
        for i in range(start, self.end):
            word = self.words[i]
            if word in ends and not (word == "with" and i == start):
                return i
            suggests = kind == DENIED and word == "suggest" and self.words[i - 1] == "to"  # what would suggest it is denied
            taken = i in status and i > start and named and word not in ("nor", "versus") and not suggests
            if taken and (kind != DENIED or (parted and status[i] != DENIED)):
                return i
            if word in (",", "and") and named:
                parted = True
                if self._starts_anew(i + 1) and not self._goes_on(i + 1):
                    return i
            named = named or i in starts
        return self.end

    def _starts_anew(self, at: int) -> bool:
        """Whether what follows a comma or `and` says that something is there."""
        while at < self.end and self.words[at] in ("and", ",", "the"):
            at += 1
        if at >= self.end:
            return False
        turning = {a for a, _, cue in self.cues if cue.kind in (NEW, WORSE, BETTER, SAME)}
        return self.words[at] in SEVERITY or self.words[at] in _ANEW or at in turning

    def _goes_on(self, at: int) -> bool:
        """Whether the list is closed by `or` before the next verb."""
        for i in range(at, self.end):
            if self.words[i] in AUXILIARIES or self.words[i] in ("with", "and"):
                return False
            if self.words[i] in ("or", "nor"):
                return True
        return False

    def group_on(self, name: Name) -> list[Name]:
        """A name and those listed behind it without words of their own."""
        group = [name]
        for following in self.names[self.names.index(name) + 1 :]:
            if not bare(self.words, group[-1].end, following.start, self.cue_places):
                break
            group.append(following)
        return group

    def group_back(self, name: Name) -> list[Name]:
        """A name and those listed before it."""
        group = [name]
        for earlier in reversed(self.names[: self.names.index(name)]):
            if not bare(self.words, earlier.end, group[-1].start, self.cue_places):
                break
            group.append(earlier)
        return group

    def subject(self, place: int, kind: str) -> list[Name]:
        """Names that a verb or adjective after them is said of.

        Args:
            place: where the cue starts.
            kind: its kind; denial and doubt do not reach past `with`.
        """
        judging = kind in (DENIED, DOUBTED, LIKELY)
        found: list[Name] = []
        begin = place
        for name in reversed(self.names):
            if name.end > place:
                continue
            gap = self.words[name.end : begin]
            if found and any(w in AUXILIARIES or w == "make" for w in gap):
                break
            loose = "with" in gap or ("," in gap and not {"or", "and"} & set(self.words[name.end : place]))
            if found and judging and loose:
                break
            found.append(name)
            begin = name.start
        own = [name for name in found if not name.changes]
        return own if own and not judging else found

    def verb_before(self, place: int) -> int | None:
        """Where the verb stands that a cue completes ("has slightly increased"), or None."""
        at = place - 1
        while at >= self.begin and (self.words[at] in _BETWEEN or self.words[at] == "the"):
            at -= 1
        while at >= self.begin and self.words[at] in AUXILIARIES:
            if at - 1 < self.begin or self.words[at - 1] not in AUXILIARIES:
                return at
            at -= 1
        return None

    def of_or_in(self, end: int) -> list[Name]:
        """Names after "increase in", "resolution of"."""
        at = end
        while at < self.end and at < end + 2 and self.words[at] in CLASSES["adv"]:
            at += 1
        if (at >= self.end or self.words[at] not in ("of", "in", "to", "for")) and self.words[end - 1] != "of":
            return []
        return self._next(end, _TIMES - {"in", "to", "on", "for", "at"} | AUXILIARIES | _NOT_PARTS)

    def attribute(self, end: int) -> list[Name]:
        """Names after an adjective ("stable small right effusion")."""
        return self._next(end, _TIMES | AUXILIARIES | {"with"}, listed=True)

    def _next(self, end: int, barred: frozenset[str] | set[str], listed: bool = False) -> list[Name]:
        following = next((name for name in self.names if name.start >= end), None)
        if following is None or following.start - end > 10:
            return []
        for i in range(end, following.start):
            word = self.words[i]
            if listed and word in (",", "and", "or", "to"):
                nxt = self.words[i + 1]
                joined = nxt in SEVERITY or nxt in SIDES or i + 1 in self.cue_places or nxt in CLASSES["adv"]
                if not joined or (word == "," and i + 1 in self.cue_places):
                    return []
            elif word in barred:
                return []
        return self.group_on(following)

    def nearest_back(self, place: int) -> list[Name]:
        """The list of names right before a place."""
        earlier = [name for name in self.names if name.end <= place]
        return self.group_back(earlier[-1]) if earlier else []

    def change_reaches(self, start: int, end: int) -> list[Name] | None:
        """Names a cue of change is said of; None if it is said of something in an earlier clause.

        Args:
            start, end: the cue.
        """
        if self.words[end : end + 1] == [","] and any(name.end == start for name in self.names):
            return self.nearest_back(start)  # "effusion bigger, ..."
        verb = self.verb_before(start)
        shows = verb is not None and any(w in _SHOWS for w in self.words[verb:start])
        there = verb is not None and verb > self.begin and self.words[verb - 1] == "there"
        if verb is None or shows or there or not self.subject(start, SAME):
            found = self.of_or_in(end) or self.attribute(end)
            if found:
                return self._long_list(found, start)
        if verb is not None and not there:
            if verb > self.begin and self.words[verb - 1] in _LINKS:
                back = self.nearest_back(verb)
                return back[:1] if back else None
            found = self.subject(start, SAME)
            if found:
                return found
        later = [name for name in self.names if name.start >= end]
        if self.words[start] == "persist" and not later:
            return self.subject(start, SAME) or None
        if self.words[end : end + 2] == [",", "and"]:
            later = []
        return self._said_of_all(start) or self.nearest_back(start) or later[:1] or None

    def _long_list(self, found: list[Name], place: int) -> list[Name]:
        """ "Unchanged atelectasis, small effusion and moderate cardiomegaly"; "placement of a chest tube ... and an enteric tube"."""
        kind, group = self._kind(place), list(found)
        for name in self.names[self.names.index(found[-1]) + 1 :]:
            before = group[-1]
            gap = self.words[before.end : name.start]
            devices = {before.concept.name, name.concept.name} <= set(DEVICES)
            sized = kind == SAME and gap[:1] in ([","], ["and"]) and all(w in SEVERITY or w in SIDES or w == "and" for w in gap[1:])
            placed = kind == NEW and devices and bool({"a", "an"} & set(gap[-2:])) and "and" in gap[-4:]
            if not (sized or placed) or any(i in self.cue_places for i in range(before.end, name.start)):
                break
            group.append(name)
        return group if kind == NEW or len(group) > 2 else found

    def _said_of_all(self, place: int) -> list[Name]:
        """Names of "..., both unchanged", "mild cardiomegaly and moderate edema, unchanged", "effusion with adjacent atelectasis, unchanged"."""
        at = place - 1
        while at > self.begin and self.words[at] in _BETWEEN:
            at -= 1
        earlier = [name for name in self.names if name.end <= at + 1 and name.concept.name]
        if len(earlier) < 2 or self.names[-1].start >= place or not (self.words[at] == "," or earlier[-1].end == at + 1):
            return []
        meant: list[Name] = []
        counted = next((word for word in self.words[at : place + 1] if word in _COUNTED), None)
        if counted:
            meant = earlier if _COUNTED[counted] == "all" else earlier[-2:]
        elif self._kind(place) == SAME:
            gap = self.words[earlier[-2].end : earlier[-1].start]
            described = all(word in SEVERITY or word in SIDES for word in gap[1:]) and any(word in SEVERITY for word in gap)
            if gap[:1] == ["and"] and described:
                meant = [*self.group_back(earlier[-2]), earlier[-1]]
            elif gap[:1] == ["with"] and gap[1:] and gap[1] in NEIGHBOURS:
                meant = earlier[-2:]
        return [name for name in meant if not name.changes]

    def _kind(self, place: int) -> str | None:
        return next((cue.kind for a, _, cue in self.cues if a == place), None)
