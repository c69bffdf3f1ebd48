# SPDX-License-Identifier: Apache-2.0
"""Which tubes and lines a report says lie where they should, and which do not.

A word of position belongs to the device it stands beside, a sentence without a device to the one named before. Places that are wrong
for any tube count without further words ("coiled in the esophagus"); distances are not judged, and neither is a
line in the right atrium, where some may end.
"""

from __future__ import annotations

import re
from functools import lru_cache

from libra_monai.metrics.labelers.clauses import clauses, sentences
from libra_monai.metrics.labelers.lexicon import Lexicon, base_form, words_of
from libra_monai.metrics.labelers.mentions import GONE
from libra_monai.metrics.labelers.phrases import DEVICES, SUPPORT, Concept, names
from libra_monai.metrics.labelers.reader import MEANT, REMEMBERED, read_report
from libra_monai.metrics.labelers.shorthand import plain
from libra_monai.metrics.labelers.sides import bare

SATISFACTORY, MALPOSITIONED, PAST = "satisfactory", "malpositioned", "past"
_GOOD = "satisfactory/appropriate/good/adequate/proper/standard/expected/acceptable/optimal/correct/usual/normal/ideal"
_WELL = "well/appropriately/adequately/properly/correctly/satisfactorily/optimally"
_BAD = "abnormal/suboptimal/inappropriate/incorrect/unsatisfactory/improper/aberrant/poor/anomalous/atypical"
_WHERE = "position/placement/positioning/location"
_MOVE = "repositioned/advanced/withdrawn/retracted/readjusted/adjusted"
_MOVING = "repositioning/advancement/withdrawal/retraction/readjustment/advancing/withdrawing/retracting"
_CUES = {
    SATISFACTORY: (
        f"{_GOOD} {_WHERE}; {_GOOD} and unchanged/stable {_WHERE}; {_WELL} positioned/placed/located/sited; satisfactory; "
        "no/without evidence? of? malposition; not malpositioned/misplaced; no longer malpositioned/misplaced; "
        f"{_WHERE} is/are/remain/appear {_GOOD}"
    ),
    MALPOSITIONED: (
        "malpositioned; malposition; mispositioned; misplaced; misplacement; misdirected; dislodged; "
        f"{_BAD} {_WHERE}; {_BAD} in {_WHERE}; {_WHERE} is/are/remain/appear {_BAD}; not in? a? {_GOOD} {_WHERE}; "
        f"not {_WELL} positioned/placed; not satisfactory; too high/low/deep/far; "
        f"should/must be {_MOVE}; should/must be pulled back; need to be {_MOVE}; need/require/recommend/consider/suggest {_MOVING}; "
        f"{_MOVING} is? recommended/recommend/advised/suggest/needed/required/necessary; could be {_MOVE}; "
        "coiled/looped/curled/kinked in/within the? proximal/mid/distal/upper/lower? esophagus/pharynx/hypopharynx/oropharynx/neck; "
        "in/within/into/entering/at the? proximal/mid/distal/upper/lower? esophagus; "
        "in/within/into/entering/intubating the? right/left? main/mainstem bronchus; "
        "in/within/into the? right/left? main stem bronchus; right/left? mainstem intubation; "
        "in/within/into the? soft/subcutaneous tissue; below the? diaphragm/hemidiaphragm; outside the? pleural space; "
        "pointing/directed/coursing/projecting upward/cephalad/superiorly; in/within/into the? azygos"
    ),
    PAST: "previously/prior malpositioned/misplaced/malposition; malpositioned/misplaced previously",
}
_BETWEEN = frozenset("the a an of in right left sided side".split())  # from a word of position to its device behind
_WORTH = re.compile(  # of lower-case text: may say a position
    r"positi|satisf|place|locat|sited|misdirect|dislodg|coil|loop|curl|kink|bronchus|esoph|pharynx|tissue|diaphragm|pleural space"
    r"|upward|cephal|superiorly|azygos|stem intub|too (?:high|low|deep|far)|advanc|withdr|retract|adjust|pulled",
)

_TUBES = re.compile(  # may name a device
    r"tube|\blines?\b|cath|picc|port|drain|pac[ei]|\b(?:ett|ng|og|nj|ngt|ogt|aicd|icd|cv[cl]|pa)\b|sheath|pigtail|pleurx|defib|device"
    r"|generator|access|gastric|hoff|sump|hickman|thoracost|jugular|subclavian|swan|intubat",
)


def read_positions(text: str | None) -> dict[str, str]:
    """Device -> `satisfactory` or `malpositioned`, of devices that are there; malposition counts where both are said.

    Args:
        text: a report or a section of one.
    """
    text = text or ""
    return dict(_remembered(text) if len(text) <= REMEMBERED else _read(text))


@lru_cache(maxsize=32768)
def _remembered(text: str) -> tuple[tuple[str, str], ...]:
    return _read(text)


def _read(text: str) -> tuple[tuple[str, str], ...]:
    there = {m.finding for m in read_report(text) if m.status != GONE and m.finding in DEVICES}
    if not there or not _WORTH.search(text.lower()):
        return ()
    said: dict[str, set[str]] = {}
    known: list[str] = []  # devices in the order in which they were last named
    for sentence in sentences(text):
        lower = sentence.lower()
        if _WORTH.search(lower):
            for device, position in _read_sentence(sentence, known):
                said.setdefault(device, set()).add(position)
        elif _TUBES.search(lower):
            _remember(known, [m.finding for m in read_report(sentence)])
    return tuple(
        (device, MALPOSITIONED if MALPOSITIONED in positions else SATISFACTORY)
        for device, positions in said.items()
        if device in there and positions - {PAST}
    )


@lru_cache(maxsize=1)
def _lexicon() -> Lexicon[str]:
    return Lexicon([(phrase.strip(), kind) for kind, phrases in _CUES.items() for phrase in phrases.split(";")])


def _read_sentence(sentence: str, known: list[str]) -> list[tuple[str, str]]:
    """Devices and positions of a sentence; `known` gets the devices it names."""
    words = [base_form(word) for word in words_of(plain(sentence))]
    found: list[tuple[str, str]] = []
    within = False  # whether the sentence has named a device
    for begin, end in clauses(words):
        part = words[begin:end]
        named = names().find(part)
        devices = _devices(named, part, known)
        within = within or bool(devices)
        other = [concept for _, _, concept in named if not within or concept.kind != "aside"]
        for start, stop, kind in _lexicon().find(part):
            if devices:
                owners = _owners(devices, part, start, stop)
            else:
                owners = known[-1:] if not other and "patient" not in part else []
            found += [(owner, kind) for owner in owners if _possible(owner, kind, part[start:stop])]
    return found


def _devices(named: list[tuple[int, int, Concept]], words: list[str], known: list[str]) -> list[tuple[int, int, str]]:
    """Place and name of the devices of a clause; "the tube" is the last tube named."""
    devices = []
    for start, stop, concept in named:
        name = concept.name
        if name == SUPPORT:
            meant = MEANT.get(words[stop - 1], ()) if stop - start == 1 else ()
            name = next((device for device in reversed(known) if device in meant), SUPPORT)
        _remember(known, [name])
        if name in (*DEVICES, SUPPORT):
            devices.append((start, stop, name))
    return devices


def _remember(known: list[str], named: list[str]) -> None:
    """Put the devices among some names last."""
    for name in named:
        if name in DEVICES:
            known[:] = [device for device in known if device != name] + [name]


def _owners(devices: list[tuple[int, int, str]], words: list[str], start: int, stop: int) -> list[str]:
    """The devices that a word of position is said of: the one right behind it, else the list before it."""
    behind = next((device for device in devices if device[0] >= stop), None)
    before = [device for device in devices if device[1] <= start]
    if behind and (not before or set(words[stop : behind[0]]) <= _BETWEEN):
        return [behind[2]]
    owners = before[-1:]
    for earlier in reversed(before[:-1]):
        if not bare(words, earlier[1], owners[-1][0], frozenset()):
            break
        owners.append(earlier)
    return [name for _, _, name in owners]


def _possible(device: str, kind: str, words: list[str]) -> bool:
    """Whether a place is a wrong one for this device: below the diaphragm is where a gastric tube belongs."""
    if device not in DEVICES:
        return False
    if kind == MALPOSITIONED and "below" in words:
        return device == "Chest Drain"
    return not (kind == MALPOSITIONED and words[-1] == "esophagus" and words[0] != "coiled" and device != "Gastric Tube")
