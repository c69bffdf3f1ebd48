# SPDX-License-Identifier: Apache-2.0
"""Radiology sentences for rich statements, in wordings of which a fixed third can be kept from training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from libra_monai.data.phantom.rich import words as w
from libra_monai.data.phantom.rich.details import MALPOSITIONED, RichStatement
from libra_monai.data.phantom.story import DEVICES

Wordings = Literal["training", "held_out", "all"]
Choice = TypeVar("Choice")
_ARTICLE = re.compile(r"@ (\w)")  # agrees with the letter that follows
_GONE = ("resolved", "removed")
_DEGREES = {"small": "mild", "moderate": "moderate", "large": "severe"}
_BY_DEGREE = ("Cardiomegaly", "Edema", "Atelectasis")
_LUNGS = ("Consolidation", "Edema", "Atelectasis", "Lung Lesion")


def chosen(entries: Sequence[Choice], wordings: Wordings) -> list[Choice]:
    """The part of a list of wordings that may be used.

    Args:
        entries: a list of `words`.
        wordings: `training` leaves out every third entry, `held_out` takes only these, `all` takes all.
    """
    if wordings == "all":
        return list(entries)
    return [entry for number, entry in enumerate(entries) if (number % 3 == 2) == (wordings == "held_out")]


def frames_of(said: RichStatement) -> list[str]:
    """All frames that can say a statement.

    Args:
        said: a statement of a rich phantom.
    """
    if said.finding in DEVICES:
        return (w.MISPLACED if said.position == MALPOSITIONED else w.DEVICE)[said.change]
    return (w.HEART if said.finding == "Cardiomegaly" else w.DISEASE)[said.change]


def nouns_of(said: RichStatement) -> list[tuple[str, bool, bool]]:
    """All noun phrases for a statement: text, plural, with article.

    Args:
        said: a statement of a rich phantom.
    """
    if said.finding == "Lung Lesion" and said.severity == "large":
        return w.MASS
    if said.side == "bilateral":
        return w.BOTH_SIDES[said.finding]
    return (w.ONE_SIDED if said.side else w.NO_SIDE)[said.finding]


def say(said: RichStatement, frame: str, noun: tuple[str, bool, bool]) -> str:
    """One sentence.

    Args:
        said: what is to be said.
        frame: of `frames_of`.
        noun: of `nouns_of`.
    """
    text, plural, counted = noun
    phrase = text.format(side=said.side, zone=said.zone)
    severity = said.severity or ""
    if said.finding in _BY_DEGREE:
        severity = _DEGREES.get(severity, "")
    sentence = frame.format(
        np=phrase, sev=severity, sevly=f"{severity}ly", tip=said.tip, a="@" if counted else "", a_new="a" if counted else "",
        **{"is": "are" if plural else "is", "has": "have" if plural else "has"},
    )  # fmt: skip
    sentence = _ARTICLE.sub(lambda met: ("an " if met[1].lower() in "aeiou" else "a ") + met[1], " ".join(sentence.split()))
    sentence = sentence.replace(" ,", ",")
    return sentence[0].upper() + sentence[1:]


def sentence(said: RichStatement, rng: np.random.Generator, wordings: Wordings = "all") -> str:
    """A sentence in one of the wordings.

    Args:
        said: what is to be said.
        rng: chooses.
        wordings: which wordings may be used.
    """
    frame = _pick(frames_of(said), rng, wordings)
    return say(said, frame, _pick(nouns_of(said), rng, "all"))


def write_findings(statements: Sequence[RichStatement], rng: np.random.Generator, wordings: Wordings = "all") -> str:
    """The FINDINGS section: devices, lungs, pleura, heart, bones.

    Args:
        statements: all findings of the study, resolved and removed ones included.
        rng: chooses wordings.
        wordings: which wordings may be used.
    """
    by_name = {s.finding: s for s in statements}
    said = [sentence(by_name[name], rng, wordings) for name in DEVICES if name in by_name]
    said += _lungs(by_name, rng, wordings) + _pleura(by_name, rng, wordings)
    heart = by_name.get("Cardiomegaly")
    said.append(sentence(heart, rng, wordings) if heart else _pick(w.NORMAL_HEART, rng, wordings))
    if rng.random() < 0.4:
        said.append(_pick(w.BONES, rng, wordings))
    return " ".join(said)


def write_impression(statements: Sequence[RichStatement], rng: np.random.Generator, wordings: Wordings = "all") -> str:
    """The IMPRESSION section: the findings that are not devices, and devices that lie wrong.

    Args:
        statements: all findings of the study.
        rng: chooses wordings.
        wordings: which wordings may be used.
    """
    wrong = [s for s in statements if s.position == MALPOSITIONED and s.change not in _GONE]
    told = wrong + [s for s in statements if s.finding not in DEVICES]
    return " ".join(sentence(s, rng, wordings) for s in told) or _pick(w.NORMAL, rng, wordings)


def pollute(statements: Sequence[RichStatement], rng: np.random.Generator, wordings: Wordings = "all") -> tuple[str, str]:
    """FINDINGS and IMPRESSION of a study without prior, as if there were one.

    Args:
        statements: findings of the study, without changes.
        rng: chooses what is compared, and wordings.
        wordings: which wordings may be used.
    """
    claimed = [replace(s, change="stable" if s.finding in DEVICES else _pick(w.POLLUTED_SAID, rng, "all")) for s in statements]
    if claimed and rng.random() < 0.5:
        return write_findings(claimed, rng, wordings), write_impression(claimed, rng, wordings)
    opening = _pick(w.POLLUTED, rng, wordings)
    return f"{opening} {write_findings(statements, rng, wordings)}", write_impression(statements, rng, wordings)


def _lungs(by_name: dict[str, RichStatement], rng: np.random.Generator, wordings: Wordings) -> list[str]:
    said = [sentence(by_name[name], rng, wordings) for name in _LUNGS if name in by_name]
    present = {name for name, s in by_name.items() if s.change not in _GONE}
    if not said and not present & {"Pneumothorax", "Pleural Effusion"}:
        return [_pick(w.CLEAR, rng, wordings)]
    if "Consolidation" not in by_name and rng.random() < 0.5:
        said.append(_pick(w.NO_CONSOLIDATION, rng, wordings))
    return said


def _pleura(by_name: dict[str, RichStatement], rng: np.random.Generator, wordings: Wordings) -> list[str]:
    fluid, air = by_name.get("Pleural Effusion"), by_name.get("Pneumothorax")
    if not fluid and not air:
        return [_pick(w.NO_PLEURA, rng, wordings)]
    return [
        sentence(fluid, rng, wordings) if fluid else _pick(w.NO_EFFUSION, rng, wordings),
        sentence(air, rng, wordings) if air else _pick(w.NO_PNEUMOTHORAX, rng, wordings),
    ]


def _pick(entries: Sequence[Choice], rng: np.random.Generator, wordings: Wordings) -> Choice:
    usable = chosen(entries, wordings)
    return usable[int(rng.integers(len(usable)))]
