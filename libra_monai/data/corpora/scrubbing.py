# SPDX-License-Identifier: Apache-2.0
"""Identifiers in a report text: what is known of the study, and what looks like a name, date or number.

What is found becomes `___`, as MIMIC-CXR marks it; full dates are shifted and keep their form. What then still looks
suspicious is counted, never quoted. Patterns are for English reports; they find neither every name nor only names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

MARK = "___"
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = rf"(?:{'|'.join(f'{name[:3]}(?:{name[3:]})?' if len(name) > 3 else name for name in _MONTHS)}|sept)\.?"
_CAPITAL = r"[A-Z][\w'’-]+"  # a word in capitals or with one at its beginning
_NAME = rf"{_CAPITAL}(?:\s+(?:[A-Z]\.\s*)?{_CAPITAL}){{0,2}}"
# after a name; PA is also a view and DO a verb, so these count with dots, or after a comma at an end
_DEGREE = r"(?:M\.?D\b|MBBS\b|Ph\.?D\b|R\.?N\b|N\.P\.|D\.O\.|P\.A\.|PA-C\b|(?<=, )(?:NP|DO|PA)(?=\s*(?:[.,;)\n]|$)))"
_FULL_DATES = (
    (re.compile(r"\b(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})\b"), "{y:04d}{0}{m:02d}{0}{d:02d}"),
    (re.compile(r"\b(?P<m>\d{1,2})([-/.])(?P<d>\d{1,2})\2(?P<y>\d{4}|\d{2})\b"), "{m}{0}{d}{0}{y}"),
    (re.compile(rf"\b(?P<M>{_MONTH})\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(,?)\s+(?P<y>\d{{4}})\b", re.I), "{M} {d}{0} {y:04d}"),
    (re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?( )(?P<M>{_MONTH})\s+(?P<y>\d{{4}})\b", re.I), "{d}{0}{M} {y:04d}"),
)
_SAID = r"(?:on|from|dated|since|of|at|study|studies|radiographs?|exam|examination|CT|film)"
_KEEP = rf"\g<keep>{MARK}"  # what led to the find stays
_TITLE = r"\b(?:Drs?|DRS?|Doctors?|Mr|Mrs|Ms|Miss|Prof(?:essor)?|Nurse)\b\.?\s+"
_SIGNED = r"\b(?:[Ss]igned|[Dd]ictated|[Rr]ead|[Rr]eviewed|[Tt]ranscribed|[Aa]pproved|[Vv]erified)\s+by:?\s+"
_ROLE = r"\b(?:with|to|by|attending|radiologist|resident|physician|patient|name):?\s+"
_NUMBERED = r"\b(?:MRN|accession|acct|account|record|unit|clip|ID|SSN)\b[^\w\n]*(?:number|no\.?|#)?[^\w\n]*"
_CALLED = r"\b(?:pager|beeper|ext(?:ension)?|phone|tel(?:ephone)?)\b[.:# ]*"
_PERSON = r"[A-Z][a-z'’-]+\s+(?:[A-Z]\.\s*)?[A-Z][a-z'’-]+"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_HOUSE = "Hospital|Medical Center|Clinic|Infirmary|Nursing Home|Hospice"
_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("contact", re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+|\bwww\.\S+", re.I), MARK),
    ("contact", re.compile(r"(?<!\w)(?:\+?1[-. ])?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}\b|\b\d{3}-\d{4}\b"), MARK),
    ("contact", re.compile(rf"(?P<keep>{_CALLED})x?\d{{3,}}", re.I), _KEEP),
    ("id", re.compile(rf"(?P<keep>{_NUMBERED})[A-Z]{{0,4}}-?\d[\w-]{{2,}}", re.I), _KEEP),
    ("id", re.compile(r"\b\d{3}-\d{2}-\d{4}\b|\b[A-Z]{0,3}\d{6,}\b"), MARK),
    ("age", re.compile(r"\b(?:9\d|1[01]\d)(?=[- ]*(?:years?|yrs?|y\.?o\.?|yo)\b)", re.I), "over 89"),
    ("date", re.compile(rf"\b{_MONTH}\s+{_DAY}\b|\b\d{{1,2}}\s+{_MONTH}(?=\W)|\b{_MONTH}\s+(?:of\s+)?\d{{4}}\b", re.I), MARK),
    ("date", re.compile(rf"(?P<keep>\b{_SAID}\s+)\d{{1,2}}[-/]\d{{1,2}}\b(?!\s*(?:mm|cm|in\b))", re.I), _KEEP),
    ("date", re.compile(r"\b(?:19|20)\d{2}\b(?!\s*(?:mm|cm|ml|hours?))"), MARK),
    ("name", re.compile(rf"(?P<keep>{_TITLE}){_NAME}(?:\s+and\s+{_NAME})?"), _KEEP),
    ("name", re.compile(rf"\b{_NAME}(?=(?:,\s*|\s+){_DEGREE})"), MARK),
    ("name", re.compile(rf"(?P<keep>{_SIGNED}){_NAME}"), _KEEP),
    ("name", re.compile(rf"(?P<keep>{_ROLE}){_PERSON}"), _KEEP),
    ("place", re.compile(rf"\b(?:{_CAPITAL}\s+){{1,4}}(?:{_HOUSE})\b"), MARK),
)
_SUSPICIOUS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("number", re.compile(r"\b\d{4,}\b")),
    ("date", re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\b\d{1,2}/\d{1,2}\b", re.I)),
    ("name", re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")),
    ("label", re.compile(r"\b(?:MRN|DOB|SSN|accession|date of birth|patient name)\b", re.I)),
)
_NO_NAMES = frozenset(
    "swan ganz dobbhoff hickman foley kerley chiari harrington hampton ghon bochdalek morgagni blalock taussig fontan "
    "kirschner tracheostomy quinton broviac blakemore sengstaken levin salem clinic chest findings impression comparison "
    "indication technique history examination single portable frontal lateral pacemaker medtronic monday tuesday "
    "wednesday thursday friday saturday sunday".split()  # days of the week are counted as dates
)


@dataclass(frozen=True)
class Scrubbed:
    """A text without the identifiers that were found.

    Args:
        text: the text; `___` where something stood.
        replaced: how many by kind: `known`, `date`, `name`, `id`, `contact`, `age`, `place`.
        suspicious: what still looks like one, by kind: `number`, `date`, `name`, `label`. Someone has to look.
    """

    text: str
    replaced: dict[str, int]
    suspicious: dict[str, int]


def scrub(text: str, days: int, known: Iterable[str] = ()) -> Scrubbed:
    """Replace identifiers in a report.

    Args:
        text: the report or a section of it.
        days: by which full dates are shifted.
        known: names and identifiers of the study; single letters are ignored.
    """
    replaced: Counter[str] = Counter()
    shifted: list[str] = []
    for pattern, form in _FULL_DATES:
        text = pattern.sub(_shifting(form, days, shifted, replaced), text)
    for kind, pattern, instead in _PATTERNS:
        text, count = pattern.subn(instead, text)
        replaced[kind] += count
    text = _replace_known(text, known, replaced)
    suspicious = {kind: _count(kind, pattern, text) for kind, pattern in _SUSPICIOUS}
    for number, day in enumerate(shifted):
        text = text.replace(_place(number), day)
    return Scrubbed(text, _filled(replaced), _filled(suspicious))


def _replace_known(text: str, known: Iterable[str], replaced: Counter[str]) -> str:
    words = sorted({word.strip() for word in known if len(word.strip()) > 1}, key=lambda w: (-len(w), w))
    if not words:
        return text
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.I)
    text, count = pattern.subn(MARK, text)
    replaced["known"] += count
    return text


def _shifting(form: str, days: int, shifted: list[str], replaced: Counter[str]) -> Callable[[re.Match[str]], str]:
    """A function that puts a placeholder for the shifted date, so that no later pattern takes it for an original."""

    def shift(match: re.Match[str]) -> str:
        found = match.groupdict()
        between = next(g for g in match.groups() if g is not None and g not in found.values()) if form.count("{0}") else ""
        when = _day(found)
        replaced["date"] += 1
        if when is None:
            return MARK
        when += timedelta(days=days)
        month = _MONTHS[when.month - 1]
        month = month[:3] if found.get("M") and len(found["M"].strip(".")) <= 4 and found["M"].lower() not in _MONTHS else month
        short = len(found["y"]) == 2
        year = f"{when.year % 100:02d}" if short else when.year
        shifted.append(form.format(between, y=year, m=when.month, d=when.day, M=month.capitalize()))
        return _place(len(shifted) - 1)

    return shift


def _day(found: dict[str, str | None]) -> date | None:
    year = int(found["y"] or 0)
    year += 0 if len(found["y"] or "") == 4 else 2000 if year < 70 else 1900
    month = int(found["m"]) if found.get("m") else [m[:3] for m in _MONTHS].index((found["M"] or "")[:3].lower()) + 1
    day = int(found["d"] or 0)
    if month > 12 >= day:  # day first, as written outside America
        month, day = day, month
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _place(number: int) -> str:
    return f"\ue000{chr(0xE100 + number)}\ue001"  # private use characters: no pattern knows them


def _count(kind: str, pattern: re.Pattern[str], text: str) -> int:
    return sum(kind != "name" or match.group().lower() not in _NO_NAMES for match in pattern.finditer(text))


def _filled(counts: dict[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in sorted(counts.items()) if count}
