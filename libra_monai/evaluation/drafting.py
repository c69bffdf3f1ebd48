# SPDX-License-Identifier: Apache-2.0
"""Drafts of many records, for the control suite: the way of every evaluation, with changed records or pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.transforms import Compose, Transform
from PIL import Image
from tqdm import tqdm

from libra_monai import paths
from libra_monai.checkpoints import LoadedModel
from libra_monai.data.dataset import StudyDataset
from libra_monai.errors import StudyError
from libra_monai.evaluation.controls import ChangePictures, Control, is_dicom
from libra_monai.inferers import ReportInferer, sparing
from libra_monai.outputs import drafts_of
from libra_monai.transforms import ACCEPT_ALL, LoadRadiograph, StudyPicturesd
from libra_monai.transforms.reading import reader
from libra_monai.types import Failure, Record, ReportDraft, StudyBatch


class ThroughPng(Transform):
    """Read a radiograph, write it as PNG at full size, and read that: what a site that keeps PNG files would see.

    Args:
        reading: arguments of `LoadRadiograph`.
    """

    def __init__(self, reading: Mapping[str, Any] | None = None) -> None:
        self.read, self.again = reader(reading), LoadRadiograph(policy=ACCEPT_ALL)
        self.policy = self.read.policy

    def __call__(self, path: str) -> torch.Tensor:
        pixels = self.read(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "picture.png"
            Image.fromarray(torch.as_tensor(pixels).as_subclass(torch.Tensor)[0].numpy()).save(file)
            return self.again(str(file))


@dataclass
class Drafter:
    """Drafts reports of records; every picture file is read once and kept on disk while it lives.

    Args:
        loaded: model, processor, card, device and options of generation.
        root: folder the paths of records are relative to.
        batch_size: studies a batch.
        autocast: opens the float type of the run, for each batch.
        shown: whether progress is shown.
        reading: arguments of `LoadRadiograph`.
        failures: studies that could not be read or drafted, filled as drafting goes on.
        evidence: also say how sure the model was of each sentence.
    """

    loaded: LoadedModel
    root: str
    batch_size: int = 16
    autocast: Callable[[], Any] | None = None
    shown: bool = True
    reading: Mapping[str, Any] | None = None
    failures: list[Failure] = field(default_factory=list)
    evidence: bool = False

    def __post_init__(self) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="libra_monai_")

    def drafts(self, records: Sequence[Record], control: Control | None = None) -> dict[str, ReportDraft]:
        """Study -> draft; studies that fail are noted in `failures` and left out.

        Args:
            records: the studies, already changed by the control.
            control: for its pictures; None drafts them as they are.
        """
        dataset = StudyDataset(list(records), self._pictures(control))
        batches = DataLoader(dataset, batch_size=self.batch_size, collate_fn=self.loaded.processor.collate)
        infer, drafts = ReportInferer(self.loaded.decoding, self.loaded.processor), {}
        label = control.title if control else "as given"
        for batch in tqdm(batches, desc=label, unit="batch", delay=2, leave=False, disable=not self.shown):
            self.failures += batch.failures
            batch = batch.to(self.loaded.device)
            with torch.no_grad(), self.autocast() if self.autocast else torch.no_grad():
                _, made, failures = sparing(batch, lambda part: self._written(infer, part))
            self.failures += failures
            drafts |= {draft.study_id: draft for draft in made}
        return drafts

    def _written(self, infer: ReportInferer, batch: StudyBatch) -> list[ReportDraft]:
        loaded = self.loaded
        written = infer(batch, loaded.model)
        return drafts_of(batch, written, loaded.processor, loaded.card, loaded.model if self.evidence else None)

    def usable(self, record: Record, control: Control) -> bool:
        """Whether a control says anything of a study: PNG instead of DICOM needs DICOM."""
        if not control.through_png:
            return True
        try:
            return is_dicom(Path(paths.inside(self.root, record["current"])))
        except StudyError:
            return False

    def _pictures(self, control: Control | None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        processor = self.loaded.processor
        if control is not None and control.through_png:
            return StudyPicturesd([ThroughPng(self.reading), processor.square], self.root)
        plain = processor.pictures(self.root, cache=self._kept.name, reading=self.reading)
        return plain if control is None or control.pixels is None else Compose([plain, ChangePictures(control)])
