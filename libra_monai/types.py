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
from typing import Any, Protocol

import torch
from torch import Tensor

VIEWS = ("current", "prior", "lateral")
IMAGE_SLOT = "image"
SLOT_IDS = {IMAGE_SLOT: -200, "retrieved": -201}  # placeholder ids in `input_ids`; -200 as in LLaVA and Libra
FAILURE = "failure"  # key of an item that could not be read
UNLEARNED = "unlearned"  # key of a record in training: section -> spans of its text that are read but not learned
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
        learned: BoolTensor[B,R], False on report ids that are read but not learned; None if all are learned.
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
    learned: Tensor | None = None

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
            learned=move(self.learned),
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
            learned=None if self.learned is None else self.learned[rows],
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
    """

    uids: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    export_allowed: bool = True


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

    @property
    def text(self) -> str:
        """The sections without the marks, as scored by metrics."""
        return "\n".join(part for part in (self.findings, self.impression) if part)

    def as_json(self) -> dict[str, Any]:
        """The dictionary written to `predictions.jsonl`."""
        return {
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
