# SPDX-License-Identifier: Apache-2.0
"""What leaves: a drafted report, how sure the model was, and the files it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SentenceEvidence:
    """How sure the model was of one sentence of a draft; made by `inferers.evidence`. A probability is not truth.

    Args:
        text: the sentence.
        section: `findings` or `impression`.
        start, end: its letters in the section.
        tokens: how many tokens it has.
        mean_log_prob, min_log_prob: natural logarithm of the probability of its tokens, the mean and the lowest.
        prior_contrast: mean log-probability minus that without the prior picture; None if none went in.
        image_contrast: mean log-probability minus that with blank pictures; None if no picture went in.
        score: in 0..1, the three numbers in one, see `inferers.calibration`.
    """

    text: str
    section: str
    start: int
    end: int
    tokens: int
    mean_log_prob: float
    min_log_prob: float
    prior_contrast: float | None
    image_contrast: float | None
    score: float

    def as_json(self) -> dict[str, Any]:
        """The dictionary in `predictions.jsonl`, with four decimals."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class DraftSources:
    """Where a draft comes from: what writers open again, so that no patient's name travels in a batch.

    Args:
        files: view -> absolute path of every picture handed over.
        unread: views of the study's pictures that the model did not look at.
        view: of the current picture, where the record tells.
        gap_hours: from prior to current, where the record tells.
        request: digest of the request's texts, which went into the model too.
        reading: arguments of `LoadRadiograph` the pictures were read with.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    view: str | None = None
    gap_hours: float | None = None
    request: str = ""
    reading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PictureHeader:
    """What the DICOM header of a picture says of patient, study and picture; absent is None or empty, never a guess.

    Args:
        path: the file.
        sop_class_uid, sop_uid, series_uid, study_uid: of the object.
        modality: such as CR or DX.
        view: see `libra_monai.data.studies.StudyImage`.
        time: of acquisition; `timed` is False if only the day is known.
        patient_id, issuer, patient_name, birth_date, sex: of the patient; the date as YYYYMMDD, the sex as M, F or O.
        accession, study_id, study_date, study_time, referring: of the study, as DICOM writes them.
        timezone: offset from UTC as `+0100`.
    """

    path: str
    sop_class_uid: str
    sop_uid: str
    series_uid: str
    study_uid: str
    modality: str = ""
    view: str | None = None
    time: datetime | None = None
    timed: bool = False
    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    referring: str = ""
    timezone: str = ""


@dataclass(frozen=True)
class DocumentReference:
    """A DICOM report in an archive.

    Args:
        sop_class_uid, sop_uid, series_uid, study_uid: of the object.
    """

    sop_class_uid: str
    sop_uid: str
    series_uid: str
    study_uid: str


@dataclass
class ReportDraft:
    """A drafted report with all that must stand beside it.

    Args:
        study_id: identifier of the study.
        findings, impression: drafted sections; None where the model wrote none.
        prior_used: whether a prior picture went into the model.
        model: name and version of the weights.
        marks: sentences that must head every payload; no switch removes them.
        warnings: what the reader should know of the input.
        patient_id, prior_study_id: from the record, None if unknown.
        reference: the radiologist's text where the record has one.
        input_uids: SOP instance UIDs of the pictures used, where known.
        export_allowed: False forbids every writer to put pictures of the study into what it writes, see `PictureNotes`.
        evidence: of every sentence, in order; None if it was not asked for.
        evidence_note: what the scores of the evidence rest on.
        sources: the files it was written from.
        supersedes: earlier drafts in the archive that this one takes the place of; objects then are named by its text too. None:
            nobody looked, and an object is named by what the draft was made of, so that the same one is never there twice.
    """

    study_id: str
    findings: str | None
    impression: str | None
    prior_used: bool
    model: str
    marks: list[str]
    warnings: list[str] = field(default_factory=list)
    patient_id: str | None = None
    prior_study_id: str | None = None
    reference: str | None = None
    input_uids: list[str] = field(default_factory=list)
    export_allowed: bool = True
    evidence: list[SentenceEvidence] | None = None
    evidence_note: str | None = None
    sources: DraftSources = field(default_factory=DraftSources)
    supersedes: tuple[DocumentReference, ...] | None = None

    @property
    def text(self) -> str:
        """The sections without the marks, as scored by metrics."""
        return "\n".join(part for part in (self.findings, self.impression) if part)

    def as_json(self) -> dict[str, Any]:
        """The dictionary written to `predictions.jsonl`; `evidence` and its note only where it was asked for."""
        content = {
            "study_id": self.study_id,
            "patient_id": self.patient_id,
            "marks": self.marks,
            "prediction": self.text,
            "findings": self.findings,
            "impression": self.impression,
            "reference": self.reference,
            "prior_study_id": self.prior_study_id,
            "prior_used": self.prior_used,
            "warnings": self.warnings,
            "model": self.model,
        }
        if self.evidence is not None:
            content |= {"evidence": [sentence.as_json() for sentence in self.evidence], "evidence_note": self.evidence_note}
        return content
