# SPDX-License-Identifier: Apache-2.0
"""What training does with sentences of a reference that cite a prior which the record lacks.

Such references are common in public corpora ("unchanged from the outside study"), and a model that learns them learns to claim
a change without a prior. Sentences are judged by the project's change labeler; what it misses stays.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import Transform

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.metrics.labelers.clauses import sentence_spans
from libra_monai.text.prompts import find_prompt
from libra_monai.types import FAILURE, WEIGHTS, Record

logger = logging.getLogger(__name__)

KEEP, MASK, DROP = POLICIES = ("keep", "mask", "drop")
SECTIONS = ("findings", "impression")


class PriorText(Transform):
    """Take the sentences that claim a change out of the references of studies without prior, or out of the loss.

    Studies with a prior pass untouched. `counts` says what was done: `studies` without prior, their `sentences`, and how
    many of them are `cut`.

    Args:
        policy: `keep` does nothing. `mask` leaves the sentences in the text a model reads, and gives their spans no
            weight (`WEIGHTS`), so that no loss is taken on their tokens. `drop` removes them.
        sections: sections of the record that can be references.

    Raises:
        ConfigError: the policy is none of them.
    """

    def __init__(self, policy: str = DROP, sections: Sequence[str] = SECTIONS) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"prior_text '{policy}' does not exist", did_you_mean(str(policy), POLICIES))
        self.policy, self.sections = policy, tuple(sections)
        self.counts: Counter[str] = Counter()

    def __call__(self, record: Record) -> dict[str, Any]:
        item = dict(record)
        return item if self.policy == KEEP or has_prior(record) else self.cut(item)

    def cut(self, record: Record) -> dict[str, Any]:
        """The record with its claims of change removed or marked, whether it has a prior or not."""
        item = dict(record)
        self.counts["studies"] += 1
        for section in self.sections:
            text = record.get(section)
            if not text:
                continue
            spans, claims = sentence_spans(text), claim_spans(text)
            self.counts["sentences"] += len(spans)
            self.counts["cut"] += len(claims)
            if claims and self.policy == DROP:
                item[section] = without(text, claims) or None
            elif claims:
                item = with_weights(item, section, claims, 0.0)
        return item

    @property
    def share(self) -> float:
        """Share of the sentences seen that were cut, 0 to 1."""
        return self.counts["cut"] / max(self.counts["sentences"], 1)


def with_weights(record: Record, section: str, spans: Sequence[tuple[int, int]], weight: float) -> dict[str, Any]:
    """A record with one more weight on the loss of some spans of a section.

    Args:
        record: in training.
        section: what holds the spans.
        spans: start and end in letters.
        weight: factor on the loss of their tokens; 0 learns nothing of them.
    """
    known = record.get(WEIGHTS) or {}
    more = [*known.get(section, []), *((start, end, weight) for start, end in spans)]
    return {**record, WEIGHTS: {**known, section: more}}


def with_prior_text(records: Sequence[Record], policy: str = KEEP, prompt: str = "findings") -> list[Record]:
    """Training records with `prior_text` applied; the share of sentences cut is logged.

    A study that `drop` leaves without a reference is left out.

    Args:
        records: from `load_records`; those that failed pass.
        policy: `keep`, `mask` or `drop`, see `PriorText`.
        prompt: the task, which says what section is the reference; an item's own `prompt` goes before it.

    Raises:
        ConfigError: the policy or the prompt does not exist.
    """
    change = PriorText(policy)
    find_prompt(prompt)
    if policy == KEEP:
        return list(records)
    pairs = [(record, record if FAILURE in record else change(record)) for record in records]
    left = [changed for record, changed in pairs if not _lost_reference(record, changed, prompt)]
    told = change.counts
    logger.info(
        "prior_text %s: %d of %d sentences (%.1f %%) of %d studies without prior cite one; %d studies left out",
        policy, told["cut"], told["sentences"], 100 * change.share, told["studies"], len(pairs) - len(left),
    )  # fmt: skip
    return left


def _lost_reference(before: Record, after: Mapping[str, Any], prompt: str) -> bool:
    target = find_prompt(before.get("prompt") or prompt).target
    return bool(before.get(target)) and not after.get(target)


def has_prior(record: Mapping[str, Any]) -> bool:
    """Whether a record has the study its report may compare with, as `false_comparison_rate` counts it."""
    return bool(record.get("prior") or record.get("prior_study_id"))


def claim_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of the sentences with which a text claims a change; without them it claims none.

    A sentence is judged behind those that stay, since "This has increased" claims something only of what was said before.

    Args:
        text: a section of a report.
    """
    if not claims_change(text):
        return []
    kept, claims = "", []
    for start, end in sentence_spans(text):
        longer = f"{kept} {text[start:end]}".strip()
        if claims_change(longer):
            claims.append((start, end))
        else:
            kept = longer
    return claims


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text without some of its sentences.

    Args:
        text: a section of a report.
        spans: of sentences, in order.
    """
    parts, at = [], 0
    for start, end in [*spans, (len(text), len(text))]:
        part = text[at:start].strip()
        if at and part and text[:at].rstrip().endswith(";"):
            part = part[0].upper() + part[1:]
        if part.endswith(";"):
            part = f"{part[:-1]}."
        parts += [part] if part else []
        at = end
    return re.sub(r" {2,}", " ", " ".join(parts))
