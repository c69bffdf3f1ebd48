# SPDX-License-Identifier: Apache-2.0
"""Train a small byte-level tokenizer on reports, for models that start from nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_SPECIAL = ["<pad>", "<s>", "</s>"]


def train_tokenizer(texts: Iterable[str], folder: str | os.PathLike, vocab_size: int = 1024) -> None:
    """Train and save a byte-level BPE tokenizer in the Hugging Face layout.

    Every text is encodable, since all 256 bytes are in the vocabulary.

    Args:
        texts: training texts (reports, prompts, templates).
        folder: where to save.
        vocab_size: size with the three special tokens and the 256 bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left"
    )
    fast.save_pretrained(str(folder))
