# SPDX-License-Identifier: Apache-2.0
"""Where generated tokens end in the text they decode to.

What a model generated need not be the ids its text would be encoded to, so `places_of` cannot say this; here the
beginnings of the answer are decoded one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def token_ends(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """For each token, the number of letters up to and with it in the decoded, stripped text; special tokens add none.

    Args:
        tokenizer: a Hugging Face tokenizer, or a `SentencePieceTokenizer`.
        ids: a whole answer, without prompt.
    """
    whole = tokenizer.decode(list(ids), skip_special_tokens=True)
    lead = len(whole) - len(whole.lstrip())
    lengths = [len(tokenizer.decode(list(ids[: place + 1]), skip_special_tokens=True)) for place in range(len(ids))]
    return [max(0, length - lead) for length in lengths]


def tokens_within(ends: Sequence[int], start: int, end: int) -> list[int]:
    """Places of the tokens that end within a span of the text; white space before it belongs to its first token.

    Args:
        ends: from `token_ends`.
        start, end: letters of the span.
    """
    return [place for place, last in enumerate(ends) if start < last <= end and (place == 0 or last > ends[place - 1])]
