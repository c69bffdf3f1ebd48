# SPDX-License-Identifier: Apache-2.0
"""Which findings a report says are there, and on which side."""

from __future__ import annotations

from collections.abc import Iterable

from libra_monai.metrics.labelers.mentions import ABSENT, GONE, LIKELY, PRESENT, Mention
from libra_monai.metrics.labelers.phrases import SUPPORT
from libra_monai.metrics.labelers.reader import read_report

__all__ = ["ABSENT", "GONE", "PRESENT", "Mention", "present_findings", "read_findings"]


def read_findings(text: str | None) -> list[Mention]:
    """All findings and named devices a report names, denied ones included.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    return [mention for mention in read_report(text) if mention.finding and mention.finding != SUPPORT]


def present_findings(text: str | None) -> set[tuple[str, str | None]]:
    """Pairs of finding and side that a report says are there or likely there; left and right are bilateral.

    Args:
        text: a report or a section of one.
    """
    return present(read_findings(text))


def present(mentions: Iterable[Mention]) -> set[tuple[str, str | None]]:
    """The pairs of `present_findings` from mentions already read.

    Args:
        mentions: of one report.
    """
    sides: dict[str, set[str | None]] = {}
    for mention in mentions:
        if mention.status in (PRESENT, LIKELY) and mention.finding and mention.finding != SUPPORT:
            sides.setdefault(mention.finding, set()).add(mention.side)
    return {(finding, side) for finding, found in sides.items() for side in joined(found)}


def joined(sides: set[str | None]) -> set[str | None]:
    """Sides of one finding over a report: both are bilateral, and a mention without side adds nothing.

    Args:
        sides: left, right, bilateral, None.
    """
    if {"right", "left"} <= sides or "bilateral" in sides:
        sides = (sides - {"right", "left"}) | {"bilateral"}
    return sides - {None} if len(sides) > 1 else sides
