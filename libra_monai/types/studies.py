# SPDX-License-Identifier: Apache-2.0
"""What goes into a model: studies in batches, their pictures and features, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

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
        parts = [self.pick(range(start, min(start + size, len(self)))) for start in range(0, len(self), size)]
        return [replace(parts[0], failures=self.failures), *parts[1:]]

    def emptied(self) -> StudyBatch:
        """The batch without its studies."""
        return self.pick(())

    def pick(self, studies: Sequence[int]) -> StudyBatch:
        """Some of the studies with their own pictures, without the failures.

        Args:
            studies: their numbers in this batch, in order.
        """
        rows = torch.tensor(list(studies), dtype=torch.long, device=self.input_ids.device)
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
            study_ids=[self.study_ids[row] for row in studies],
            records=[self.records[row] for row in studies] if self.records else [],
            notes=[self.notes[row] for row in studies] if self.notes else [],
            failures=[],
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
