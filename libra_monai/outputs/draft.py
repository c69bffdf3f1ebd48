# SPDX-License-Identifier: Apache-2.0
"""From what a model wrote to a draft with everything that must stand beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from libra_monai.data.processor import StudyProcessor
from libra_monai.inferers import sentence_evidence
from libra_monai.inferers.calibration import calibration_of
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import DraftSources, Generation, PictureNotes, Record, ReportDraft, SentenceEvidence, StudyBatch

UNREVIEWED = "AUTOMATICALLY GENERATED DRAFT, NOT REVIEWED BY A RADIOLOGIST"
READ = ("current", "prior")  # no connector looks at a lateral picture yet
_ASKED = ("indication", "history", "technique", "comparison", "question", "prior_findings", "prior_impression")
SYNTHETIC = (
    "trained on synthetic phantom pictures only: on a real patient its words mean nothing; "
    "synthetic, not for clinical use"
)


def marks_for(card: Mapping[str, Any]) -> list[str]:
    """The first line of every payload, for a model.

    Args:
        card: `name` and `training_data` of the model (`synthetic` for the phantom weights).
    """
    if card.get("training_data") == "synthetic":
        return [f"{UNREVIEWED} - {SYNTHETIC}."]
    return [f"{UNREVIEWED}."]


def draft_from(row: Mapping[str, Any]) -> ReportDraft:
    """The draft that a line of `predictions.jsonl` tells of, without its sources: enough to be shown.

    Args:
        row: of the file.
    """
    evidence = row.get("evidence")
    return ReportDraft(
        study_id=row["study_id"],
        findings=row.get("findings"),
        impression=row.get("impression"),
        prior_used=bool(row.get("prior_used")),
        model=str(row.get("model")),
        marks=list(row.get("marks") or [f"{UNREVIEWED}."]),
        warnings=list(row.get("warnings") or ()),
        patient_id=row.get("patient_id"),
        prior_study_id=row.get("prior_study_id"),
        reference=row.get("reference"),
        export_allowed=row.get("export_allowed", True),
        evidence=None if evidence is None else [SentenceEvidence(**sentence) for sentence in evidence],
        evidence_note=row.get("evidence_note"),
    )


def drafts_of(
    batch: StudyBatch,
    generations: Sequence[Generation],
    processor: StudyProcessor,
    card: Mapping[str, Any],
    weigh_by: ReportModel | None = None,
) -> list[ReportDraft]:
    """Drafts of a batch.

    Args:
        batch: the B studies.
        generations: what the model wrote, B of them.
        processor: decodes ids and knows which section was asked for.
        card: `name`, `version` and `training_data` of the model.
        weigh_by: the model, to say how sure it was of each sentence, in up to three forward passes more; None leaves that out.
    """
    target = processor.prompt.target
    drafts = [
        _draft(generation, processor.decode(generation), record, notes, target, card, prior >= 0, current >= 0)
        for generation, record, notes, prior, current in zip(
            generations, batch.records, batch.notes, *(batch.index[view].tolist() for view in ("prior", "current")), strict=True
        )
    ]
    if weigh_by is not None:
        found = sentence_evidence(weigh_by, processor, batch, generations, card)
        for draft, sentences in zip(drafts, found, strict=True):
            draft.evidence, draft.evidence_note = sentences, calibration_of(card).note(card)
    return drafts


def _draft(
    generation: Generation,
    text: str,
    record: Record,
    notes: PictureNotes,
    target: str,
    card: Mapping[str, Any],
    prior_used: bool,
    looked: bool,
) -> ReportDraft:
    warnings = list(notes.warnings)
    if not generation.finished:
        warnings.append("the draft was cut off at the length limit")
    if not text:
        warnings.append("the model wrote nothing")
    return ReportDraft(
        study_id=record["study_id"],
        findings=text if target == "findings" else None,
        impression=text if target == "impression" else None,
        prior_used=prior_used,
        model=f"{card.get('name', 'unnamed')} {card.get('version', '')}".strip(),
        marks=marks_for(card),
        warnings=warnings,
        patient_id=record.get("patient_id"),
        prior_study_id=record.get("prior_study_id") if prior_used else None,
        reference=record.get(target),
        input_uids=list(notes.uids),
        export_allowed=notes.export_allowed,
        sources=sources_of(record, notes.files, notes.reading, looked),
    )


def sources_of(
    record: Record, files: Mapping[str, str], reading: Mapping[str, Any] | None = None, looked: bool = True
) -> DraftSources:
    """Where the draft of a record comes from.

    Args:
        record: see libra_monai/data/schema.py.
        files: view -> absolute path of every picture handed over.
        reading: arguments of `LoadRadiograph` they were read with.
        looked: the model was shown the current picture.
    """
    unread = [view for view in files if view not in READ or (view == "current" and not looked)]
    unread += list(record.get("unread_views") or ())
    asked = json.dumps([record.get(name) for name in _ASKED])
    return DraftSources(
        files=dict(files),
        unread=tuple(unread),
        view=record.get("view"),
        gap_hours=record.get("gap_hours"),
        request=hashlib.sha256(asked.encode()).hexdigest()[:16],
        reading=reading,
    )
