# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one self-contained HTML page: scores with intervals, comparison, controls, strata, worst cases.

Drawings are inline SVG and pictures are embedded; nothing is fetched and nothing runs in the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from libra_monai.errors import StudyError
from libra_monai.files import write_text
from libra_monai.outputs.change_words import mark_changes
from libra_monai.outputs.draft import UNREVIEWED
from libra_monai.outputs.html import page_environment, png
from libra_monai.outputs.pictures import may_leave
from libra_monai.outputs.statements import time_between
from libra_monai.types import Record

LONGEST = 3000  # letters of a text shown in the page
CONTROLS_HERE = "<!-- controls -->"  # in a page of drafts
SHOWN_METRICS = 3  # columns of strata; two of controls


@dataclass
class Evaluation:
    """What the page shows; the content of the files beside it.

    Args:
        title: heading.
        scores: `metrics.json`.
        studies, drafts, references: the scored studies and their texts.
        per_study: rows of `per_study.csv`.
        key: the metric that orders the worst cases and comes first.
        lower: names of values that are better when lower.
        strata: `strata.json`.
        comparison: `comparison.json` with a name for the other system, or None.
        controls: `controls.json`, or None.
        notes: sentences on what was left out.
        marks: of the drafts, as in `predictions.jsonl`.
        resamples, unit: of the intervals.
    """

    title: str
    scores: Mapping[str, Mapping[str, Any]]
    studies: Sequence[Record]
    drafts: Sequence[str]
    references: Sequence[str]
    per_study: Sequence[Mapping[str, Any]]
    key: str | None
    lower: set[str] = field(default_factory=set)
    strata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    controls: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    marks: Sequence[str] = (f"{UNREVIEWED}.",)
    resamples: int = 1000
    unit: str = "patient"


def write_evaluation_page(
    path: str | Path, evaluation: Evaluation, picture: Callable[[str], Tensor] | None = None, cases: int = 12
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        evaluation: what it shows.
        picture: from a path of a record to uint8 [1,h,w]; None shows no pictures.
        cases: how many of the worst studies.
    """
    e = evaluation
    scores = {name: score for name, score in e.scores.items() if "skipped" not in score}
    columns = _columns(e.key, scores)
    text = page_environment().get_template("evaluation.html").render(
        title=e.title, marks=e.marks, notes=e.notes, resamples=e.resamples, unit=e.unit, key=e.key, lower=e.lower,
        n=len(e.studies), patients=len({s.get("patient_id") or s["study_id"] for s in e.studies}),
        scores=scores, skipped={name: score["skipped"] for name, score in e.scores.items() if "skipped" in score},
        comparison=_comparison(e.comparison),
        **_controls(e.controls or {}),
        strata=e.strata, strata_metrics=columns,
        worst=_worst(e, columns, picture, cases),
    )  # fmt: skip
    write_text(path, text)
    return Path(path)


def add_controls(page: str | Path, controls: Mapping[str, Any]) -> None:
    """Put the answers and the table of controls into a page of drafts that has been written without them.

    Args:
        page: what `write_html_report` wrote.
        controls: `controls.json`.
    """
    pages, given = page_environment(), _controls(controls)
    shown = "\n".join(pages.get_template(f"{name}.html").render(given) for name in ("answers", "controls"))
    text = Path(page).read_text(encoding="utf-8")
    write_text(page, text.replace(CONTROLS_HERE, shown, 1))


def _controls(controls: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates of answers and controls need."""
    return {
        "answers": controls.get("answers"),
        "controls": controls.get("controls"),
        "control_metrics": _control_columns(controls),
        "constant": controls.get("constant", {}).get("finding_side_micro_f1", 0.0),
        "drafts_distinct": controls.get("drafts_distinct"),
        "drafts_total": controls.get("studies"),
        "share": _share,
    }


def _columns(key: str | None, scores: Mapping[str, Any]) -> list[str]:
    """The few metrics that strata show: the key metric, findings, change, text."""
    change = [name for name in scores if "change" in name and "f1" in name]
    text = [name for name in ("rouge_l_coco", "rouge_l_f1") if name in scores][:1]
    wanted = [key, "finding_side_micro_f1", *change[:1], *text, "bleu_4_coco", *scores]
    return list(dict.fromkeys(name for name in wanted if name in scores))[:SHOWN_METRICS]


def _control_columns(controls: Mapping[str, Any]) -> list[str]:
    rows = [row.get("metrics", {}) for row in controls.get("controls", {}).values()]
    return [name for name in ("finding_side_micro_f1", "change_micro_f1") if any(name in row for row in rows)]


def _comparison(comparison: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not comparison or not comparison["metrics"]:
        return None
    rows = comparison["metrics"]
    top = max(max(abs(row["low"]), abs(row["high"]), abs(row["difference"])) for row in rows.values())
    return {"name": comparison["against"], "n": max(row["n"] for row in rows.values()), "rows": rows, "top": top}


def _worst(
    e: Evaluation, columns: Sequence[str], picture: Callable[[str], Tensor] | None, cases: int
) -> list[dict[str, Any]]:
    """The studies with the worst key value; among equals the longer reference first."""
    if e.key is None:
        return []
    where = {str(study["study_id"]): row for row, study in enumerate(e.studies)}
    rows = [row for row in e.per_study if e.key in row and row["study_id"] in where]
    sign = -1 if e.key in e.lower else 1
    rows.sort(key=lambda row: (sign * row[e.key], -len(e.references[where[row["study_id"]]]), row["study_id"]))
    return [_case(e, row, where[row["study_id"]], columns, picture) for row in rows[:cases]]


def _case(
    e: Evaluation, row: Mapping[str, Any], place: int, columns: Sequence[str], picture: Callable[[str], Tensor] | None
) -> dict[str, Any]:
    study = e.studies[place]
    shown = _shown(study, picture)
    return {
        "study_id": row["study_id"],
        "numbers": [(name, row[name]) for name in columns if name in row],
        "current": shown.get("current"),
        "prior": shown.get("prior"),
        "has_prior": bool(study.get("prior") or study.get("prior_study_id")),
        "gap": time_between(study.get("gap_hours")),
        "view": study.get("view"),
        "draft": mark_changes(_short(e.drafts[place])),
        "reference": mark_changes(_short(e.references[place])),
    }


def _shown(study: Record, picture: Callable[[str], Tensor] | None) -> dict[str, str]:
    """View -> embedded picture; none of a study of which one has writing burned into its pixels."""
    pictures = {}
    for view in ("current", "prior"):
        try:
            if picture and study.get(view):
                pictures[view] = picture(study[view])
        except (StudyError, RuntimeError):  # a picture that cannot be read; its study was scored from text
            continue
    return {view: png(pixels) for view, pixels in pictures.items()} if may_leave(pictures.values()) else {}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} letters)"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
