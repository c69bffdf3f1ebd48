# SPDX-License-Identifier: Apache-2.0
"""Words that claim a change since the prior, so that a reader's eye finds them."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

# Phrases before words, longest first; "enlarged" alone describes a state, so it is not here.
_PHRASES = (
    r"no longer (?:seen|present|visible|visuali[sz]ed|identified)",
    r"(?:not|no) (?:\w+ )?(?:change[ds]?|increased?|decreased?)(?: (?:from|since|in)(?: \w+){0,3}? (?:prior|previous)[ \w]*)?",
    r"new(?:ly)?(?: since (?:the )?prior(?: study)?)?",
    r"since the prior(?: study)?",
    r"compared (?:with|to) (?:the )?prior(?: study)?",
    r"interval|previously seen",
    r"ha(?:s|ve) (?:increased|decreased|progressed|improved|resolved|developed|worsened|been (?:removed|placed))",
    r"unchanged|stable|worsen(?:ed|ing)|improve(?:d|ment)|resol(?:ved|ution)|increased?|decreased?|remov(?:ed|al)",
    r"larger|smaller|progress(?:ed|ion)|persistent|again",
)
_CHANGE = re.compile(r"\b(?:" + "|".join(_PHRASES) + r")\b", re.IGNORECASE)


def change_pattern() -> str:
    """The regular expression of all phrases, for pages that mark texts themselves: JavaScript reads it alike, case ignored."""
    return _CHANGE.pattern


def change_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of every phrase that claims a change."""
    return [(m.start(), m.start() + len(m.group().rstrip())) for m in _CHANGE.finditer(text)]


def mark_changes(text: str | None) -> Markup:
    """The text as HTML, escaped, with change words in `<mark>`."""
    text = text or ""
    pieces, place = [], 0
    for start, end in change_spans(text):
        pieces += [escape(text[place:start]), Markup("<mark>"), escape(text[start:end]), Markup("</mark>")]
        place = end
    return Markup("").join([*pieces, escape(text[place:])])
