# SPDX-License-Identifier: Apache-2.0
"""Agreement of what draft and reference say has changed: (finding, side, change) read from both texts.

Unlike words of change (`metrics.temporal`), a change counts only with the right finding and side. The rates beside the
F1 name the two errors that mislead most: the opposite direction, and a comparison with a study that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from libra_monai.metrics.base import ReportMetric, f1
from libra_monai.metrics.labelers.changes import OPPOSITE, change_claims, claims_change
from libra_monai.registry import register
from libra_monai.types import Record

Change = tuple[str, str | None, str]


@register("metric", "change_f1")
class ChangeF1(ReportMetric):
    """Micro F1 of change tuples, with all changes and without `stable`, 0 to 1, higher is better; and flips.

    Args:
        truth: read the reference changes from the record's `statements` where it has them, instead of from the
            reference text.
    """

    lower_is_better = ("direction_flip_rate",)

    def __init__(self, truth: bool = False) -> None:
        self.truth = truth
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """True positives, false positives and misses, of all changes and without `stable`; flips and directed pairs."""
        said = change_claims(prediction)
        if self.truth and study.get("statements") is not None:
            wanted = {(s["finding"], s["side"], s["change"]) for s in study["statements"] if s["change"]}
        else:
            wanted = change_claims(reference)
        row: list[float] = []
        for have, want in ((said, wanted), (_moving(said), _moving(wanted))):
            row += [len(have & want), len(have - want), len(want - have)]
        return [*row, *_flips(said, wanted)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`change_micro_f1`, `change_micro_f1_without_stable`, `direction_flip_rate`."""
        flipped, directed = totals[6:]
        return {
            "change_micro_f1": f1(*totals[:3]),
            "change_micro_f1_without_stable": f1(*totals[3:6]),
            "direction_flip_rate": flipped / directed if directed else float("nan"),
        }

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"rule-based changes of findings, reference from {'statements' if self.truth else 'text'}"


@register("metric", "false_comparison")
class FalseComparison(ReportMetric):
    """Share of drafts that compare with an earlier study where there is none, 0 to 1, lower is better.

    Only studies whose record says that there is no prior count; without such records there is no value.
    """

    lower_is_better = ("false_comparison_rate",)

    def __init__(self) -> None:
        super().__init__("none")

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """Whether a draft without prior claims a change, and whether the study has no prior."""
        told = "prior" in study or "prior_study_id" in study
        alone = told and not study.get("prior") and not study.get("prior_study_id")
        return [float(alone and claims_change(prediction)), float(alone)]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`false_comparison_rate`."""
        return {"false_comparison_rate": totals[0] / totals[1] if totals[1] else float("nan")}

    @property
    def signature(self) -> str:
        """How the value was made."""
        return "rule-based changes and words of comparison in drafts of studies without prior"


def _moving(changes: set[Change]) -> set[Change]:
    return {change for change in changes if change[2] != "stable"}


def _flips(said: set[Change], wanted: set[Change]) -> tuple[int, int]:
    """Changes said to be in the opposite direction, and all that have a direction in both texts.

    A draft's change answers the reference's change of the same finding if the sides are equal or one has none.
    """
    flipped = directed = 0
    for finding, side, change in wanted:
        if change in OPPOSITE:
            answers = {c for f, s, c in said if f == finding and c in OPPOSITE and (s == side or None in (s, side))}
            directed += bool(answers)
            flipped += bool(answers) and change not in answers
    return flipped, directed
