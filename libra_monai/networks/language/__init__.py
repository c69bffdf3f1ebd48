# SPDX-License-Identifier: Apache-2.0
"""Tokens to text, and the loss; importing this room registers the built-in language models."""

from libra_monai.networks.language.causal_lm import CausalLM
from libra_monai.networks.language.vllm_lm import VllmLM

__all__ = ["CausalLM", "VllmLM"]
