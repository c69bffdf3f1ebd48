# SPDX-License-Identifier: Apache-2.0
"""Text to ids, with slot ids where picture features will stand, and the labels of a conversation.

A prompt is split at `<image>`, each piece is tokenised, and the pieces are joined by -200, as in
LLaVA and Libra (`tokenizer_image_token`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from libra_monai.errors import ConfigError
from libra_monai.text.original_labels import original_labels, original_text
from libra_monai.text.prompts import PICTURE
from libra_monai.text.templates import Template, Turn
from libra_monai.types import IGNORE, IMAGE_SLOT, SLOT_IDS

COMPAT = ("default", "original")


@dataclass(frozen=True)
class EncodedConversation:
    """A conversation for training.

    Args:
        input_ids: ids with slot ids.
        labels: the same length; `IGNORE` where nothing is learned.
        refusal: why nothing is learned of it, or None. Only `compat="original"` refuses.
    """

    input_ids: list[int]
    labels: list[int]
    refusal: str | None = None


def put_picture_first(request: str) -> str:
    """A request with its picture in front, wherever it stood; a request without one stays as it is.

    Args:
        request: the user's text.
    """
    if PICTURE not in request:
        return request
    return f"{PICTURE}\n{request.replace(PICTURE, '').strip()}".strip()


def encode_prompt(tokenizer: Any, text: str, num_bos: int | None = None) -> list[int]:
    """Ids of a text with pictures.

    Every piece is tokenised by itself; only the first keeps the beginning-of-sequence token.

    Args:
        tokenizer: a Hugging Face tokenizer, or a `SentencePieceTokenizer`.
        text: a prompt or a conversation, with any number of `<image>`.
        num_bos: how many beginning-of-sequence tokens to begin with; None keeps what template and tokenizer give.
    """
    pieces = [_without_end(tokenizer, list(tokenizer(piece)["input_ids"]), piece) for piece in text.split(PICTURE)]
    bos = tokenizer.bos_token_id
    lead = int(bos is not None and bool(pieces[0]) and pieces[0][0] == bos)
    ids = pieces[0]
    for piece in pieces[1:]:
        ids = [*ids, SLOT_IDS[IMAGE_SLOT], *piece[lead:]]
    if num_bos is not None and bos is not None:
        while ids and ids[0] == bos:
            ids = ids[1:]
        ids = [bos] * num_bos + ids
    return ids


def encode_conversation(
    tokenizer: Any, template: Template, turns: Sequence[Turn], compat: str = "default", num_bos: int | None = None
) -> EncodedConversation:
    """Ids and labels of a conversation with all its answers.

    Args:
        tokenizer: a Hugging Face tokenizer, or a `SentencePieceTokenizer`.
        template: form of the conversation.
        turns: requests and answers.
        compat: `default` learns every answer with its stop text, and nothing else. `original` gives the ids and
            labels of `libra/train/train.py`, refusals and wrongly placed labels included.
        num_bos: see `encode_prompt`; `default` only.

    Raises:
        ConfigError: `compat` is unknown, or the original cannot render or label the template.
    """
    if compat not in COMPAT:
        raise ConfigError(f"compat '{compat}' does not exist", f"Use one of {', '.join(COMPAT)}.")
    if compat == "original":
        ids = encode_prompt(tokenizer, original_text(template, turns))
        labels, refusal = original_labels(
            ids, template, turns, lambda text: len(encode_prompt(tokenizer, text)), tokenizer
        )
        return EncodedConversation(ids, labels, refusal)
    pieces = template.pieces(turns, training=True)
    ids = encode_prompt(tokenizer, "".join(text for text, _ in pieces), num_bos)
    labels = [IGNORE] * len(ids)
    before = ""
    for text, learned in pieces:
        if learned:
            start = _shared(encode_prompt(tokenizer, before, num_bos), ids)
            end = _shared(encode_prompt(tokenizer, before + text, num_bos), ids)
            labels[start:end] = ids[start:end]
        before += text
    return EncodedConversation(ids, labels)


def places_of(
    tokenizer: Any, template: Template, turn: tuple[str, str], spans: Sequence[tuple[int, int]], num_bos: int | None = None
) -> list[tuple[int, int]]:
    """Where spans of an answer stand among the ids of `encode_conversation`; white space before a span belongs to it.

    Args:
        tokenizer: a Hugging Face tokenizer, or a `SentencePieceTokenizer`.
        template: form of the conversation.
        turn: a request and its answer, the whole conversation.
        spans: start and end of each span in the letters of the answer.
        num_bos: see `encode_prompt`.
    """
    answer = turn[1]
    pieces = template.pieces([turn], training=True)
    last = max(number for number, (_, learned) in enumerate(pieces) if learned)
    before = "".join(text for text, _ in pieces[:last]) + pieces[last][0][: pieces[last][0].index(answer)]
    ids = encode_prompt(tokenizer, "".join(text for text, _ in pieces), num_bos)

    def place(letters: int) -> int:
        return _shared(encode_prompt(tokenizer, before + answer[:letters], num_bos), ids)

    return [(place(len(answer[:start].rstrip())), place(end)) for start, end in spans]


def split_answer(encoded: EncodedConversation) -> tuple[list[int], list[int]]:
    """Ids before the first learned one, and the ids from there on.

    Args:
        encoded: a conversation of one turn.
    """
    start = next((i for i, label in enumerate(encoded.labels) if label != IGNORE), len(encoded.labels))
    return encoded.input_ids[:start], encoded.input_ids[start:]


def _without_end(tokenizer: Any, ids: list[int], piece: str) -> list[int]:
    """Ids without an end-of-sequence token that some tokenizers add to every text."""
    added = bool(ids) and ids[-1] == tokenizer.eos_token_id
    if added and list(tokenizer(piece, add_special_tokens=False)["input_ids"][-1:]) != [tokenizer.eos_token_id]:
        return ids[:-1]
    return ids


def _shared(part: list[int], whole: list[int]) -> int:
    """How many ids two lists have in common at their beginning."""
    count = 0
    for a, b in zip(part, whole, strict=False):
        if a != b:
            break
        count += 1
    return count
