# SPDX-License-Identifier: Apache-2.0
"""What a report says of one finding, and how the cues that reached a name are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from libra_monai.metrics.labelers import cues as c
from libra_monai.metrics.labelers.grammar import Name
from libra_monai.metrics.labelers.phrases import DEVICES, MIDLINE, SUPPORT
from libra_monai.metrics.labelers.sides import BILATERAL

PRESENT, LIKELY, UNCERTAIN, ABSENT, GONE = "present", "likely", "uncertain", "absent", "gone"
_STATUS = {c.DENIED: ABSENT, c.DOUBTED: UNCERTAIN, c.LIKELY: LIKELY}


@dataclass(frozen=True)
class Mention:
    """One finding or device named in a report.

    Args:
        finding: CheXpert-14 name or device; empty for other abnormalities.
        side: left, right, bilateral or None.
        status: `present`, `likely`, `uncertain`, `absent` or `gone` (resolved or removed since the prior).
        severity: small, moderate, large or None.
        change: new, worsened, improved, stable, resolved, removed or None.
        also: further CheXpert observations the phrase counts for.
        generic: a line or tube without a name of its own; the word.
    """

    finding: str
    side: str | None
    status: str
    severity: str | None = None
    change: str | None = None
    also: tuple[str, ...] = ()
    generic: str = ""


def weighed(name: Name, raw: Sequence[str]) -> Mention | None:
    """The final word on a name; None if it means nothing.

    Args:
        name: what the cues found.
        raw: the words as written.
    """
    concept = name.concept
    if concept.kind == "aside":
        return None
    device = concept.name in DEVICES or concept.name == SUPPORT
    kind = _change_kind(name, device)
    status = _STATUS.get(name.status or "", LIKELY if concept.kind == "sign" else PRESENT)
    if concept.kind == "state":
        judged = _state_status(name, kind, status)
        if judged is None:
            return None
        status = judged
    if concept.kind == "event":
        kind = {"removed": c.GONE, "new": c.NEW}.get(concept.change or "", kind)
    if (kind == c.GONE and status in (PRESENT, LIKELY, ABSENT)) or status == GONE:
        status, kind = GONE, c.GONE
    elif status == ABSENT:
        status, kind = (GONE, c.GONE) if name.before else (ABSENT, None)
    change = c.CHANGE.get(kind or "")
    if device and change == "resolved":
        change = "removed"
    if status == UNCERTAIN and kind in (c.GONE, c.NEW):
        change = None
    return Mention(
        concept.name, _side(name), status, None if device else name.severity, change, concept.also,
        raw[name.end - 1] if concept.name == SUPPORT and name.end - name.start == 1 else "",
    )  # fmt: skip


def _state_status(name: Name, kind: str | None, status: str) -> str | None:
    """Status of anatomy: there only if enlarged, open if merely said to be unchanged, else not said."""
    if name.size == c.NORMAL:
        return GONE if kind in (c.BETTER, c.GONE) else ABSENT
    if name.size == c.BIG or kind == c.WORSE:
        return status
    if kind in (c.BETTER, c.SAME, c.GONE) or status == UNCERTAIN:
        return UNCERTAIN if kind != c.GONE else GONE
    return None


def _change_kind(name: Name, device: bool) -> str | None:
    """The cue that counts: direction before sameness, then the nearest."""
    changes = [hit for hit in name.changes if not device or hit[0] in (c.GONE, c.NEW, c.SAME)]
    if not changes:
        return None
    directed = [hit for hit in changes if hit[0] != c.SAME]
    return min(directed or changes, key=lambda hit: hit[1])[0]


def _side(name: Name) -> str | None:
    finding = name.concept.name
    if finding in MIDLINE:
        return None
    if finding == "Edema" and name.side is None:
        return BILATERAL  # pulmonary edema unless a side is named
    if finding == "Pleural Effusion" and name.side is None and name.plural:
        return BILATERAL
    return name.side


def turned(mention: Mention, kinds: Sequence[str]) -> Mention:
    """A mention after a following sentence such as "This has increased".

    Args:
        mention: of the sentence before.
        kinds: of the cues that point back.
    """
    for kind in kinds:
        device = mention.finding in DEVICES or mention.finding == SUPPORT
        if kind in c.CHANGE and mention.status in (PRESENT, LIKELY) and (mention.change in (None, "stable")):
            if device and kind in (c.WORSE, c.BETTER):
                continue
            change = "removed" if device and kind == c.GONE else c.CHANGE[kind]
            mention = replace(mention, change=change, status=GONE if kind == c.GONE else mention.status)
        elif kind == c.DOUBTED and mention.status in (PRESENT, LIKELY, ABSENT):
            mention = replace(mention, status=UNCERTAIN)
    return mention
