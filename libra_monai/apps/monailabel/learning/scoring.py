# SPDX-License-Identifier: Apache-2.0
"""How far drafts were from what readers made of them: the registered metrics between `original` and `reader_corrected`.

A correction is the reference, the draft it began from the prediction. It began from a draft, so the numbers flatter:
they say how much readers changed, and not how good a draft would be against a report written without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL, ReportStore, text_of
from libra_monai.metrics import build_metrics, per_study_rows, summarise
from libra_monai.metrics.statistics import RESAMPLES
from libra_monai.registry import build
from libra_monai.types import Record

DESCRIPTION = "Registered metrics between drafts and what readers made of them"


def score_corrections(
    reports: ReportStore,
    metrics: Sequence[str] | None = None,
    images: Iterable[str] | None = None,
    record: Callable[[str], Record] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score the newest correction of each study against the draft it began from.

    Args:
        reports: the store.
        metrics: registered names; None for all that need no arguments.
        images: which studies; None for all that are corrected.
        record: study -> record, for patients (the unit of the intervals) and labels; None takes each study as a patient.
        resamples: bootstrap samples of the intervals.

    Returns:
        `studies`, `without_draft`, `metrics` (as in `metrics.json`), `effort` (seconds and edit distance) and `per_study`.

    Raises:
        ConfigError: a metric does not exist.
    """
    built = build_metrics() if metrics is None else [build("metric", name) for name in metrics]
    wanted = reports.ids(CORRECTED) if images is None else [i for i in images if reports.latest(i, CORRECTED)]
    pairs = {image: pair_of(reports, image) for image in wanted}
    scored = [(image, *pair) for image, pair in pairs.items() if pair is not None]
    studies = [{**(record(image) if record else {}), "study_id": image} for image, _, _ in scored]
    for metric in built:
        metric.update([text_of(draft) for _, draft, _ in scored], [text_of(corrected) for *_, corrected in scored], studies)
    return {
        "studies": len(scored),
        "without_draft": len(wanted) - len(scored),
        "metrics": summarise(built, resamples) if scored else {},
        "effort": _effort([corrected for *_, corrected in scored]),
        "per_study": per_study_rows(built),
    }


def pair_of(reports: ReportStore, image: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The draft that the newest correction of a study began from, and that correction; None where one is missing.

    A correction that names no draft is set beside the newest one.

    Args:
        reports: the store.
        image: id of the study.
    """
    corrected = reports.latest(image, CORRECTED)
    if corrected is None:
        return None
    began = corrected.get("draft")
    draft = reports.latest(image, ORIGINAL) if began is None else reports.draft(image, began)
    return None if draft is None else (draft, corrected)


def _effort(corrections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds and edit distance of corrections."""
    found: dict[str, Any] = {}
    seconds = [one["seconds"] for one in corrections if one.get("seconds") is not None]
    if seconds:
        found["seconds"] = {"mean": fmean(seconds), "median": median(seconds), "n": len(seconds)}
    for unit in ("characters", "words"):
        edits = [one["edit_distance"][unit] for one in corrections]
        if edits:
            found[f"edited_{unit}"] = {"mean": fmean(edits), "median": median(edits), "n": len(edits)}
            found["unchanged"] = sum(edit == 0 for edit in edits)
    return found


def scoring_methods(reports: ReportStore, record: Callable[[str], Record] | None = None) -> dict[str, Any]:
    """The `ScoringMethod`s of the app, by name; MONAI Label is imported here and not before.

    Args:
        reports: the store.
        record: see `score_corrections`.
    """
    from monailabel.interfaces.tasks.scoring import ScoringMethod

    class ReportScoring(ScoringMethod):
        """Scores all corrected studies; `metrics` of the request is a list of registered names."""

        def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
            scores = score_corrections(reports, request.get("metrics"), record=record)
            for row in scores["per_study"]:
                _note(datastore, str(row["study_id"]), {k: v for k, v in row.items() if k not in ("study_id", "patient_id")})
            return scores

    return {"reports": ReportScoring(DESCRIPTION)}


def _note(datastore: Any, image: str, values: Mapping[str, Any]) -> None:
    """Leave the scores of a study where MONAI Label's clients look for them, if its store knows the correction."""
    if datastore is not None and datastore.get_label(image, CORRECTED):
        datastore.update_label_info(image, CORRECTED, {"scores": dict(values)})
