# SPDX-License-Identifier: Apache-2.0
"""Report drafts to files. Every payload begins with the marks of the draft; no switch removes them."""

from libra_monai.outputs import fhir, pdf, sr  # noqa: F401  register their writers
from libra_monai.outputs.draft import draft_from, drafts_of
from libra_monai.outputs.html import write_html_report
from libra_monai.outputs.needs import check_formats
from libra_monai.outputs.pictures import PagePictures, exportable
from libra_monai.outputs.writers import draft_content, write_draft, write_formats

__all__ = [
    "PagePictures",
    "check_formats",
    "draft_content",
    "draft_from",
    "drafts_of",
    "exportable",
    "write_draft",
    "write_formats",
    "write_html_report",
]
