# SPDX-License-Identifier: Apache-2.0
"""The 14 CheXpert observations of a report, by rules.

Follows the conventions of the CheXpert labeler (Irvin et al., AAAI 2019): per observation positive before uncertain
before negative (negative with uncertain is uncertain), heart failure leaves cardiomegaly open, `No Finding` if nothing
but support devices is positive or uncertain and no other abnormality is named. It is not CheXbert and must not be
compared with numbers of CheXbert; its name in results is `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable

from libra_monai.metrics.labelers.mentions import ABSENT, GONE, LIKELY, PRESENT, UNCERTAIN, Mention
from libra_monai.metrics.labelers.phrases import CHEXPERT_14, DEVICES, SUPPORT
from libra_monai.metrics.labelers.reader import read_report

POSITIVE, NEGATIVE, OPEN = 1, 0, -1
VERSION = "rules 2"
_LABEL = {PRESENT: POSITIVE, LIKELY: OPEN, UNCERTAIN: OPEN, ABSENT: NEGATIVE, GONE: NEGATIVE}
_CAUSE = ("Edema", ("Cardiomegaly",))  # heart failure


def chexpert_labels(text: str | None) -> dict[str, int | None]:
    """1 (positive), 0 (negative), -1 (uncertain) or None (not mentioned) for each of the 14 observations.

    A text without a word has no label at all, not even `No Finding`.

    Args:
        text: a report or a section of one.
    """
    return labels_of(read_report(text), any(letter.isalpha() for letter in text or ""))


def labels_of(mentions: Iterable[Mention], worded: bool = True) -> dict[str, int | None]:
    """The labels of `chexpert_labels` from mentions already read.

    Args:
        mentions: of one report.
        worded: whether the report says anything.
    """
    seen: dict[str, set[int]] = {}
    other = False
    for mention in mentions:
        label = _LABEL[mention.status]
        name = SUPPORT if mention.finding in DEVICES else mention.finding
        other = other or (not name and label != NEGATIVE)
        if name:
            seen.setdefault(name, set()).add(label)
        for further in mention.also:
            if (mention.finding, mention.also) != _CAUSE:
                seen.setdefault(further, set()).add(label)
            elif label != NEGATIVE:
                seen.setdefault(further, set()).add(OPEN)
    labels: dict[str, int | None] = {name: _joined(seen.get(name, set())) for name in CHEXPERT_14}
    ill = any(labels[name] in (POSITIVE, OPEN) for name in CHEXPERT_14 if name != SUPPORT)
    labels["No Finding"] = POSITIVE if worded and not ill and not other else None
    return labels


def _joined(labels: set[int]) -> int | None:
    return next((label for label in (POSITIVE, OPEN, NEGATIVE) if label in labels), None)
