# SPDX-License-Identifier: Apache-2.0
"""Everything an evaluation leaves in its folder: numbers, tables, the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.evaluation.pairs import Pairs
from libra_monai.evaluation.strata import find_strata, group_names, score_strata
from libra_monai.files import write_json
from libra_monai.metrics import ReportMetric, compare_metrics, per_study_rows, summarise, write_table
from libra_monai.metrics.statistics import RESAMPLES
from libra_monai.outputs.draft import UNREVIEWED
from libra_monai.outputs.evaluation import Evaluation, write_evaluation_page
from libra_monai.outputs.html import SHOWN
from libra_monai.transforms import ACCEPT_ALL, FitSquare, LoadRadiograph, StudyPicturesd
from libra_monai.types import Record

KEYS = ("finding_side_micro_f1", "rouge_l_coco", "rouge_l_f1")  # the first that was computed orders the worst cases


@dataclass(frozen=True)
class Scoring:
    """How an evaluation is made.

    Args:
        metrics: makes fresh metrics.
        resamples: bootstrap samples of intervals, and permutations of comparisons.
        unit: `patient` or `study`, what is drawn.
        key: the value that orders the worst cases; default findings with side, else ROUGE-L, else the first.
    """

    metrics: Callable[[], Sequence[ReportMetric]]
    resamples: int = RESAMPLES
    unit: str = "patient"
    key: str | None = None


def write_evaluation(
    out: str | Path, title: str, pairs: Pairs, scoring: Scoring, other: Pairs | None = None,
    controls: Mapping[str, Any] | None = None, root: str | None = None, known: Mapping[str, Record] | None = None,
    marks: Sequence[str] = (f"{UNREVIEWED}.",),
) -> dict[str, Any]:  # fmt: skip
    """Score, and write `metrics.json`, `per_study.csv`, `strata.json`, `coverage.json` and `evaluation.html`.

    With another system also `comparison.json`, with controls `controls.json`.

    Args:
        out: folder; it is created.
        title: heading of the page.
        pairs: drafts and references.
        scoring: metrics and statistics.
        other: drafts of another system, compared on the studies both have.
        controls: result of `run_controls`.
        root: folder that picture paths of the studies are relative to; None shows no pictures.
        known: study -> record, to look up the views of priors.
        marks: of the drafts.

    Returns:
        the content of `metrics.json`.

    Raises:
        ConfigError: the key metric was not computed.
    """
    metrics = pairs.score(list(scoring.metrics()))
    page = _evaluate(title, pairs, metrics, scoring, known)
    page.controls, page.marks = controls, marks
    page.comparison = None if other is None else _compare(metrics, other, scoring)
    folder = Path(out)
    write_table(folder / "per_study.csv", page.per_study)
    contents = {"metrics": page.scores, "strata": page.strata, "coverage": pairs.coverage}
    for name, content in {**contents, "comparison": page.comparison, "controls": controls}.items():
        if content is not None:
            write_json(folder / f"{name}.json", content)
    write_evaluation_page(folder / "evaluation.html", page, picture_reader(root))
    return dict(page.scores)


def _evaluate(
    title: str, pairs: Pairs, metrics: Sequence[ReportMetric], scoring: Scoring, known: Mapping[str, Record] | None
) -> Evaluation:
    """Scores, strata and values per study."""
    scores = summarise(metrics, scoring.resamples, scoring.unit)
    strata = find_strata(pairs.studies, pairs.references, known)
    return Evaluation(
        title=title, scores=scores, studies=pairs.studies, drafts=pairs.drafts, references=pairs.references,
        per_study=per_study_rows(metrics, group_names(strata, pairs.studies)), key=_key(scoring.key, scores),
        lower={name for metric in metrics for name in metric.lower_is_better},
        strata=score_strata(metrics, strata, pairs.studies, scoring.resamples, scoring.unit),
        notes=notes(pairs.coverage), resamples=scoring.resamples, unit=scoring.unit,
    )  # fmt: skip


def notes(coverage: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the studies that were not scored, as sentences.

    Args:
        coverage: of `Pairs`.
    """
    said = []
    without = coverage["references_without_draft"]["n"]
    if without:
        how = "scored as empty drafts" if coverage["missing"] == "empty" else "left out"
        said.append(f"References without a draft: {without}, {how}.")
    if coverage["drafts_without_reference"]["n"]:
        said.append(f"Drafts without a reference: {coverage['drafts_without_reference']['n']}, left out.")
    if coverage["empty_drafts"]:
        said.append(f"Empty drafts: {coverage['empty_drafts']}, scored as empty texts.")
    if coverage["repeated_rows"]:
        said.append(f"Rows that repeat a study: {coverage['repeated_rows']}, counted once.")
    if coverage["unusable_items"]["n"]:
        said.append(f"Items of the datalist that cannot be used: {coverage['unusable_items']['n']}, see coverage.json.")
    return said


def picture_reader(root: str | None) -> Callable[[str], Any] | None:
    """From a path of a record to a small picture for the page.

    Args:
        root: folder the paths are relative to; None shows none.
    """
    if root is None:
        return None
    return StudyPicturesd([LoadRadiograph(policy=ACCEPT_ALL), FitSquare(SHOWN)], root, policy=ACCEPT_ALL).picture


def _key(wanted: str | None, scores: Mapping[str, Mapping[str, Any]]) -> str | None:
    computed = [name for name, score in scores.items() if "skipped" not in score]
    if wanted is None:
        return next((name for name in (*KEYS, *computed) if name in computed), None)
    if wanted not in computed:
        raise ConfigError(f"key metric '{wanted}' was not computed", did_you_mean(wanted, computed))
    return wanted


def _compare(metrics: Sequence[ReportMetric], other: Pairs, scoring: Scoring) -> dict[str, Any]:
    theirs = other.score(list(scoring.metrics()))
    rows = compare_metrics(metrics, theirs, scoring.resamples, scoring.unit)
    return {"against": Path(other.coverage["predictions"]).name, "coverage": other.coverage, "metrics": rows}
