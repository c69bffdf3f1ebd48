# SPDX-License-Identifier: Apache-2.0
"""What a text claims to have changed since the prior: a set of (finding, side, change).

The registered change labeler (`libra_monai.metrics.labelers.changes`) reads the claims where this build has it. The
small reader below stands in for it: it takes the first word of change in the clause of a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from libra_monai.metrics.labelers.findings import GONE, PRESENT, read_findings

Claim = tuple[str, str | None, str]  # finding, side, change
ClaimReader = Callable[[str], set[Claim]]

STABLE, NEW, WORSENED, IMPROVED, RESOLVED = "stable", "new", "worsened", "improved", "resolved"
OPPOSITE = {IMPROVED: WORSENED, WORSENED: IMPROVED}
LABELER = "libra_monai.metrics.labelers.changes"
_READERS = ("change_claims", "read_changes", "change_tuples")  # names under which a labeler may offer its reader

_CLAUSE = re.compile(r"(?<=[.!?;])\s+|\n+|,? (?:but|however|although|whereas|while) |;")
_CUES = (
    (STABLE, r"\b(?:unchanged|stable|persist\w*|similar)\b"
             r"|\b(?:no|not|without) (?:\w+ ){0,3}?(?:change[ds]?|increased?|decreased?|progression)\b"),
    (NEW, r"\bnew(?:ly)?\b(?! compared)|\bdeveloped\b|\binterval (?:development|placement)\b"),
    (IMPROVED, r"\b(?:improv\w+|decreas\w+|smaller|resolving|clearing|reduced|receded)\b"
               r"|\b(?:partial(?:ly)?|nearly) (?:resol\w+|clear\w+)\b"),
    (WORSENED, r"\b(?:wors\w+|increas\w+|larger|enlarging|progress\w+|growing|grown)\b"),
)  # fmt: skip
_CUES = tuple((change, re.compile(pattern)) for change, pattern in _CUES)


@cache
def claim_reader() -> ClaimReader:
    """The change labeler of this build, or the small reader of this module."""
    if find_spec(LABELER) is None:
        return read_claims
    module = import_module(LABELER)
    name = next((name for name in _READERS if hasattr(module, name)), None)
    if name is None:
        return read_claims
    read = getattr(module, name)
    return lambda text: {_as_claim(item) for item in read(text)}


def read_claims(text: str | None) -> set[Claim]:
    """Claims of change, read clause by clause.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    claims: set[Claim] = set()
    for clause in _CLAUSE.split((text or "").lower()):
        change = next((change for change, pattern in _CUES if pattern.search(clause)), None)
        for mention in read_findings(clause):
            if mention.status == GONE:
                claims.add((mention.finding, mention.side, RESOLVED))
            elif mention.status == PRESENT and change is not None:
                claims.add((mention.finding, mention.side, change))
    return claims


def compare_claims(before: list[set[Claim]], after: list[set[Claim]]) -> dict[str, Any]:
    """How claims moved between two sets of drafts of the same studies.

    Args:
        before, after: claims of each draft, in the same order.

    Returns:
        counts and shares; a share of nothing is None. `flipped`: claims of improvement or worsening whose finding and
        side are now said to do the opposite. `kept`: claims that stand as they were. `stable`: claims afterwards that
        say unchanged. `drafts_with_claims`: drafts that claim any change.
    """
    directed = flipped = kept = total = 0
    for old, new in zip(before, after, strict=True):
        total += len(old)
        kept += len(old & new)
        for finding, side, change in old:
            if change in OPPOSITE:
                directed += 1
                flipped += (finding, side, OPPOSITE[change]) in new
    now = [claim for claims in after for claim in claims]
    return {
        "before": total,
        "after": len(now),
        "directed": directed,
        "flipped": _share(flipped, directed),
        "kept": _share(kept, total),
        "stable": _share(sum(change == STABLE for _, _, change in now), len(now)),
        "drafts_with_claims": _share(sum(bool(claims) for claims in after), len(after)),
    }


def _as_claim(item: Any) -> Claim:
    if isinstance(item, tuple) and not hasattr(item, "finding"):
        return item
    return (item.finding, item.side, item.change)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
