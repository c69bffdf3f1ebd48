# SPDX-License-Identifier: Apache-2.0
"""How sure was the model of each sentence, and how much of that does it owe to the pictures?

The draft is given back to the model token by token, three times: as it was written, without the prior picture, and with
blank pictures (grey 128, as the control `blank`). Nothing is generated; the prompt and its words stay the same, so what
differs between passes is the picture alone. Every picture is encoded once, the blank one once a batch. A high
probability is no proof: a model can be sure and wrong. `benchmarks/evidence.py` measures what the numbers are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from libra_monai.data.processor import StudyProcessor
from libra_monai.inferers.calibration import Calibration, calibration_of
from libra_monai.metrics.labelers.clauses import sentence_spans
from libra_monai.networks.language.token_scores import token_log_probs
from libra_monai.networks.report_model import ReportModel
from libra_monai.text.token_ends import token_ends, tokens_within
from libra_monai.types import Generation, SentenceEvidence, StudyBatch

GREY = 128  # of the blank picture


@torch.no_grad()
def sentence_evidence(
    model: ReportModel,
    processor: StudyProcessor,
    batch: StudyBatch,
    generations: Sequence[Generation],
    card: Mapping[str, Any] | None = None,
) -> list[list[SentenceEvidence]]:
    """The evidence of every sentence of B drafts.

    Args:
        model: that wrote the drafts, in eval mode.
        processor: decodes ids, and knows what a blank picture looks like.
        batch: the B studies, on the model's device.
        generations: what the model wrote; those without token ids get no evidence.
        card: of the model, for the coefficients of the score.

    Raises:
        ConfigError: the language model gives no probabilities of tokens.
        ModelError: the card's coefficients cannot be used.
    """
    calibration = calibration_of(card or {})
    answers = [list(generation.token_ids) for generation in generations]
    if not any(answers):
        return [[] for _ in generations]
    given, no_prior, blank = _passes(model, processor, batch, answers)
    found = []
    for row, generation in enumerate(generations):
        shown, compared = (int(batch.index[view][row]) >= 0 for view in ("current", "prior"))
        without_prior = no_prior[row] if compared and no_prior is not None else None
        without_image = blank[row] if shown and blank is not None else None
        found.append(_sentences(processor, generation, given[row], without_prior, without_image, calibration))
    return found


def _passes(
    model: ReportModel, processor: StudyProcessor, batch: StudyBatch, answers: list[list[int]]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Log-probabilities [B,R] as given, without the prior, with blank pictures; None where none is."""
    if len(batch.images) == 0:
        return token_log_probs(model.language, batch, model.slots(batch), answers).cpu(), None, None
    size = len(batch)
    blank = processor.normalise([torch.full((1, processor.image_size, processor.image_size), GREY, dtype=torch.uint8)])
    images = torch.cat([batch.images, blank.to(batch.images)])  # [U+1,C,h,w]
    greys = {view: torch.where(rows >= 0, len(batch.images), rows) for view, rows in batch.index.items()}
    indices = [batch.index, greys]
    if bool((batch.index["prior"] >= 0).any()):
        indices.insert(1, {**batch.index, "prior": torch.full_like(batch.index["prior"], -1)})
    slots = model.slots(_repeated(batch, images, indices))  # name -> [nB,T,H]
    starts = range(0, size * len(indices), size) if slots else [0]  # without slots the prompts show no pictures
    parts = [{name: tokens[start : start + size] for name, tokens in slots.items()} for start in starts]
    scores = [token_log_probs(model.language, batch, part, answers).cpu() for part in parts]
    return scores[0], scores[1] if len(scores) == 3 else None, scores[-1] if len(scores) > 1 else None


def _repeated(batch: StudyBatch, images: Tensor, indices: Sequence[Mapping[str, Tensor]]) -> StudyBatch:
    """One batch of n times B studies that share their pictures, so that each is encoded once."""
    times = len(indices)
    return replace(
        batch,
        images=images,
        index={view: torch.cat([index[view] for index in indices]) for view in batch.index},
        input_ids=batch.input_ids.repeat(times, 1),
        attention_mask=batch.attention_mask.repeat(times, 1),
        target_ids=None,
        weights=None,
        study_ids=batch.study_ids * times,
        records=batch.records * times,
        notes=batch.notes * times,
    )


def _sentences(
    processor: StudyProcessor,
    generation: Generation,
    given: Tensor,
    no_prior: Tensor | None,
    blank: Tensor | None,
    calibration: Calibration,
) -> list[SentenceEvidence]:
    """Evidence of one draft from the log-probabilities [R] of its tokens."""
    if not generation.token_ids:
        return []
    text = processor.decode(generation)
    ends = token_ends(processor.tokenizer, generation.token_ids) if generation.ends is None else generation.ends
    sentences = []
    for start, end in sentence_spans(text):
        places = tokens_within(ends, start, end)
        if not places:
            continue
        own = given[places]
        prior, image = (None if other is None else float((own - other[places]).mean()) for other in (no_prior, blank))
        sentences.append(
            SentenceEvidence(
                text=text[start:end],
                section=processor.prompt.target,
                start=start,
                end=end,
                tokens=len(places),
                mean_log_prob=float(own.mean()),
                min_log_prob=float(own.min()),
                prior_contrast=prior,
                image_contrast=image,
                score=calibration.score(float(own.sum()), image, prior),
            )
        )
    return sentences
