# SPDX-License-Identifier: Apache-2.0
"""One draft to one file, in the formats registered as `writer`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from libra_monai import registry
from libra_monai.files import write_json, write_text
from libra_monai.registry import register
from libra_monai.types import ReportDraft


@register("writer", "text")
def write_text_draft(draft: ReportDraft, folder: Path) -> Path:
    """Plain text, `<study_id>.txt`."""
    lines = list(draft.marks)
    lines += ["", f"Study: {draft.study_id}", f"Model: {draft.model}"]
    prior = f"Prior study: {draft.prior_study_id or 'given'}" if draft.prior_used else "Prior study: none used"
    lines += [prior, ""]
    for name in ("findings", "impression"):
        if getattr(draft, name) is not None:
            lines += [f"{name.upper()}:", getattr(draft, name), ""]
    lines += [f"Note: {note}" for note in draft.warnings]
    path = folder / f"{file_name(draft.study_id)}.txt"
    write_text(path, "\n".join(lines).rstrip() + "\n")
    return path


@register("writer", "json")
def write_json_draft(draft: ReportDraft, folder: Path) -> Path:
    """The fields of `predictions.jsonl`, `<study_id>.json`; the marks stand first."""
    content = draft.as_json()
    path = folder / f"{file_name(draft.study_id)}.json"
    write_json(path, {"marks": content.pop("marks"), **content, "input_uids": draft.input_uids})
    return path


def write_draft(draft: ReportDraft, folder: str | Path, formats: Sequence[str] = ("text", "json")) -> list[Path]:
    """Write a draft in several formats.

    Args:
        draft: the draft.
        folder: where to; it is created.
        formats: registered writers.

    Raises:
        ConfigError: a format is unknown.
    """
    return [registry.find("writer", name)(draft, Path(folder)) for name in formats]


def file_name(study_id: str) -> str:
    """A file name for a study: its identifier; one with anything unusual replaced gets a mark that keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", study_id).lstrip(".")[:120] or "study"
    return plain if plain == study_id else f"{plain}-{hashlib.sha256(study_id.encode()).hexdigest()[:8]}"
