# SPDX-License-Identifier: Apache-2.0
"""One draft to one file, in the formats registered as `writer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_monai import registry
from libra_monai.errors import StudyError
from libra_monai.files import write_json, write_text
from libra_monai.outputs.names import file_name
from libra_monai.outputs.needs import check_formats
from libra_monai.outputs.statements import sections_of
from libra_monai.registry import register
from libra_monai.types import ReportDraft


@register("writer", "text")
def write_text_draft(draft: ReportDraft, folder: Path) -> Path:
    """Plain text, `<study_id>.txt`."""
    path = folder / f"{file_name(draft.study_id)}.txt"
    write_text(path, "\n".join(plain_text(draft)) + "\n")
    return path


def plain_text(draft: ReportDraft) -> list[str]:
    """The lines of a draft as plain text, its marks first.

    Args:
        draft: the draft.
    """
    lines = [*draft.marks, "", f"Study: {draft.study_id}", f"Model: {draft.model}"]
    lines += [f"Prior study: {draft.prior_study_id or 'given'}" if draft.prior_used else "Prior study: none used", ""]
    for name, text in sections_of(draft).items():
        lines += [f"{name.upper()}:", text, ""]
    lines += [f"Note: {note}" for note in draft.warnings]
    return lines if draft.warnings else lines[:-1]


@register("writer", "json")
def write_json_draft(draft: ReportDraft, folder: Path) -> Path:
    """The fields of `predictions.jsonl` with `technique` and `comparison`, `<study_id>.json`; the marks stand first."""
    path = folder / f"{file_name(draft.study_id)}.json"
    write_json(path, draft_content(draft))
    return path


def draft_content(draft: ReportDraft) -> dict[str, Any]:
    """What the JSON format holds of a draft, for programs that answer with it.

    Args:
        draft: the draft.
    """
    content = draft.as_json()
    sections = sections_of(draft)
    written = {name: sections[name] for name in ("technique", "comparison")}
    return {"marks": content.pop("marks"), **content, **written, "input_uids": draft.input_uids}


def write_draft(draft: ReportDraft, folder: str | Path, formats: Sequence[str] = ("text", "json")) -> list[Path]:
    """Write a draft in several formats.

    Args:
        draft: the draft.
        folder: where to; it is created.
        formats: registered writers.

    Raises:
        ConfigError: a format is unknown, or its package is not installed; nothing is written then.
        StudyError: the study cannot be written in one of them, such as SR of a picture without DICOM header; the other
            formats are written.
    """
    written, failed = write_formats(draft, folder, formats)
    if failed:
        raise failed[0]
    return written


def write_formats(
    draft: ReportDraft, folder: str | Path, formats: Sequence[str] = ("text", "json")
) -> tuple[list[Path], list[StudyError]]:
    """As `write_draft`, and what could not be written is given back instead of raised.

    Args:
        draft: the draft.
        folder: where to; it is created.
        formats: registered writers.

    Raises:
        ConfigError: a format is unknown, or its package is not installed.
    """
    check_formats(formats)
    written, failed = [], []
    for name in formats:
        try:
            written.append(registry.find("writer", name)(draft, Path(folder)))
        except StudyError as error:
            failed.append(error)
    return written, failed
