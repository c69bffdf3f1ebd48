# SPDX-License-Identifier: Apache-2.0
"""Put slot tokens into a prompt: the one place where pictures become part of the text.

Source: LLaVA's and Libra's `prepare_inputs_labels_for_multimodal`. Rows are padded on the left with
masked positions, so that every prompt ends at the same place and only the answer is on the right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from libra_monai.types import SLOT_IDS, StudyBatch


def has_slots(batch: StudyBatch) -> bool:
    """Whether any prompt of the batch shows something besides text."""
    return bool((batch.input_ids < 0).any())


def splice_prompt(batch: StudyBatch, slots: dict[str, Tensor], embed: nn.Module) -> tuple[Tensor, Tensor]:
    """Embeddings of B prompts with their slots filled.

    Args:
        batch: prompts [B,S], left-padded, with slot ids.
        slots: name -> [B,T,H]; a slot's tokens replace each of its placeholders.
        embed: the language model's embedding.

    Returns:
        embeddings [B,S',H] and mask BoolTensor[B,S'], left-padded.

    Raises:
        ValueError: a prompt names a slot that no connector filled.
    """
    names = {number: name for name, number in SLOT_IDS.items()}
    text = embed(batch.input_ids.clamp(min=0))  # [B,S,H]
    rows = []
    for row in range(len(batch)):
        start = int((~batch.attention_mask[row]).sum())
        pieces = []
        for place in (batch.input_ids[row] < 0).nonzero().flatten().tolist():
            name = names.get(int(batch.input_ids[row, place]))
            if name not in slots:
                raise ValueError(f"the prompt has a slot '{name}', the connector fills {sorted(slots) or 'none'}")
            pieces += [text[row, start:place], slots[name][row].to(text.dtype)]
            start = place + 1
        rows.append(torch.cat([*pieces, text[row, start:]]))
    longest = max((len(row) for row in rows), default=0)
    embeddings = text.new_zeros(len(rows), longest, text.shape[-1])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=text.device)
    for number, row in enumerate(rows):
        embeddings[number, longest - len(row) :] = row
        mask[number, longest - len(row) :] = True
    return embeddings, mask
