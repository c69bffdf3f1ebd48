# SPDX-License-Identifier: Apache-2.0
"""Text to ids, with slot ids where picture features will stand.

A prompt is split at `<image>`, each piece is tokenised, and the pieces are joined by -200, as in
LLaVA and Libra. Only the first piece may carry the tokenizer's beginning-of-sequence token.
"""

from __future__ import annotations

from typing import Any

from libra_monai.text.prompts import PICTURE
from libra_monai.types import IMAGE_SLOT, SLOT_IDS


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Ids of a prompt.

    Args:
        tokenizer: a Hugging Face tokenizer.
        text: the prompt, with any number of `<image>`.
    """
    pieces = text.split(PICTURE)
    ids = list(tokenizer(pieces[0])["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:  # some tokenizers close every text
        ids.pop()
    for piece in pieces[1:]:
        ids.append(SLOT_IDS[IMAGE_SLOT])
        ids += tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
    return ids


def encode_target(tokenizer: Any, prompt: str, closing: str) -> list[int]:
    """Ids of the answer that follows a prompt.

    The last piece of the prompt and the answer are tokenised together, so that the answer's first
    token is what generation would have to produce.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompt: text up to where the answer begins.
        closing: answer and stop string.
    """
    before = prompt.split(PICTURE)[-1]
    open_ids = tokenizer(before, add_special_tokens=False)["input_ids"]
    whole = tokenizer(before + closing, add_special_tokens=False)["input_ids"]
    if whole[: len(open_ids)] == open_ids:
        return whole[len(open_ids) :]
    return tokenizer(closing, add_special_tokens=False)["input_ids"]
