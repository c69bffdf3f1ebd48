# SPDX-License-Identifier: Apache-2.0
"""Labels exactly as the original computes them, mistakes included (`libra/train/train.py`, `preprocess_*`).

It tokenises every round again, adds up lengths with corrections that hold for some tokenizers only, and gives
a sample up when the sum misses the number of ids. Kept apart, since nothing else should depend on it; the
default labelling of `encoding` has none of this. Specification: `golden/tokenization.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from libra_monai.errors import ConfigError
from libra_monai.text.templates import Template, Turn
from libra_monai.types import IGNORE

Labelled = tuple[list[int], str | None]
_USER_3 = "<|eot_id|>\n<|start_header_id|>user<|end_header_id|>\n\n"
_ASSISTANT_3 = "<|start_header_id|>assistant<|end_header_id|>\n\n"


def original_text(template: Template, turns: Sequence[Turn]) -> str:
    """A conversation for training as the original renders it.

    Args:
        template: form of the conversation.
        turns: requests and answers.

    Raises:
        ConfigError: the original fails on this template.
    """
    if template.style == "plain":
        raise ConfigError("the original cannot render this template for training", "Use compat 'default'.")
    return template.render(turns, training=True)


def original_labels(
    ids: list[int], template: Template, turns: Sequence[Turn], length: Callable[[str], int], tokenizer: Any
) -> Labelled:
    """Labels of a conversation, and the original's warning where it gives the sample up.

    Args:
        ids: of the whole conversation.
        template: its form.
        turns: requests and answers.
        length: number of ids of a text.
        tokenizer: for its padding id, limit and flavour.

    Raises:
        ConfigError: the original cannot render the template for training, or its labels are not specified.
    """
    text = original_text(template, turns)
    if template.style == "headed":
        labels, counted = _headed(ids, text, length)
    elif template.style == "two" and template.stop != template.separator:
        labels, counted = _rounds(ids, text.split(template.stop), f" {template.assistant}: ", length, tokenizer)
    elif template.style == "bracketed":
        labels, counted = _rounds(ids, text.split(template.stop), "[/INST] ", length, None)
    else:
        raise ConfigError("the original's labels of this template are not specified", "Use compat 'default'.")
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = tokenizer.unk_token_id
    labels = [IGNORE if label == pad else label for label in labels]
    total = sum(i != pad for i in ids)
    limit = getattr(tokenizer, "model_max_length", None) or 10**9
    if counted != total and counted < limit:
        return [IGNORE] * len(ids), f"WARNING: tokenization mismatch: {counted} vs. {total}. (ignored)"
    return labels, None


def _rounds(
    ids: list[int], rounds: Sequence[str], mark: str, length: Callable[[str], int], tokenizer: Any
) -> tuple[list[int], int]:
    """Two-speaker and bracketed styles: a round is a request and its answer without the stop text."""
    labels, place = list(ids), 1
    labels[:1] = [IGNORE]
    for number, said in enumerate(rounds):
        parts = said.split(mark)
        if not said or len(parts) != 2:
            break
        whole, asked = length(said), length(parts[0] + mark) - 2
        if number and tokenizer is not None and not getattr(tokenizer, "legacy", True):
            whole, asked = whole - 1, asked - 1
        labels[place : place + asked] = [IGNORE] * asked
        place += whole
    labels[place:] = [IGNORE] * (len(labels) - min(place, len(labels)))
    return labels, place


def _headed(ids: list[int], text: str, length: Callable[[str], int]) -> tuple[list[int], int]:
    """Llama 3: later rounds lose the header of their user, so two turns never add up."""
    labels, place = list(ids), 0
    for number, said in enumerate(text.split(_USER_3)):
        parts = said.split(_ASSISTANT_3)
        if not said or len(parts) != 2:
            break
        whole, asked = length(said) + (number > 0), length(parts[0] + _ASSISTANT_3) + (number > 0)
        labels[place : place + asked] = [IGNORE] * asked
        place += whole
    labels[place:] = [IGNORE] * (len(labels) - min(place, len(labels)))
    return labels, place
