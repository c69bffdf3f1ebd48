# SPDX-License-Identifier: Apache-2.0
"""What a report says became of each finding since the prior study.

The words are those of the datalist's `statements`: finding (CheXpert-14 name or device), side, severity, change
(new, worsened, improved, stable, resolved, removed or None).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from libra_monai.metrics.labelers.mentions import GONE, LIKELY, PRESENT, UNCERTAIN, Mention
from libra_monai.metrics.labelers.phrases import DEVICES, SUPPORT
from libra_monai.metrics.labelers.reader import read_report
from libra_monai.metrics.labelers.sides import OTHER_SIDE

CHANGES = ("new", "worsened", "improved", "stable", "resolved", "removed")
OPPOSITE = {"worsened": "improved", "improved": "worsened"}
_STATED = (PRESENT, LIKELY, GONE)
_SILHOUETTES = ("Cardiomegaly", "Enlarged Cardiomediastinum")  # may be called unchanged without being called enlarged
# A comparison without a finding: "No significant interval change."
_COMPARED = re.compile(
    r"\b(?:un)?changed\b|\bno (?:\w+ ){0,3}?change\b|\binterval\b|\bsince (?:the )?(?:prior|previous|last|earlier)\b"
    r"|\b(?:compared (?:to|with)|comparison (?:to|with)|than|from|to|with) (?:the |a )?(?:prior|previous|earlier|last)"
    r" (?:stud|exam|radiograph|film|image|chest|x)"
)
_NO_PRIOR = re.compile(
    r"\b(?:no|without|lack of) (?:\w+ ){0,3}?(?:prior|previous|comparison)s?\b|\bnot available for comparison\b"
)


@dataclass(frozen=True)
class Finding:
    """One line of what a report states.

    Args:
        finding, side, severity, change: words of the datalist's `statements`.
    """

    finding: str
    side: str | None
    severity: str | None
    change: str | None


def read_changes(text: str | None) -> list[Finding]:
    """Findings and devices a report states, with what became of them; denied and doubtful ones are left out.

    A finding named twice is one line: a mention without side belongs to the one with a side, a mention without
    change adds none.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    return stated(read_report(text))


def stated(mentions: Iterable[Mention]) -> list[Finding]:
    """The lines of `read_changes` from mentions already read.

    Args:
        mentions: of one report.
    """
    mentions = list(mentions)
    named = {m.change for m in mentions if m.finding in DEVICES}
    kept = [
        m for m in mentions
        if m.finding and (m.status in _STATED or (m.status == UNCERTAIN and m.change and m.finding in _SILHOUETTES))
        and not (m.finding == SUPPORT and named and (m.change is None or m.change in named))
    ]  # fmt: skip
    lines: list[Finding] = []
    for finding in dict.fromkeys(m.finding for m in kept):
        lines += _merged([m for m in kept if m.finding == finding])
    return lines


def changes_of(lines: Iterable[Finding]) -> set[tuple[str, str | None, str]]:
    """Tuples of finding, side and change, of the lines that state a change.

    Args:
        lines: what `read_changes` gave.
    """
    return {(line.finding, line.side, line.change) for line in lines if line.change}


def change_claims(text: str | None) -> set[tuple[str, str | None, str]]:
    """Tuples of finding, side and change that a report claims.

    Args:
        text: a report or a section of one.
    """
    return changes_of(read_changes(text))


def claims_change(text: str | None) -> bool:
    """Whether a report compares with an earlier study, of a finding or as a whole.

    Args:
        text: the report. "No prior for comparison" is not a claim.
    """
    if change_claims(text):
        return True
    plain = (text or "").lower()
    return bool(_COMPARED.search(_NO_PRIOR.sub(" ", plain)))


def _merged(mentions: list[Mention]) -> list[Finding]:
    """The lines of one finding."""
    sides = {m.side for m in mentions}
    only = next(iter(sides - {None})) if len(sides - {None}) == 1 else None
    by_side: dict[str | None, list[Mention]] = {}
    for mention in mentions:
        side = only if mention.side is None and only else mention.side
        by_side.setdefault(side, []).append(mention)
    lines: list[Finding] = []
    for side, group in by_side.items():
        changes = {m.change for m in group}
        told = changes - {None}
        if len(told) > 1:
            told -= {"stable"}
        severity = next((m.severity for m in reversed(group) if m.severity), None)
        lines += [Finding(mentions[0].finding, side, severity, change) for change in sorted(told)] or [
            Finding(mentions[0].finding, side, severity, None)
        ]
    return _both_sides(lines)


def _both_sides(lines: list[Finding]) -> list[Finding]:
    """Left and right with the same change are one bilateral line."""
    for line in lines:
        other = OTHER_SIDE.get(line.side or "")
        twin = next((x for x in lines if x.side == other and x.change == line.change), None) if other else None
        if twin is not None:
            rest = [x for x in lines if x.change != line.change or x.side not in ("left", "right", "bilateral")]
            return [replace(line, side="bilateral", severity=line.severity or twin.severity), *rest]
    return lines
