# SPDX-License-Identifier: Apache-2.0
"""Agreement of findings between draft and reference, read from both texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric, f1
from libra_monai.metrics.labelers.findings import present_findings
from libra_monai.registry import register
from libra_monai.types import Record

_GONE = ("resolved", "removed")
Pair = tuple[str, str | None]  # finding and side


@register("metric", "finding_f1")
class FindingF1(ReportMetric):
    """Micro F1 of present findings, with and without their side, 0 to 1, higher is better; and how often sides swap.

    A finding is matched if both texts name it with a side; it is swapped if one says left and the other right.

    Args:
        truth: read the reference findings from the record's `statements` where it has them, instead of from
            the reference text.
    """

    def __init__(self, truth: bool = False) -> None:
        self.truth = truth
        self.lower_is_better = ("laterality_swap_rate",)
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """True positives, false positives and misses, with and without side; swapped sides and matched findings."""
        said = present_findings(prediction)
        wanted = present_findings(reference)
        if self.truth and study.get("statements") is not None:
            wanted = {(s["finding"], s["side"]) for s in study["statements"] if s["change"] not in _GONE}
        row: list[float] = []
        for have, want in ((said, wanted), ({f for f, _ in said}, {f for f, _ in wanted})):
            row += [len(have & want), len(have - want), len(want - have)]
        return [*row, *_swaps(said, wanted)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`finding_side_micro_f1` (finding and side must agree), `finding_micro_f1`, `laterality_swap_rate`."""
        swapped, matched = totals[6:]
        return {
            "finding_side_micro_f1": f1(*totals[:3]),
            "finding_micro_f1": f1(*totals[3:6]),
            "laterality_swap_rate": swapped / matched if matched else float("nan"),
        }

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"rule-based findings with side, reference from {'statements' if self.truth else 'text'}"


def _swaps(said: set[Pair], wanted: set[Pair]) -> tuple[int, int]:
    """Findings with opposite sides, and findings with a side in both."""
    ours, theirs = dict(pair for pair in said if pair[1]), dict(pair for pair in wanted if pair[1])
    matched = ours.keys() & theirs.keys()
    return sum({ours[name], theirs[name]} == {"left", "right"} for name in matched), len(matched)
