# SPDX-License-Identifier: Apache-2.0
"""Agreement on where tubes and lines end: in their place, or malpositioned, read from both texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric, f1
from libra_monai.metrics.labelers.positions import MALPOSITIONED, read_positions
from libra_monai.registry import register
from libra_monai.types import Record

_GONE = ("resolved", "removed")


@register("metric", "position_f1")
class PositionF1(ReportMetric):
    """Micro F1 of (device, position) and of malpositions alone, 0 to 1, higher is better; and malpositions missed.

    Where neither text speaks of a position there is no value.

    Args:
        truth: read the reference positions from the record's `statements` where these give any, instead of from the
            reference text.
    """

    lower_is_better = ("missed_malposition_rate",)

    def __init__(self, truth: bool = False) -> None:
        self.truth = truth
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """True positives, false positives and misses, of all positions and of malpositions."""
        said, wanted = set(read_positions(prediction).items()), set(read_positions(reference).items())
        told = study.get("statements")
        if self.truth and told is not None:
            wanted = {(s["finding"], s["position"]) for s in told if s.get("position") and s["change"] not in _GONE}
        row: list[float] = []
        for have, want in ((said, wanted), (_wrong(said), _wrong(wanted))):
            row += [len(have & want), len(have - want), len(want - have)]
        return row

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`position_micro_f1`, `malposition_micro_f1`, `missed_malposition_rate`."""
        hits, _, missed = totals[3:]
        return {
            "position_micro_f1": f1(*totals[:3]) if totals[:3].any() else float("nan"),
            "malposition_micro_f1": f1(*totals[3:]) if totals[3:].any() else float("nan"),
            "missed_malposition_rate": missed / (hits + missed) if hits + missed else float("nan"),
        }

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"rule-based positions of devices, reference from {'statements' if self.truth else 'text'}"


def _wrong(positions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {pair for pair in positions if pair[1] == MALPOSITIONED}
