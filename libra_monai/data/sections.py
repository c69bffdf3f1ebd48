# SPDX-License-Identifier: Apache-2.0
"""Sections of a free-text radiology report, by the rules of the MIMIC-CXR reports.

A header is a run of capitals with a colon on a line of its own beginning (`FINDINGS:`). The rules and the table
of spellings are those of the MIT-LCP scripts for MIMIC-CXR, which Libra's data were made with
(`scripts/mimic-cxr/section_parser.py`). Their one slip, "ndication" counted as impression, is corrected here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
_PARAGRAPH = "\n \n"
_SPELLINGS = {
    "impression": (
        "impression conclusion impresson imprression imoression impressoin imprssion impresion imperssion mpression "
        "impession"
    ).split()
    + ["findings and impression", "findings/impression", "findings/ impression"],
    "findings": "findings finding findins findindgs findgings findngs findnings finidngs".split()
    + ["chest, two views", "reference findings"],
    "comparison": "comparison comparisons comparision comparsion comparrison comparisions".split()
    + ["reference exam", "comparison exam", "comparison film"],
    "indication": ["indication", "idication", "ndication", "reason for examination", "reason for exam", "clinical indication"],
    "history": ["history", "clinical history", "clinical information", "patient history", "pfi"],
    "examination": ["examination", "exam", "type of examination"],
    "recommendations": ["recommendations", "recommendation", "recommendation(s)"],
    "wet read": ["wet read", "wetread"],
}
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
_UNCHANGED = ("preamble", "technique", "notification", "addendum", "date", "comment")
_NAMES |= {name: name for name in _UNCHANGED}
_SLIP = "ndication"
_WITHIN = ("impression", "findings", "history", "comparison", "indication", "technique", "addendum")  # in this order
_VIEWS = re.compile(
    "chest|portable|pa and lateral|lateral and pa|ap and lateral|lateral and ap|frontal and|two views|frontal view|"
    "pa view|ap view|one view|lateral view|bone window|frontal upright|frontal semi-upright|ribs|pa and lat"
)  # a header that names views opens the findings
_MAIN = ("impression", "findings")


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Args:
        name: normalised, such as `findings`; `preamble` before the first header, `full report` without any,
            `last_paragraph` for the text that serves where there are neither findings nor impression.
        text: as it stands, white space included.
        start: where the text begins in the report.
    """

    name: str
    text: str
    start: int


def parse_sections(report: str, compat: str = "default") -> list[Section]:
    """All sections of a report in order.

    Args:
        report: the whole text.
        compat: `original` keeps the slip of the published table.
    """
    headers = list(_headers(report))
    if not headers:
        found = [Section("full report", report, 0)]
    else:
        found = [Section("preamble", report[: headers[0].start(1)], 0)]
        ends = [header.start() for header in headers[1:]] + [len(report)]
        for header, end in zip(headers, ends, strict=True):
            name = section_name(header.group(1), compat)
            found.append(Section(name, report[header.end() : end], header.end()))
    found = [s for s in found if s.text.strip() or s.name not in _MAIN]
    if not any(s.name in _MAIN for s in found) and found and _PARAGRAPH in found[-1].text:
        last = found.pop()
        before, _, after = last.text.partition(_PARAGRAPH)
        found += [Section(last.name, before, last.start), Section("last_paragraph", after, last.start + len(before))]
    return found


def report_sections(report: str) -> dict[str, str]:
    """The text of each section by name, single-spaced; of sections of one name the last counts, as published.

    Args:
        report: the whole text.
    """
    return {s.name: " ".join(s.text.split()) for s in parse_sections(report)}


def section_name(header: str, compat: str = "default") -> str:
    """The normalised name of a header.

    Args:
        header: as it stands in the report, without colon.
        compat: see `parse_sections`.
    """
    name = header.lower().strip()
    if name == _SLIP and compat == "original":
        return "impression"
    if name in _NAMES:
        return _NAMES[name]
    within = next((main for main in _WITHIN if main in name), None)
    return within or ("findings" if _VIEWS.search(name) else name)


def _headers(report: str):  # noqa: ANN202 - an iterator of matches
    """Headers one after the other; the rest of a header's own line is never one."""
    header = _HEADER.search(report)
    while header:
        yield header
        line_end = report.find("\n", header.end())
        header = _HEADER.search(report, line_end if line_end >= 0 else header.end())
