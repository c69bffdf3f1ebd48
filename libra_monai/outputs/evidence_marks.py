# SPDX-License-Identifier: Apache-2.0
"""Sentences of a draft as HTML, marked by how sure the model was: by word, number and line, never by colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from libra_monai.outputs.change_words import mark_changes
from libra_monai.types import SentenceEvidence

LEVELS = ((0.9, "strong"), (0.7, "fair"), (0.0, "weak"))  # lowest score of each word


def level(score: float) -> str:
    """The word for a score."""
    return next((word for bound, word in LEVELS if score >= bound), LEVELS[-1][1])


def mark_sentences(text: str | None, evidence: Sequence[SentenceEvidence]) -> Markup:
    """The text as HTML, escaped, with change words marked; each sentence is followed by its strength, and underlined.

    Args:
        text: of one section.
        evidence: of that section's sentences, in order.
    """
    text = text or ""
    pieces, place = [], 0
    for sentence in evidence:
        word, inner = level(sentence.score), mark_changes(text[sentence.start : sentence.end])
        pieces.append(mark_changes(text[place : sentence.start]))
        pieces.append(Markup('<span class="sentence {}">{}</span> ').format(word, inner))
        pieces.append(Markup('<span class="strength {}">{} {}</span>').format(word, word, f"{sentence.score:.2f}"))
        place = sentence.end
    return Markup("").join([*pieces, mark_changes(text[place:])])


def evidence_rows(evidence: Sequence[SentenceEvidence]) -> list[dict[str, str]]:
    """Rows of the table of evidence; numbers as text, an absent contrast as a dash."""
    return [
        {
            "text": sentence.text,
            "level": level(sentence.score),
            "score": f"{sentence.score:.2f}",
            "mean": f"{sentence.mean_log_prob:.2f}",
            "lowest": f"{sentence.min_log_prob:.2f}",
            "image": _signed(sentence.image_contrast),
            "prior": _signed(sentence.prior_contrast),
        }
        for sentence in evidence
    ]


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
