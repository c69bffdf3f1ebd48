# SPDX-License-Identifier: Apache-2.0
"""Prompts read into a cache once: for all beams of a study, and for all questions on it.

The cache of a prompt is the same for every beam, so it is computed with one row a study and repeated. Questions on one
study begin alike, pictures included; that part is computed with one row in all. The places between the shared part
and shorter questions are masked, as padding on the left is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from libra_monai.errors import StudyError
from libra_monai.types import StudyBatch

# what the library calls a cache, as argument and as output: transformers 5.24 gave it a new name
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


@dataclass(frozen=True)
class Prompts:
    """Prompts as embeddings, ending at the same place.

    Args:
        embeddings: [B,S,H].
        mask: BoolTensor[B,S]; False is padding.
        shared: how many first places are the same in all rows.
    """

    embeddings: Tensor
    mask: Tensor
    shared: int = 0


def positions(mask: Tensor) -> Tensor:
    """Position of each token among the unmasked ones of its row, [B,S]; padding gets 0."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def check_lengths(model: nn.Module, prompts: Prompts, study_ids: Sequence[str]) -> None:
    """Refuse prompts that leave no position for an answer.

    Raises:
        StudyError: of the first such prompt, with the count.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    for row, length in enumerate(prompts.mask.sum(dim=1).tolist()):
        if limit is not None and length >= limit:
            study = study_ids[row] if row < len(study_ids) else f"row {row}"
            reason = f"the prompt has {length} tokens with its pictures, the language model {limit} positions"
            raise StudyError(study, "draft", reason, "Shorten the sections of the request, or use a model with more positions.")


def one_study(batch: StudyBatch) -> bool:
    """Whether the rows of a batch are several questions on the same pictures."""
    return len(batch) > 1 and all(bool((places == places[0]).all()) for places in batch.index.values())


def share(model: nn.Module, prompts: Prompts) -> Prompts:
    """The same prompts with what all begin with in front, so that it can be read with one row.

    Sliding windows count places, masked ones too; with them prompts of unequal lengths stay as they are.

    Args:
        model: the language model.
        prompts: of one study.
    """
    rows = [row[mask] for row, mask in zip(prompts.embeddings, prompts.mask, strict=True)]
    shortest = min(map(len, rows))
    same = torch.stack([(row[:shortest] == rows[0][:shortest]).all(dim=-1) for row in rows]).all(dim=0)
    shared = min(int(same.long().cumprod(dim=0).sum()), shortest - 1)  # the last place is each row's own
    slides = any("sliding" in kind for kind in _layer_kinds(model))
    if shared == 0 or (slides and len(set(map(len, rows))) > 1):
        return prompts
    longest = max(map(len, rows))
    embeddings = prompts.embeddings.new_zeros(len(rows), longest, prompts.embeddings.shape[-1])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=prompts.mask.device)
    for number, row in enumerate(rows):
        gap = longest - len(row)
        embeddings[number, :shared], embeddings[number, shared + gap :] = row[:shared], row[shared:]
        mask[number, :shared] = mask[number, shared + gap :] = True
    return Prompts(embeddings, mask, shared)


def read_prompts(model: nn.Module, prompts: Prompts, cache: Cache | None = None) -> tuple[Cache, Tensor]:
    """Read prompts whole.

    Args:
        model: a causal language model.
        prompts: B prompts.
        cache: an empty one to fill, such as one of fixed size; None makes one that grows.

    Returns:
        the cache of B rows and the logits [B,V] of the first token of the answers.
    """
    if cache is None:
        cache = read_beginnings(model, prompts, prompts.shared) if prompts.shared else DynamicCache(config=model.config)
    begun = cache.get_seq_length()
    output = model(**_inputs(prompts, begun, prompts.mask.shape[1], cache), logits_to_keep=1)
    return output[CACHE], output.logits[:, -1]


def read_beginnings(model: nn.Module, prompts: Prompts, end: int) -> Cache:
    """Read the first places of prompts, without the vocabulary head.

    Args:
        model: a causal language model.
        prompts: B prompts.
        end: how many places.

    Returns:
        a cache of B rows.
    """
    cache, begun = DynamicCache(config=model.config), 0
    if prompts.shared:
        first = Prompts(prompts.embeddings[:1], prompts.mask[:1])
        begun = min(prompts.shared, end)
        model.base_model(**_inputs(first, 0, begun, cache))
        cache.batch_repeat_interleave(len(prompts.mask))
    if end > begun:
        model.base_model(**_inputs(prompts, begun, end, cache))
    return cache


def _inputs(prompts: Prompts, begin: int, end: int, cache: Cache) -> dict[str, Any]:
    mask = prompts.mask[:, :end]
    return {
        "inputs_embeds": prompts.embeddings[:, begin:end],
        "attention_mask": mask.long(),
        "position_ids": positions(mask)[:, begin:],
        CACHE: cache,
        "use_cache": True,
    }


def _layer_kinds(model: nn.Module) -> list[str]:
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        return list(kinds)
    return ["sliding"] if getattr(model.config, "sliding_window", None) else []
