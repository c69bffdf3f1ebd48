# SPDX-License-Identifier: Apache-2.0
"""Cleaners of corpora take out what they name and leave the rest of a report."""

from __future__ import annotations

import pytest

from libra_monai.data.sections import report_sections
from libra_monai.registry import find

RULE = "_" * 78
BODY = "                                 FINAL REPORT\n FINDINGS:  Clear lungs.\n \n IMPRESSION:  Normal.\n"
CASES = [
    ("no_underscores", "Compared to ___, the catheter (___) is ___ mm higher.", "Compared to, the catheter is mm higher."),
    ("no_numbering", "1. No edema.  2. Effusion of 2.5 cm. 3) Stable.", "No edema.  Effusion of 2.5 cm. Stable."),
    ("no_numbering", "Nodule in T10. Width 2. Depth 3.", "Nodule in T10. Width 2. Depth 3."),
    ("no_wet_reads", "Clear. WET READ VERSION #1 ___ 10:03 No change.", "Clear."),
    ("no_wet_reads", f" WET READ: ___ 10:03\n  Clear.\n{RULE}\n{BODY}", f"{RULE}\n{BODY}"),
    ("no_addenda", "Clear. ADDENDUM: seen again.", "Clear."),
    ("no_addenda", f"      FINAL ADDENDUM\n  ADDENDUM  Seen again.\n {RULE}\n{BODY}", f"\n{BODY}"),
    ("no_addenda", BODY, BODY),
    (
        "no_people",
        "Lungs are clear. Findings were discussed with Dr. ___ by telephone at 10 a.m. on ___. Heart is normal. "
        "These were communicated to ___ at 3:30.",
        "Lungs are clear. Heart is normal.",
    ),
    ("no_people", "Effusion, as reported before. No edema vs. infection.", "Effusion, as reported before. No edema vs. infection."),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_a_cleaner_takes_out_what_it_names(name, text, expected):
    assert find("cleaner", name)(text) == expected


@pytest.mark.parametrize("name", ["no_addenda", "no_wet_reads", "no_numbering", "no_people", "no_underscores"])
def test_cleaning_twice_is_cleaning_once_and_the_sections_stay(name):
    clean = find("cleaner", name)
    for _, text, _ in CASES:
        assert clean(clean(text)) == clean(text)
    if name != "no_people":  # sentences only: it takes sections, not whole reports
        assert report_sections(clean(BODY))["impression"] == "Normal."


@pytest.mark.parametrize("text", [" " * 20_000 + "x", "\n" * 20_000, "_" * 20_000, "1. " * 5_000, "ADDENDUM " * 2_000 + "\nx"])
def test_long_runs_cost_no_quadratic_time(text):
    for name in ("no_addenda", "no_wet_reads", "no_numbering", "no_people", "no_underscores"):
        assert len(find("cleaner", name)(text)) <= len(text)  # quadratic work here would run into the limit of CI
