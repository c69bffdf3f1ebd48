# SPDX-License-Identifier: Apache-2.0
"""Which findings a report says are there, and on which side.

Each sentence is searched for names of findings; around each name the reader looks for words of
absence (before and after), of having gone (resolved, removed), and of side. It is a rule set in the
tradition of the CheXpert labeler (Irvin et al., 2019), extended by side and by devices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PRESENT, ABSENT, GONE = "present", "absent", "gone"


@dataclass(frozen=True)
class Mention:
    """One finding named in a report.

    Args:
        finding: CheXpert-14 name or device.
        side: left, right, bilateral or None.
        status: `present`, `absent` (denied) or `gone` (resolved or removed since the prior).
    """

    finding: str
    side: str | None
    status: str


_NAMES: dict[str, str] = {
    "Endotracheal Tube": r"endotracheal tubes?|\bet tube|\bett\b",
    "Gastric Tube": r"(?:naso|oro)?-?gastric tubes?|enteric tubes?|\bng tube|\bog tube|\bngt\b|\bogt\b"
    r"|feeding tubes?|dobb?hoff(?: tube)?",
    "Central Line": r"central (?:venous )?(?:lines?|catheters?)|\bpicc\b(?: line)?|\bcvc\b|port-?a-?cath|mediport"
    r"|(?:internal jugular|subclavian|\bij) (?:central )?(?:venous )?(?:lines?|catheters?)",
    "Chest Drain": r"chest (?:tubes?|drains?)|thoracostomy tubes?|pleural (?:drains?|catheters?)|pigtail catheters?",
    "Pacemaker": r"pacemakers?|\bpacer\b|\baicd\b|\bicd\b|pacing (?:device|leads)",
    "Pleural Effusion": r"(?<!pericardial )effusions?|pleural fluid|hydrothorax",
    "Pneumothorax": r"pneumothora(?:x|ces)|hydropneumothora(?:x|ces)",
    "Consolidation": r"consolidations?",
    "Edema": r"edema",
    "Atelectasis": r"atelecta(?:sis|ses|tic)",
    "Lung Lesion": r"nodules?|\bmass(?:es)?\b|lung lesions?",
    "Lung Opacity": r"opacit(?:y|ies)|opacification|infiltrates?",
    "Pneumonia": r"pneumonia",
    "Fracture": r"fractures?",
    "Cardiomegaly": r"cardiomegaly|(?:enlarged|enlargement of the) (?:heart|cardiac silhouette|cardiac size)"
    r"|(?:heart|cardiac silhouette|heart size|cardiac size)(?= (?:\w+ ){0,8}?enlarged)",
}
_NAME = re.compile("|".join(f"(?P<n{i}>{pattern})" for i, pattern in enumerate(_NAMES.values())))
_FINDINGS = list(_NAMES)
MIDLINE = {"Endotracheal Tube", "Gastric Tube", "Cardiomegaly"}  # have no side

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_CLAUSE = re.compile(r",? (?:but|however|although|whereas|while) |;")
# "no change in the effusion" does not deny the effusion
_NO_CHANGE = re.compile(
    r"\b(?:no|without) (?:\w+ ){0,2}?(?:change|increase|decrease|progression)s?\b"
    r"|\bnot (?:\w+ )?(?:changed|increased|decreased)\b"
)
_DENIED_BEFORE = re.compile(r"\b(?:no|without|free of|negative for|absence of|absent|neither|nor|rather than)\b")
_DENIED_AFTER = re.compile(
    r"^(?:\W|\w+\W){0,3}?(?:(?:is|are|was|were) (?:not|absent)|not (?:seen|present|identified|enlarged)|excluded)"
)
_GONE_BEFORE = re.compile(r"\b(?:resolution|removal|clearance|clearing) of\b|\b(?:resolved|removed)\b")
_GONE_AFTER = re.compile(
    r"\b(?:resolved|removed|cleared|withdrawn|no longer (?:\w+ )?(?:seen|present|visible|visuali[sz]ed|identified"
    r"|evident|apparent|in place))\b"
)
_PARTLY = re.compile(r"\b(?:partial(?:ly)?|incomplete(?:ly)?|nearly|almost|not (?:yet )?(?:completely )?) *$")
_SIDE = re.compile(r"\b(?:right|left|bilateral(?:ly)?|both|bibasilar|bibasal)\b")
_PAIR = re.compile(r"\bright (?:\w+ )?(?:and|greater than|more than) (?:the )?left\b|\bleft (?:\w+ )?(?:and|greater than|more than) (?:the )?right\b")


def read_findings(text: str | None) -> list[Mention]:
    """All findings a report names.

    Args:
        text: a report or a section of one; None and empty give nothing.
    """
    mentions: list[Mention] = []
    for sentence in _SENTENCE.split((text or "").lower()):
        for clause in _CLAUSE.split(sentence):
            mentions += _read_clause(_NO_CHANGE.sub(" unchanged ", clause))
    return mentions


def present_findings(text: str | None) -> set[tuple[str, str | None]]:
    """Pairs of finding and side that a report says are there; left and right together are bilateral.

    Args:
        text: a report or a section of one.
    """
    sides: dict[str, set[str | None]] = {}
    for mention in read_findings(text):
        if mention.status == PRESENT:
            sides.setdefault(mention.finding, set()).add(mention.side)
    pairs: set[tuple[str, str | None]] = set()
    for finding, found in sides.items():
        if {"right", "left"} <= found or "bilateral" in found:
            found = (found - {"right", "left"}) | {"bilateral"}
        if len(found) > 1:
            found = found - {None}  # a second mention without side adds nothing
        pairs |= {(finding, side) for side in found}
    return pairs


def _read_clause(clause: str) -> list[Mention]:
    hits = [(m.start(), m.end(), _FINDINGS[int(str(m.lastgroup)[1:])]) for m in _NAME.finditer(clause)]
    mentions, unread = [], 0  # words before `unread` belong to the mention before
    for number, (start, end, finding) in enumerate(hits):
        until = hits[number + 1][0] if number + 1 < len(hits) else len(clause)
        side, used = _side(clause[unread:start], clause[end:until])
        unread = end + used
        if finding in MIDLINE:
            side = None
        elif finding == "Edema" and side is None:
            side = "bilateral"  # pulmonary edema unless a side is named
        mentions.append(Mention(finding, side, _status(clause[:start], clause[end:])))
    return mentions


def _status(before: str, after: str) -> str:
    gone = _GONE_AFTER.search(after)
    if gone:
        return PRESENT if _PARTLY.search(after[: gone.start()]) else GONE
    gone = _GONE_BEFORE.search(before)
    if gone and not _DENIED_BEFORE.search(before[gone.end() :]):
        return PRESENT if _PARTLY.search(before[: gone.start()]) else GONE
    if _DENIED_BEFORE.search(before) or _DENIED_AFTER.search(after):
        return ABSENT
    return PRESENT


def _side(before: str, after: str) -> tuple[str | None, int]:
    """The side a mention has, and how many letters behind the mention were read for it."""
    pair, last = None, None
    for pair in _PAIR.finditer(before):
        pass
    for last in _SIDE.finditer(before):
        pass
    if pair is not None:
        return "bilateral", 0
    if last is not None:
        return _side_word(last.group()), 0
    found = _PAIR.search(after) or _SIDE.search(after)
    if found is None:
        return None, 0
    return ("bilateral" if found.re is _PAIR else _side_word(found.group())), found.end()


def _side_word(word: str) -> str:
    return word if word in ("right", "left") else "bilateral"
