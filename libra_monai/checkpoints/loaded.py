# SPDX-License-Identifier: Apache-2.0
"""A model folder ready to report: `load_pretrained(folder).report(current, prior)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from libra_monai import registry
from libra_monai.checkpoints.adapter_files import bare
from libra_monai.checkpoints.card import MODEL_FILE, read_model_file
from libra_monai.checkpoints.folder import load_state, put_adapters, tensors_of
from libra_monai.checkpoints.pointers import ADAPTER, BASE, Bases, find_source, weights_folder
from libra_monai.checkpoints.published.importing import load_published
from libra_monai.checkpoints.published.layouts import looks_published
from libra_monai.data.dataset import StudyDataset
from libra_monai.data.processor import StudyProcessor, check_same_size
from libra_monai.data.request import file_record, request_root
from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.inferers import ReportInferer
from libra_monai.networks.adapters import linear_names
from libra_monai.networks.quantize import check_quantize, quantize_linears
from libra_monai.networks.report_model import ReportModel
from libra_monai.outputs import drafts_of
from libra_monai.types import Decoding, Record, ReportDraft, StudyBatch


@dataclass
class LoadedModel:
    """A report model with its processor and card.

    Args:
        model: in eval mode, on `device`.
        processor: what belongs before and after it.
        card: `name`, `version`, `training_data`.
        device: where it runs.
        decoding: how text is generated.
        reading: arguments of `LoadRadiograph`, such as `policy`; None is the safe default.
        picture_cache: folder that keeps finished pictures between runs; None keeps none.
    """

    model: ReportModel
    processor: StudyProcessor
    card: Mapping[str, Any]
    device: torch.device
    decoding: Decoding
    reading: Mapping[str, Any] | None = None
    picture_cache: str | Path | None = None

    def report(
        self,
        current: str | Path,
        prior: str | Path | None = None,
        lateral: str | Path | None = None,
        indication: str | None = None,
        history: str | None = None,
        technique: str | None = None,
        comparison: str | None = None,
        evidence: bool = False,
        sections: Sequence[str] | None = None,
    ) -> ReportDraft:
        """Draft the report of one study from picture files.

        Args:
            current: frontal picture to report on (DICOM, PNG or JPEG).
            prior: frontal picture of the study before, if there is one.
            lateral: lateral picture; noted, and looked at only by models that take one.
            indication, history, technique, comparison: sections of the request, where known.
            evidence: also say how sure the model was of each sentence, see `inferers.evidence`.
            sections: what to write, of `findings` and `impression`; None writes what the model was made for.

        Raises:
            StudyError: a file cannot be used; the message names it and the remedy.
            ConfigError: a section is none.
        """
        said = {"indication": indication, "history": history, "technique": technique, "comparison": comparison}
        files = [None if path is None else str(path) for path in (current, prior, lateral)]
        record = file_record(files[0] or "", files[1], files[2], said)
        return self.report_record(record, request_root(None, None, files[0]), evidence, sections)

    def report_record(
        self, record: Record, root: str | Path, evidence: bool = False, sections: Sequence[str] | None = None
    ) -> ReportDraft:
        """Draft the report of one record; earlier studies that were not used as its prior are told in the warnings.

        Args:
            record: see libra_monai/data/schema.py.
            root: folder that its paths are relative to.
            evidence: also say how sure the model was of each sentence.
            sections: what to write, see `report`; pictures and the beginning of the prompts are read once for all.

        Raises:
            StudyError: a file cannot be used; the message names it and the remedy.
            ConfigError: a section is none.
        """
        batch = self._batch(record, root, sections)
        generations = ReportInferer(self.decoding, self.processor)(batch, self.model)
        drafts = drafts_of(batch, generations, self.processor, self.card, self.model if evidence else None)
        draft = _joined(drafts, sections) if sections else drafts[0]
        draft.warnings += [f"study {one['study_id']} not used as prior: {one['reason']}" for one in record["skipped_priors"] or ()]
        return draft

    def stream(
        self, record: Record, root: str | Path, section: str | None = None, question: str | None = None
    ) -> Iterator[str]:
        """The text of one record as it is written. Show `outputs.marks_for(card)` before it, as every draft has them.

        Args:
            record: see libra_monai/data/schema.py.
            root: folder that its paths are relative to.
            section: `findings` or `impression`; None writes what the model was made for.
            question: asked of the pictures instead, as the prompt `question` does.

        Raises:
            StudyError: a file cannot be used; the message names it and the remedy.
            ConfigError: the options have several beams or answers.
        """
        asked = record if question is None else {**record, "prompt": "question", "question": question}
        batch = self._batch(asked, root, [section] if section else None)
        yield from ReportInferer(self.decoding, self.processor).stream(batch, self.model)

    def _batch(self, record: Record, root: str | Path, sections: Sequence[str] | None) -> StudyBatch:
        """One study, a row for each section."""
        for name in sections or ():
            if name not in ("findings", "impression"):
                raise ConfigError(f"section '{name}' does not exist", did_you_mean(name, ("findings", "impression")))
        read = self.processor.pictures(str(root), reading=self.reading, cache=self.picture_cache)
        item = StudyDataset([record], read)[0]
        own = self.processor.prompt.target
        items = [item if name == own else {**item, "prompt": name} for name in sections] if sections else [item]
        batch = self.processor.collate(items)
        if batch.failures:
            failure = batch.failures[0]
            raise StudyError(failure.file, failure.stage, failure.reason, failure.remedy)
        return batch.to(self.device)


def _joined(drafts: Sequence[ReportDraft], sections: Sequence[str]) -> ReportDraft:
    """One draft of a study from a draft for each of its sections."""
    written = dict(zip(sections, (one.text or None for one in drafts), strict=True))
    warnings = list(dict.fromkeys(warning for one in drafts for warning in one.warnings))
    told = [
        replace(sentence, section=name)
        for name, one in zip(sections, drafts, strict=True)
        for sentence in one.evidence or ()
    ]
    evidence = None if drafts[0].evidence is None else told
    findings, impression = written.get("findings"), written.get("impression")
    return replace(drafts[0], findings=findings, impression=impression, warnings=warnings, evidence=evidence)


def load_pretrained(
    folder: str | Path,
    encoder: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    reading: Mapping[str, Any] | None = None,
    picture_cache: str | Path | None = None,
    base: Bases = None,
    quantize: str | None = None,
) -> LoadedModel:
    """Load a model folder, or a published checkpoint as it is.

    Args:
        folder: written by a run, shipped with the bundle, made by `import-weights`, or published.
        encoder: folder or hub name of encoder weights, for folders that leave them out.
        device: where to run.
        dtype: float type of the weights; default float32.
        reading, picture_cache: how pictures are read and kept, see `LoadedModel`.
        base: for folders that hold only what was trained: the model folder that has the rest, or folders by part, if it no
            longer stands where the folder says.
        quantize: `int8` or `nf4` for the linear layers of the language model, see `networks.quantize`; encoder, connector and head
            stay in float.

    Raises:
        ConfigError: `quantize` does not exist or its package is not installed.
        ModelError: the folder is no model folder, its tensors do not fit, or its base is missing or has changed.
    """
    check_quantize(quantize)
    dtype = dtype or torch.float32
    with default_dtype(dtype):
        if not (Path(folder) / MODEL_FILE).is_file() and looks_published(folder):
            model, processor, card = load_published(folder, encoder, dtype)
        else:
            model, processor, card = _load_folder(Path(folder), encoder, base)
    check_same_size(processor, model.encoder)
    model = model.to(device=device, dtype=dtype).eval()
    if quantize:
        quantize_linears(model.language, linear_names(model.language), quantize)
    return LoadedModel(model, processor, card, torch.device(device), Decoding(), reading, picture_cache)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Build modules in a float type from the start, so that a large model never stands in memory twice.

    Args:
        dtype: float type of new parameters within the block.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _load_folder(folder: Path, encoder: str | None, base: Bases) -> tuple[ReportModel, StudyProcessor, dict[str, Any]]:
    """The parts of a model folder, joined."""
    content = read_model_file(folder)
    parts = {
        name: _load_part(name, spec, folder, encoder if name == "encoder" else None, base)
        for name, spec in content["parts"].items()
    }
    return ReportModel(parts["encoder"], parts["connector"], parts["language"]), StudyProcessor.load(folder), content["card"]


def _load_part(
    name: str, spec: Mapping[str, Any] | None, folder: Path, weights: str | None, base: Bases
) -> nn.Module | None:
    if spec is None:
        return None
    arguments = {key: value for key, value in spec.items() if key not in (BASE, ADAPTER)}
    kind = arguments.pop("name")
    if weights:
        return registry.build(name, kind, **{**arguments, "weights": weights})
    source = find_source(folder, name, base)
    if source is None:
        return None
    if arguments.get("weights") == name:  # the part's own subfolder
        with weights_folder(source) as own:
            part = registry.build(name, kind, **{**arguments, "weights": own})
        put_adapters(bare(part).state_dict(), source)
        return part
    part = registry.build(name, kind, **arguments)
    if "weights" not in arguments:
        load_state(part, tensors_of(source), f"{folder}: {name}")
    return part
