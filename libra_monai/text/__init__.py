# SPDX-License-Identifier: Apache-2.0
"""Prompt templates, task prompts, tokenisation with picture slots, and report cleaners.

Free text lives here under a name, never in JSON, where MONAI rewrites every `#`.
"""

from libra_monai.text import cleaners, published_templates  # noqa: F401 - their import registers the built-in ones
from libra_monai.text.encoding import encode_conversation, encode_prompt, places_of, put_picture_first, split_answer
from libra_monai.text.loading import load_tokenizer
from libra_monai.text.prompts import PROMPTS, Prompt, request_text
from libra_monai.text.templates import Template

__all__ = [
    "PROMPTS",
    "Prompt",
    "Template",
    "encode_conversation",
    "encode_prompt",
    "load_tokenizer",
    "places_of",
    "put_picture_first",
    "request_text",
    "split_answer",
]
