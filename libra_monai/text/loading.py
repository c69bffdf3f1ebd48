# SPDX-License-Identifier: Apache-2.0
"""Tokenizers by folder or hub name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from libra_monai.errors import ModelError
from libra_monai.text.sentencepiece_tokenizer import SentencePieceTokenizer, is_llama_sentencepiece


def load_tokenizer(name: str | Path) -> Any:
    """A tokenizer; Llama's SentencePiece models are read as the original does, all others by Transformers.

    Args:
        name: a folder, or a hub name.

    Raises:
        ModelError: it cannot be loaded.
    """
    if is_llama_sentencepiece(name):
        return SentencePieceTokenizer(name)
    try:
        return AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError) as error:
        remedy = "Give a folder with tokenizer files, or a hub name and a network."
        raise ModelError(f"tokenizer {name} cannot be loaded ({str(error).splitlines()[0][:200]})", remedy) from error
