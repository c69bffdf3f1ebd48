# SPDX-License-Identifier: Apache-2.0
"""COMPARISON and TECHNIQUE: what every draft says of the pictures it rests on, written by code and never by a model."""

from __future__ import annotations

from collections.abc import Mapping

from libra_monai.outputs.headers import headers_of
from libra_monai.types import PictureHeader, ReportDraft

NO_PRIOR = "No prior available to this software"


def sections_of(draft: ReportDraft, headers: Mapping[str, PictureHeader] | None = None) -> dict[str, str]:
    """Sections of a draft in the order of a report; those the model did not write are absent.

    Args:
        draft: the draft.
        headers: view -> header; None reads them.
    """
    headers = headers_of(draft) if headers is None else headers
    written = {"technique": technique(draft, headers), "comparison": comparison(draft, headers)}
    drafted = {name: getattr(draft, name) for name in ("findings", "impression")}
    return written | {name: text for name, text in drafted.items() if text is not None}


def technique(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> str:
    """Which picture was read, and which were not.

    Args:
        draft: the draft.
        headers: view -> header, for DICOM pictures.
    """
    read = _picture("Chest radiograph", headers.get("current"), draft.sources.view)
    unread = [_view(view) for view in draft.sources.unread if view != "current"]
    if "current" in draft.sources.unread:  # a prompt without pictures
        read = f"No picture read by this software. {read}"
    return f"{read}. Not read by this software: {', '.join(unread)}." if unread else f"{read}."


def comparison(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> str:
    """Date, time and view of the prior that was used, or that there was none.

    Args:
        draft: the draft.
        headers: view -> header, for DICOM pictures.
    """
    if not draft.prior_used:
        return NO_PRIOR
    gap = draft.sources.gap_hours
    header = headers.get("prior")
    before = f", {time_between(gap)} before" if gap is not None and (header is None or header.time is None) else ""
    return f"{_picture('Prior chest radiograph', header, None)}{before}."


def time_between(hours: float | None) -> str | None:
    """A gap in words: hours below two days, else days."""
    if hours is None:
        return None
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _picture(what: str, header: PictureHeader | None, view: str | None) -> str:
    when = "date and time not known"
    if header is not None and header.time is not None:
        when = f"{header.time:%Y-%m-%d %H:%M:%S}" if header.timed else f"{header.time:%Y-%m-%d}, time not known"
    return f"{what}, {when}, {_view((header.view if header else None) or view)}"


def _view(name: str | None) -> str:
    if name is None or name == "unknown":
        return "view not known"
    return f"{name.lower() if name.upper() in ('LATERAL', 'FRONTAL') else name} view"
