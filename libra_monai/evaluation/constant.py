# SPDX-License-Identifier: Apache-2.0
"""The best constant report: what a model that sees nothing can reach by always writing the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from libra_monai.metrics import FindingF1
from libra_monai.types import Record

FINDING_F1 = "finding_side_micro_f1"
_CANDIDATES = 40  # texts tried; all would take as many scorings as there are studies


def best_constant(records: Sequence[Record], target: str = "findings", truth: bool = False) -> dict[str, Any]:
    """The reference text that scores best on findings when every study gets it, and its finding F1.

    Args:
        records: studies with references.
        target: section that is the reference.
        truth: score against the records' `statements` where they have them, see `FindingF1`.
    """
    counts = Counter(r[target] for r in records)
    texts = sorted(counts, key=lambda text: (-counts[text], text))
    tried = texts[:: max(1, len(texts) // _CANDIDATES)][:_CANDIDATES]
    value, text = max((_finding_f1(records, text, target, truth), text) for text in tried)
    return {"text": text, FINDING_F1: value}


def _finding_f1(records: Sequence[Record], text: str, target: str, truth: bool) -> float:
    metric = FindingF1(truth=truth)
    metric.update([text] * len(records), [r[target] for r in records], records)
    return metric.compute()[FINDING_F1]
