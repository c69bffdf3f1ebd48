# SPDX-License-Identifier: Apache-2.0
"""Drafts as PDF, and as DICOM Encapsulated PDF where the pictures are DICOM: text only, the marks on top of every page.

The fonts are embedded, as archives want it; they are the Bitstream Vera that reportlab brings, with Latin letters. What they
cannot show is refused, since a report with holes must not look whole.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence

from libra_monai.errors import StudyError
from libra_monai.files import replacing
from libra_monai.outputs.dicom_files import as_they_are, begin, save
from libra_monai.outputs.headers import headers_of, require_headers
from libra_monai.outputs.identity import draft_key, uid_of
from libra_monai.outputs.names import file_name
from libra_monai.outputs.needs import needs
from libra_monai.outputs.sr import SERIES
from libra_monai.outputs.sr_content import TITLE, coded, reference
from libra_monai.outputs.statements import sections_of
from libra_monai.registry import register
from libra_monai.types import PictureHeader, ReportDraft

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER = 9103
_FONT, _BOLD = "Vera", "VeraBd"
_MARGIN = 54.0  # points, three quarters of an inch


@register("writer", "pdf")
@needs("reportlab", "pdf")
def write_pdf(draft: ReportDraft, folder: Path) -> Path:
    """PDF, `<study_id>.pdf`; of DICOM pictures also `<study_id>.pdf.dcm`, whose path is returned."""
    headers = headers_of(draft)
    content = pdf_of(draft, headers)
    path = Path(folder) / f"{file_name(draft.study_id)}.pdf"
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    if "current" not in headers:
        return path
    return save(encapsulated(draft, content), draft, folder, "pdf.dcm")


def pdf_of(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> bytes:
    """The draft as a PDF file; the same draft gives the same bytes.

    Args:
        draft: the draft.
        headers: view -> header, for patient and study; without that of the current picture they are not named.

    Raises:
        StudyError: a text holds characters the fonts lack.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    styles, lines = _styles(), _lines(draft, headers)
    _check_letters(draft, [text for _, text in lines])
    banner = Paragraph(_escaped(" ".join(draft.marks)), styles["banner"])
    _, height = banner.wrap(A4[0] - 2 * _MARGIN, A4[1])

    def on_page(canvas: Any, document: Any) -> None:
        _draw_frame(canvas, banner, height, f"{draft.model}, page {document.page}")

    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer, pagesize=A4, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN + height, bottomMargin=_MARGIN,
        title=f"Draft of {draft.study_id}", author=draft.model, subject=" ".join(draft.marks), invariant=1,
    )  # fmt: skip
    story = [part for style, text in lines for part in (Paragraph(_escaped(text), styles[style]), Spacer(1, 3))]
    document.build(story, onFirstPage=on_page, onLaterPages=on_page)
    return buffer.getvalue()


def encapsulated(draft: ReportDraft, content: bytes) -> Dataset:
    """A PDF file as an object of the current study.

    Args:
        draft: of a study whose pictures are DICOM files.
        content: the PDF file.

    Raises:
        StudyError: a picture has no DICOM header.
    """
    headers = require_headers(draft, "DICOM Encapsulated PDF")
    current, now = headers["current"], datetime.now()
    uid, series = uid_of("pdf", *draft_key(draft, headers)), uid_of("series", "pdf", current.study_uid, draft.model)
    with as_they_are():
        dataset = begin(current, ENCAPSULATED_PDF, uid, series, SERIES_NUMBER, now)
    dataset.Modality, dataset.ConversionType, dataset.SeriesDescription = "DOC", "WSD", SERIES
    dataset.ContentDate, dataset.ContentTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.AcquisitionDateTime = f"{current.time:%Y%m%d%H%M%S}" if current.time and current.timed else ""
    dataset.BurnedInAnnotation, dataset.VerificationFlag = "YES", "UNVERIFIED"
    dataset.DocumentTitle = " ".join(draft.marks)[:1024]  # ST
    dataset.ConceptNameCodeSequence = Sequence([coded(TITLE)])
    dataset.SourceInstanceSequence = Sequence([reference(header) for header in headers.values()])
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    dataset.EncapsulatedDocumentLength = len(content)
    return dataset


def _lines(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> list[tuple[str, str]]:
    """(style, text) of everything below the banner."""
    lines = [("title", "Chest radiograph: draft report")]
    current = headers.get("current")
    if current is not None:
        name = current.patient_name.partition("=")[0].replace("^", " ").strip()
        named = name if _shown(name) else "(in letters that are not shown here)"
        about = {"Patient": named, "ID": current.patient_id, "born": _dashed(current.birth_date), "sex": current.sex}
        lines.append(("plain", ", ".join(f"{what} {value}" for what, value in about.items() if value)))
        lines += [("plain", f"Accession number {current.accession}")] if current.accession else []
    lines += [("plain", f"Study {draft.study_id}"), ("plain", f"Model {draft.model}")]
    for section, text in sections_of(draft, headers).items():
        lines += [("heading", section.upper()), *(("plain", line) for line in text.splitlines())]
    return lines + [("plain", f"Note: {note}") for note in draft.warnings]


def _dashed(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if day else ""


def _draw_frame(canvas: Any, banner: Any, height: float, footer: str) -> None:
    width, top = canvas._pagesize
    canvas.saveState()
    canvas.setFillColorRGB(0.55, 0.11, 0.09)  # as on the HTML pages
    canvas.rect(0, top - height - 24, width, height + 24, stroke=0, fill=1)
    banner.drawOn(canvas, _MARGIN, top - height - 12)
    canvas.setFillColorRGB(0.36, 0.42, 0.48)
    canvas.setFont(_FONT, 8)
    canvas.drawString(_MARGIN, 30, footer)
    canvas.restoreState()


@cache
def _styles() -> dict[str, Any]:
    from reportlab.lib.colors import white
    from reportlab.lib.styles import ParagraphStyle

    _faces()
    plain = ParagraphStyle("plain", fontName=_FONT, fontSize=10, leading=14)
    return {
        "plain": plain,
        "title": ParagraphStyle("title", plain, fontName=_BOLD, fontSize=14, leading=20),
        "heading": ParagraphStyle("heading", plain, fontName=_BOLD, fontSize=10, spaceBefore=8),
        "banner": ParagraphStyle("banner", plain, fontName=_BOLD, fontSize=9, leading=12, textColor=white),
    }


@cache
def _faces() -> frozenset[int]:
    """Register the fonts, and give the characters they have."""
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    fonts = [TTFont(name, f"{name}.ttf") for name in (_FONT, _BOLD)]
    for font in fonts:
        registerFont(font)
    return frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))


def _shown(text: str) -> bool:
    return all(ord(letter) in _faces() for letter in text)


def _check_letters(draft: ReportDraft, texts: list[str]) -> None:
    missing = next((letter for text in texts for letter in text if not _shown(letter)), None)
    if missing is not None:
        reason = f"PDF of study '{draft.study_id}' cannot be written: its fonts lack the character U+{ord(missing):04X}"
        raise StudyError(draft.sources.files.get("current", draft.study_id), "output", reason, "Write HTML or DICOM SR instead.")


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
