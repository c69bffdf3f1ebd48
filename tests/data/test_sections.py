# SPDX-License-Identifier: Apache-2.0
"""Sections of a report, by the published rules and without their slip; equality with them is in tests/parity."""

from __future__ import annotations

import pytest

from libra_monai.data.sections import parse_sections, report_sections, section_name

REPORT = "FINAL REPORT\n INDICATION:  Cough.\n \n FINDINGS:\n \n Clear\n lungs.\n \n IMPRESSION:  First.\n \n IMPRESSION:  Second.\n"


def test_sections_by_name_are_single_spaced_and_the_last_counts():
    sections = report_sections(REPORT)
    assert sections["findings"] == "Clear lungs." and sections["impression"] == "Second."
    assert sections["indication"] == "Cough."


def test_texts_stand_where_their_beginning_says():
    for section in parse_sections(REPORT):
        assert REPORT[section.start :].startswith(section.text)


def test_the_published_slip_is_corrected_unless_asked_for():
    assert section_name("NDICATION") == "indication"
    assert section_name("NDICATION", compat="original") == "impression"


@pytest.mark.parametrize("text", ["", "\n", "plain text", "\n FINDINGS:", "\n FINDINGS: "])
def test_any_text_gives_sections(text):
    assert all(section.name for section in parse_sections(text))
