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
    out: str | Path,
    title: str,
    pairs: Pairs,
    scoring: Scoring,
    other: Pairs | None = None,
    controls: Mapping[str, Any] | None = None,
    root: str | None = None,
    known: Mapping[str, Record] | None = None,
    marks: Sequence[str] = (f"{UNREVIEWED}.",),
) -> dict[str, Any]:
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
    folder = Path(out)
    metrics = pairs.score(list(scoring.metrics()))
    scores = summarise(metrics, scoring.resamples, scoring.unit)
    key = _key(scoring.key, scores)
    strata = find_strata(pairs.studies, pairs.references, known)
    rows = per_study_rows(metrics, group_names(strata, pairs.studies))
    by_group = score_strata(metrics, strata, pairs.studies, scoring.resamples, scoring.unit)
    comparison = None if other is None else _compare(metrics, other, scoring)
    write_json(folder / "metrics.json", scores)
    write_table(folder / "per_study.csv", rows)
    write_json(folder / "strata.json", by_group)
    write_json(folder / "coverage.json", pairs.coverage)
    for name, content in (("comparison", comparison), ("controls", controls)):
        if content is not None:
            write_json(folder / f"{name}.json", content)
    page = Evaluation(
        title=title, scores=scores, studies=pairs.studies, drafts=pairs.drafts, references=pairs.references,
        per_study=rows, key=key, lower={name for metric in metrics for name in metric.lower_is_better},
        strata=by_group, comparison=comparison, controls=controls, notes=notes(pairs.coverage), marks=marks,
        resamples=scoring.resamples, unit=scoring.unit,
    )  # fmt: skip
    write_evaluation_page(folder / "evaluation.html", page, picture_reader(root))
    return scores


def notes(coverage: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the studies that were not scored, as sentences.

    Args:
        coverage: of `Pairs`.
    """
    said = []
    without = coverage["references_without_draft"]["n"]
    if without:
        how = "were scored as empty drafts" if coverage["missing"] == "empty" else "were left out"
        said.append(f"{without} studies have a reference but no draft and {how}.")
    if coverage["drafts_without_reference"]["n"]:
        said.append(f"{coverage['drafts_without_reference']['n']} drafts have no reference and were left out.")
    if coverage["empty_drafts"]:
        said.append(f"{coverage['empty_drafts']} drafts are empty and score what an empty text scores.")
    if coverage["repeated_rows"]:
        said.append(f"{coverage['repeated_rows']} rows repeat a study and were counted once.")
    if coverage["unusable_items"]["n"]:
        said.append(f"{coverage['unusable_items']['n']} items of the datalist cannot be used: see coverage.json.")
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
