# SPDX-License-Identifier: Apache-2.0
"""How likely each token of a given answer is: one forward pass, nothing is generated.

Teacher forcing as in `CausalLM.forward`, but token by token and with no targets in the batch: the answer is what the
model itself wrote. Only the places of the answer go through the vocabulary head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from libra_monai.errors import ConfigError
from libra_monai.networks.language.prefix import positions
from libra_monai.types import IGNORE, StudyBatch


@torch.no_grad()
def token_log_probs(
    language: Any, batch: StudyBatch, slots: dict[str, Tensor], answers: Sequence[Sequence[int]]
) -> Tensor:
    """Natural logarithm of the probability of each token of B answers, float32 [B,R]; 0 behind a shorter answer.

    Args:
        language: a part that takes embeddings, such as `CausalLM`, in eval mode.
        batch: prompts [B,S], left-padded.
        slots: name -> [B,T,H].
        answers: ids of the B answers, without prompt and end token; R is the length of the longest.

    Raises:
        ConfigError: the part writes by other means than embeddings.
    """
    if getattr(language, "takes", None) != "embeddings" or not hasattr(language, "model"):
        what = f"{type(language).__name__} gives no probability of a token"
        raise ConfigError(what, "Leave `evidence` off for this model.")
    answered, said = _padded(answers, batch.input_ids.device)
    prompt, prompt_mask = language.prompt(batch, slots)
    mask = torch.cat([prompt_mask, said], dim=1)
    output = language.model(
        inputs_embeds=torch.cat([prompt, language.embed(answered).to(prompt.dtype)], dim=1),
        attention_mask=mask.long(),
        position_ids=positions(mask),
        use_cache=False,
        logits_to_keep=answered.shape[1] + 1,
    )
    logits, targets = output.logits[:, :-1], answered.masked_fill(~said, IGNORE)  # each place predicts the next
    losses = [
        F.cross_entropy(row.float(), wanted, ignore_index=IGNORE, reduction="none")  # row by row: V may be large
        for row, wanted in zip(logits, targets, strict=True)
    ]
    return -torch.stack(losses) + 0.0  # + 0.0: no negative zeros behind short answers


def _padded(answers: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids [B,R] padded on the right with 0, and which of them are said."""
    longest = max(map(len, answers), default=0)
    ids = torch.zeros(len(answers), longest, dtype=torch.long)
    said = torch.zeros(len(answers), longest, dtype=torch.bool)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = torch.tensor(list(answer), dtype=torch.long)
        said[row, : len(answer)] = True
    return ids.to(device), said.to(device)
