# SPDX-License-Identifier: Apache-2.0
"""Drafts as self-contained HTML pages: of many studies with references and scores, or of one.

Nothing is fetched: pictures are embedded, and every text is escaped, since a report may contain markup. Pictures with
writing in them are left out, see `pictures`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from libra_monai.files import write_text
from libra_monai.outputs.change_words import mark_changes
from libra_monai.outputs.evidence_marks import LEVELS, evidence_rows, mark_sentences
from libra_monai.outputs.headers import headers_of
from libra_monai.outputs.names import file_name
from libra_monai.outputs.pictures import PagePictures, pictures_of
from libra_monai.outputs.statements import sections_of, time_between
from libra_monai.registry import register
from libra_monai.types import Record, ReportDraft, SentenceEvidence

MAX_STUDIES = 40  # keeps the page within a few megabytes


def write_html_report(
    path: str | Path,
    title: str,
    drafts: Sequence[ReportDraft],
    records: Sequence[Record],
    picture: Callable[[str], Tensor] | None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
    failed: int = 0,
    total: int | None = None,
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        title: heading.
        drafts, records: studies in the same order; at most 40 are shown.
        picture: from a path of a record to uint8 [1,h,w]; None shows no pictures.
        scores: as in `metrics.json`.
        failed: number of studies that could not be read.
        total: number of studies there are, where `drafts` are only some.
    """
    shown = [_study(d, r, picture) for d, r in zip(drafts[:MAX_STUDIES], records[:MAX_STUDIES], strict=True)]
    text = page_environment().get_template("report.html").render(
        title=title,
        marks=drafts[0].marks if drafts else [],
        model=drafts[0].model if drafts else "no model",
        studies=shown,
        studies_total=len(drafts) if total is None else total,
        scores=dict(scores or {}),
        failed=failed,
        levels=_levels(),
    )
    write_text(path, text)
    return Path(path)


@register("writer", "html")
def write_html_draft(draft: ReportDraft, folder: Path) -> Path:
    """One self-contained page with the pictures, `<study_id>.html`."""
    headers, files = headers_of(draft), draft.sources.files
    current = headers.get("current")
    record = {**files, "view": (current.view if current else None) or draft.sources.view, "gap_hours": draft.sources.gap_hours}
    read = PagePictures(Path(files.get("current") or folder).absolute().anchor, draft.sources.reading)
    study = _study(draft, record, read, sections_of(draft, headers))
    path = Path(folder) / f"{file_name(draft.study_id)}.html"
    page = {"title": f"Draft of {draft.study_id}", "marks": draft.marks, "model": draft.model, "studies": [study], "levels": _levels()}
    text = page_environment().get_template("report.html").render(**page, studies_total=1, scores={}, failed=0)
    write_text(path, text)
    return path


def _levels() -> dict[str, str]:
    return {word: f"{bound:.2f}" for bound, word in LEVELS}


def page_environment() -> Environment:
    """Templates of this room: everything is escaped, and a missing value is an error."""
    return Environment(
        loader=PackageLoader("libra_monai.outputs", "pages"), autoescape=True, undefined=StrictUndefined
    )


def _study(
    draft: ReportDraft, record: Record, picture: Callable[[str], Tensor] | None, sections: Mapping[str, str] | None = None
) -> dict[str, Any]:
    pictures, absent = pictures_of(draft, record, picture)
    shown = {view: png(pixels) for view, pixels in pictures.items()}
    told = draft.evidence or []
    sections = {name: getattr(draft, name) for name in ("findings", "impression")} if sections is None else sections
    return {
        "evidence": evidence_rows(told),
        "draft": draft,
        "view": record.get("view"),
        "gap": time_between(record.get("gap_hours")) if draft.prior_used else None,
        "sections": [_labelled(name, text, told) for name, text in sections.items() if text],
        "reference": mark_changes(draft.reference) if draft.reference else None,
        "current": shown.get("current"),
        "prior": shown.get("prior"),
        "absent": absent or "not shown",
    }


def _labelled(name: str, text: str, told: Sequence[SentenceEvidence]) -> tuple[str, str]:
    """Label and text of a section; words of change, and how sure the model was, are marked in what a model wrote."""
    if name not in ("findings", "impression"):
        return name, text
    return f"Draft: {name}", mark_sentences(text, [one for one in told if one.section == name])


def png(pixels: Tensor) -> str:
    """A picture as base64 of a PNG file.

    Args:
        pixels: uint8 [1,h,w].
    """
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels[0], dtype=np.uint8)).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
