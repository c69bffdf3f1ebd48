# SPDX-License-Identifier: Apache-2.0
"""The few dataclasses that travel between rooms, and the letters of all shapes.

Letters: B studies, U distinct pictures of the batch, L encoder layers, N patch tokens, D encoder
width, T visual tokens, H language-model width, S prompt length, R report length, C channels,
h x w pixels. Intensities are uint8 until the last transform. `gap_hours` is the time between a
study and its prior in hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol

import torch
from torch import Tensor

VIEWS = ("current", "prior", "lateral")
IMAGE_SLOT = "image"
SLOT_IDS = {IMAGE_SLOT: -200, "retrieved": -201}  # placeholder ids in `input_ids`; -200 as in LLaVA and Libra
FAILURE = "failure"  # key of an item that could not be read
WEIGHTS = "weights"  # key of a record in training: section -> (start, end, weight) of spans whose loss counts otherwise
IGNORE = -100  # marks positions of `target_ids` that are not learned; the index torch's cross entropy skips

Record = Mapping[str, Any]  # one item of the datalist, see libra_monai/data/schema.py


@dataclass
class StudyBatch:
    """B studies ready for a model; every distinct picture stands in `images` once.

    Args:
        images: [U,C,h,w] normalised pixels; [0,C,h,w] if no study of the batch has a picture.
        index: view -> LongTensor[B], the row of `images`, or -1 where the study lacks the view.
        input_ids: LongTensor[B,S] prompt ids, left-padded, with slot ids (`SLOT_IDS`) where features go.
        attention_mask: BoolTensor[B,S], False on padding.
        target_ids: LongTensor[B,R] report ids, right-padded with `IGNORE`; None when only drafting.
        study_ids: B identifiers.
        records: the B datalist items, for texts and labels that losses and metrics need.
        notes: what is to be said of each study's pictures.
        failures: studies that were meant to be here and could not be read.
        weights: FloatTensor[B,R], how much the loss of each report id counts, 0 if it is read but not learned; None is 1.
    """

    images: Tensor
    index: dict[str, Tensor]
    input_ids: Tensor
    attention_mask: Tensor
    target_ids: Tensor | None
    study_ids: list[str]
    records: list[Record] = field(default_factory=list)
    notes: list[PictureNotes] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.study_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> StudyBatch:
        """The same batch with all tensors on a device."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device, non_blocking=non_blocking)

        return replace(
            self,
            images=move(self.images),
            index={view: move(rows) for view, rows in self.index.items()},
            input_ids=move(self.input_ids),
            attention_mask=move(self.attention_mask),
            target_ids=move(self.target_ids),
            weights=move(self.weights),
        )

    def split(self, size: int) -> list[StudyBatch]:
        """Smaller batches of at most `size` studies, each with its own pictures; failures stay with the first.

        Args:
            size: studies of a part.
        """
        if len(self) <= size:
            return [self]
        starts = range(0, len(self), size)
        return [self._part(slice(start, start + size), first=start == 0) for start in starts]

    def emptied(self) -> StudyBatch:
        """The batch without its studies."""
        return self._part(slice(0, 0), first=False)

    def _part(self, rows: slice, first: bool) -> StudyBatch:
        index = {view: places[rows] for view, places in self.index.items()}
        used = torch.cat(list(index.values())).unique()
        used = used[used >= 0]
        place = torch.full((len(self.images) + 1,), -1, dtype=torch.long, device=used.device)
        place[used] = torch.arange(len(used), device=used.device)  # index -1 reads the last place, which stays -1
        return replace(
            self,
            images=self.images[used],
            index={view: place[places] for view, places in index.items()},
            input_ids=self.input_ids[rows],
            attention_mask=self.attention_mask[rows],
            target_ids=None if self.target_ids is None else self.target_ids[rows],
            weights=None if self.weights is None else self.weights[rows],
            study_ids=self.study_ids[rows],
            records=self.records[rows],
            notes=self.notes[rows],
            failures=self.failures if first else [],
        )


@dataclass
class PictureNotes:
    """What is to be said of the pictures of one study.

    Args:
        uids: SOP instance UIDs of the pictures used, where they have one.
        warnings: what the reader of the draft should know of them.
        export_allowed: False if one of them has writing in its pixels that the gate's policy does not accept.
        files: view -> absolute path.
        reading: arguments of `LoadRadiograph` they were read with.
    """

    uids: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    export_allowed: bool = True
    files: dict[str, str] = field(default_factory=dict)
    reading: Mapping[str, Any] | None = None


@dataclass
class EncoderOutput:
    """What an encoder says of U pictures.

    Args:
        layers: [U,L,N,D] patch features of L layers, first to last.
        pooled: [U,D] one vector a picture, or None.
        grid: (rows, columns) of the N tokens, or None if they are no grid.
        cls_index: position of a class token among the N, or None.
    """

    layers: Tensor
    pooled: Tensor | None = None
    grid: tuple[int, int] | None = None
    cls_index: int | None = None


@dataclass
class LanguageOutput:
    """Loss of a batch as a sum, so that batches and devices of unequal length average rightly.

    Args:
        loss_sum: scalar, negative log likelihood summed over learned tokens (or terms).
        num_tokens: scalar LongTensor, how many were learned.
        logits: [B,R,V] on request, else None.
    """

    loss_sum: Tensor
    num_tokens: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class Decoding:
    """How text is generated; names and meanings as in Hugging Face's `GenerationConfig`.

    Args:
        max_new_tokens: upper bound of the report length in tokens.
        num_beams: beams of beam search; 1 is greedy or sampling.
        do_sample: draw tokens instead of taking the likeliest.
        temperature, top_p, top_k: sampling options, used with `do_sample` only (top_k 0: off).
        length_penalty: exponent on the length in the beam score.
        no_repeat_ngram_size: n-grams that may not occur twice; 0 is off.
        repetition_penalty: factor on tokens already said; 1 is off.
        seed: seed of sampling; drafts of one seed are equal on one device, whatever studies stand beside them.
        num_return_sequences: answers a study; at most `num_beams` in beam search, only one in greedy search.
        min_new_tokens: tokens before which no answer ends.
        stop: texts at which an answer ends; they are not part of it.
        guard: keep comparisons with earlier studies from answers without a prior, see `inferers.guard`.
        static_cache: a cache of fixed size, for greedy search and sampling; what `compile` needs.
        compile: run the step through `torch.compile`; for GPUs, and not tried on one by the tests.
    """

    max_new_tokens: int = 160
    num_beams: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    num_return_sequences: int = 1
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    guard: bool = False
    static_cache: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))  # JSON has lists


@dataclass
class Generation:
    """What a language model wrote for one study.

    Args:
        token_ids: generated ids without prompt, padding and end token; empty if `text` is given.
        finished: False if the length limit cut it off.
        text: for parts that write text themselves (classifiers); None if `token_ids` is to be decoded.
        score: sum of the tokens' log-probabilities over the length to the power of `length_penalty`; None for
            parts that write text themselves.
        others: the further answers, with `num_return_sequences`; best first in beam search.
    """

    token_ids: list[int]
    finished: bool = True
    text: str | None = None
    score: float | None = None
    others: list[Generation] = field(default_factory=list)


class Steering(Protocol):
    """What looks at the text while it is written; the language model itself knows only ids."""

    def weigh(self, ids: Tensor, scores: Tensor, studies: Sequence[int]) -> Tensor:
        """Scores [N,V] of the next token without those that may not follow ids [N,t] of the rows' studies."""
        ...

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether an answer ends here although no end token was said."""
        ...


@dataclass
class Failure:
    """One line of `failed.jsonl`: what could not be used, why, and what to do.

    Args:
        study_id: identifier, or None if the file was not known to belong to a study.
        file: the file at fault as it was opened, or the place in the datalist.
        stage: `record`, `pixels`, `draft` or `output`.
        reason: what is wrong.
        remedy: what the user can do.
    """

    study_id: str | None
    file: str
    stage: str
    reason: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """The dictionary written to `failed.jsonl`."""
        return asdict(self)


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


def decoding_from(options: Mapping[str, Any] | Decoding | None) -> Decoding:
    """A `Decoding` from a dictionary of JSON, refusing unknown names.

    Args:
        options: a `Decoding`, a dictionary of its fields, or None for the defaults.

    Raises:
        TypeError: an option does not exist.
    """
    if isinstance(options, Decoding):
        return options
    options = dict(options or {})
    known = {f.name for f in fields(Decoding)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"unknown decoding option {unknown[0]}; known: {', '.join(sorted(known))}")
    return Decoding(**options)
