# SPDX-License-Identifier: Apache-2.0
"""Small things several tests need."""

from __future__ import annotations

from libra_monai.data.processor import StudyProcessor
from libra_monai.text.train_tokenizer import train_tokenizer

WORDS = ["The lungs are clear. Small left pleural effusion. No pneumothorax. Heart size is normal. USER ASSISTANT"]


def make_processor(folder, image_size=28, prompt="findings") -> StudyProcessor:
    """A processor with a tokenizer trained on a few words."""
    train_tokenizer(WORDS, folder, 300)
    return StudyProcessor(str(folder), image_size=image_size, prompt=prompt)
