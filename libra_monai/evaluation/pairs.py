# SPDX-License-Identifier: Apache-2.0
"""Drafts and references of the same studies, and what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from libra_monai.errors import ConfigError
from libra_monai.evaluation.texts import Texts
from libra_monai.metrics import ReportMetric
from libra_monai.types import Record

_NAMED = 20  # identifiers listed of each kind that was left out
MISSING = ("leave-out", "empty")


@dataclass
class Pairs:
    """Studies with a reference and a draft, in the order of the references.

    Args:
        studies: records, with at least `study_id`.
        drafts, references: their texts.
        coverage: how many studies were scored or left out, and which.
    """

    studies: list[Record]
    drafts: list[str]
    references: list[str]
    coverage: dict[str, Any]

    def score(self, metrics: Sequence[ReportMetric]) -> Sequence[ReportMetric]:
        """Update metrics with all studies, and give them back."""
        for metric in metrics:
            metric.update(self.drafts, self.references, self.studies)
        return metrics


def pair(drafts: Texts, references: Texts, missing: str = "leave-out") -> Pairs:
    """Put drafts and references of the same studies together.

    Args:
        drafts, references: read from files.
        missing: `leave-out` leaves out references without a draft; `empty` scores them as empty drafts.

    Raises:
        ConfigError: no study is in both files.
    """
    wanted = [study for study, text in references.texts.items() if text.strip()]
    shared = [study for study in wanted if study in drafts.texts]
    if not shared:
        first, second = next(iter(drafts.texts)), next(iter(references.texts))
        what = f"no study of {drafts.path} (such as '{first}') has a reference in {references.path} (such as '{second}')"
        raise ConfigError(what, "Use the same study_id in both files.")
    used = wanted if missing == "empty" else shared
    absent = [study for study in wanted if study not in drafts.texts]
    coverage = {
        "predictions": drafts.path,
        "references": references.path,
        "scored": len(used),
        "missing": missing,
        "empty_drafts": sum(not drafts.texts.get(study, "").strip() for study in used),
        "repeated_rows": drafts.repeated + references.repeated,
        "references_without_draft": _named(absent),
        "drafts_without_reference": _named([study for study in drafts.texts if study not in set(wanted)]),
        "unusable_items": {"n": len(references.unusable), "first": references.unusable[:_NAMED]},
    }
    studies = [_joined(references.records[study], drafts.records.get(study, {})) for study in used]
    texts = [drafts.texts.get(study, "") for study in used]
    return Pairs(studies, texts, [references.texts[study] for study in used], coverage)


def _joined(reference: Record, draft: Record) -> dict[str, Any]:
    """What the reference's file knows of a study, completed by the draft's."""
    known = {name: value for name, value in reference.items() if value is not None}
    more = {name: draft[name] for name in ("patient_id", "prior_study_id", "prior_used", "view", "gap_hours") if name in draft}
    return {**more, **known}


def _named(studies: Sequence[str]) -> dict[str, Any]:
    return {"n": len(studies), "first": list(studies[:_NAMED])}
