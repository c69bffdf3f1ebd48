# SPDX-License-Identifier: Apache-2.0
"""How claims of change, sets of (finding, side, change), move between two drafts of a study."""

from __future__ import annotations

from typing import Any

from libra_monai.metrics.labelers.changes import OPPOSITE

Claim = tuple[str, str | None, str]  # finding, side, change
STABLE = "stable"


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


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
