# SPDX-License-Identifier: Apache-2.0
"""Is a sentence of a draft right? Judged by what was drawn, so for phantom studies only.

The labelers read each sentence by itself, and what it states is looked up among the record's `statements`. What a draft
leaves out counts against none of its sentences. Severity is not judged, since its words are borders within a range of
sizes. The two functions at the end measure how well scores order sentences, and whether they keep what they promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from libra_monai.data.phantom.story import FINDINGS
from libra_monai.metrics.labelers.changes import Finding, stated
from libra_monai.metrics.labelers.mentions import ABSENT, Mention
from libra_monai.metrics.labelers.phrases import SUPPORT
from libra_monai.metrics.labelers.reader import read_report

GONE = ("resolved", "removed")


def is_right(sentence: str, statements: Sequence[Mapping[str, Any]], has_prior: bool) -> bool | None:
    """Whether all that a sentence states is true; None if it states nothing that can be right or wrong here.

    Every finding must be there, on the side that is named (if one is), with the change that is named (if one is;
    without a prior no change can be true), and what is denied must not be there. Doubtful mentions state nothing, nor do
    denials of what phantoms never show ("no fracture"), which would always be right.

    Args:
        sentence: of a draft, read by itself.
        statements: what was drawn, see libra_monai/data/schema.py.
        has_prior: whether the study has a prior.
    """
    mentions = [m for m in read_report(sentence) if m.finding and m.finding != SUPPORT]
    judged = [_is_true(line, statements, has_prior) for line in stated(mentions)]
    judged += [not _there(m, statements) for m in mentions if m.status == ABSENT and m.finding in FINDINGS]
    return all(judged) if judged else None


def _is_true(line: Finding, statements: Sequence[Mapping[str, Any]], has_prior: bool) -> bool:
    fitting = [s for s in statements if s["finding"] == line.finding and line.side in (None, s["side"])]
    if line.change is None:
        return any(s["change"] not in GONE for s in fitting)
    return has_prior and any(s["change"] == line.change for s in fitting)


def _there(denied: Mention, statements: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a finding is there on the denied side; "no effusion" denies both, and a bilateral one is on each."""
    sides = {denied.side, "bilateral"} if denied.side in ("left", "right") else None
    return any(
        s["finding"] == denied.finding and s["change"] not in GONE and (sides is None or s["side"] in sides)
        for s in statements
    )


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Chance that a right sentence scores above a wrong one, equal scores counting half; None without both kinds.

    Args:
        scores: one a sentence.
        right: whether it is right.
    """
    values, truth = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    n_right, n_wrong = int(truth.sum()), int((~truth).sum())
    if not n_right or not n_wrong:
        return None
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # mean rank of equal scores
    return float((ranks[truth].sum() - n_right * (n_right + 1) / 2) / (n_right * n_wrong))


@dataclass(frozen=True)
class Bin:
    """One row of a table of reliability.

    Args:
        low, high: bounds of the score.
        n: sentences between them.
        score: their mean score.
        right: the share of them that is right.
    """

    low: float
    high: float
    n: int
    score: float
    right: float


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> tuple[list[Bin], float]:
    """Do sentences of score 0.8 turn out right in 80 of 100 cases?

    Args:
        scores: in 0..1.
        right: whether each sentence is right.
        bins: of equal width; empty ones are left out.

    Returns:
        the rows, and the expected calibration error: the mean distance of score and share, weighed by sentences.
    """
    values, truth = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    number = np.clip((values * bins).astype(int), 0, bins - 1)
    rows = []
    for b in range(bins):
        inside = number == b
        if inside.any():
            score, share = float(values[inside].mean()), float(truth[inside].mean())
            rows.append(Bin(b / bins, (b + 1) / bins, int(inside.sum()), score, share))
    return rows, sum(row.n * abs(row.score - row.right) for row in rows) / max(len(values), 1)
