# SPDX-License-Identifier: Apache-2.0
"""Any Hugging Face causal language model as the writing part of a report model.

One wrapper for all families: pictures enter as embeddings, so nothing depends on the architecture, with one
exception. Gemma and Gemma-2 multiply embeddings by the root of their width. In the transformers 4.51 of the original
Libra the model did so with all that came in, pictures included; since the library moved the factor into the text
embedding (seen in 5.23), embeddings from outside miss it, so that `prompt` gives it to the slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from libra_monai.errors import ConfigError
from libra_monai.networks.language.choosing import end_ids
from libra_monai.networks.language.generating import stream_answer, write_answers
from libra_monai.networks.language.prefix import Prompts, check_lengths, one_study, positions, share
from libra_monai.networks.language.refilling import Refilled
from libra_monai.networks.language.splice import splice_prompt
from libra_monai.networks.language.token_loss import knows_head, lean_loss, plain_loss
from libra_monai.networks.pretrained import load_pretrained_strict
from libra_monai.networks.quantize import check_quantize
from libra_monai.networks.recompute import recompute_blocks
from libra_monai.registry import register
from libra_monai.types import IGNORE, Decoding, Generation, LanguageOutput, Steering, StudyBatch

_SCALED = ("gemma", "gemma2")  # families whose pictures are scaled as their text is


@register("language", "causal_lm")
class CausalLM(nn.Module):
    """A causal language model over prompts with picture slots.

    Args:
        weights: folder or hub name of a Hugging Face checkpoint; None starts from `config` and random weights.
        config: `model_type` and the fields of that family's configuration, used without `weights`.
        keep_logits: hand out the logits of the answer, [B,R,V]; off, since they are large.
        chunk: places at which the vocabulary head is computed at once in training, see `token_loss`.
        gradient_checkpointing: keep only what goes into each block and compute the rest again in the backward pass;
            a third more time, a fraction of the memory.
        quantize: `int8` or `nf4` for linear layers in fewer bits under adapters (QLoRA); the report model does it when
            it is told what to train, so that inference keeps its float type. See `networks.quantize`.
        compile: run the blocks through `torch.compile` where gradients are computed.
        meta: with `config`, build the shape without memory; weights must come from `ckpt`. For published sizes, which
            would otherwise stand in memory twice.

    Raises:
        ConfigError: neither or both of `weights` and `config`, an unknown model type, or no place at a time.
        ModelError: the checkpoint cannot be loaded.
    """

    takes = "embeddings"

    def __init__(
        self,
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        keep_logits: bool = False,
        meta: bool = False,
        chunk: int = 256,
        gradient_checkpointing: bool = False,
        compile: bool = False,
        quantize: str | None = None,
    ) -> None:
        super().__init__()
        if bool(weights) == bool(config):
            raise ConfigError("language 'causal_lm' needs either weights or config", "Give exactly one of them.")
        if chunk < 1:
            raise ConfigError(f"language 'causal_lm': chunk is {chunk}", "Give a positive number.")
        check_quantize(quantize)
        with torch.device("meta") if meta and config else nullcontext():
            self.model = load_pretrained_strict(AutoModelForCausalLM, weights) if weights else _new(dict(config or {}))
        self.keep_logits, self.chunk = keep_logits, chunk
        self.gradient_checkpointing, self.compiled, self.quantize = gradient_checkpointing, compile, quantize

    @property
    def hidden_size(self) -> int:
        """H, the width of the embeddings."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def embed(self) -> nn.Module:
        """The embedding of text ids, [B,S] to [B,S,H]."""
        return self.model.get_input_embeddings()

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return end_ids(self.model)

    def prompt(self, batch: StudyBatch, slots: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings [B,S',H] and mask [B,S'] of the prompts with their slots filled, as this family takes them.

        Args:
            batch: prompts [B,S].
            slots: name -> [B,T,H].
        """
        scale = getattr(self.embed, "embed_scale", None)  # absent where the model itself scales all that comes in
        if scale is not None and self.model.config.model_type in _SCALED:
            slots = {name: tokens * scale.to(tokens.dtype) for name, tokens in slots.items()}
        return splice_prompt(batch, slots, self.embed)

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> LanguageOutput:
        """Negative log likelihood of the answers; `weights` of the batch say how much each id counts.

        Prompts are padded on the left and answers on the right, so the answer begins at one place in
        all rows and the head is computed there only.

        Args:
            batch: prompts [B,S] and answers [B,R].
            slots: name -> [B,T,H].

        Raises:
            ValueError: the batch has no answers.
        """
        if batch.target_ids is None:
            raise ValueError("a loss needs target_ids; the batch has none")
        prompt, prompt_mask = self.prompt(batch, slots)
        said = batch.target_ids != IGNORE  # [B,R]
        learned = said if batch.weights is None else said & (batch.weights > 0)
        answer = self.embed(batch.target_ids.clamp(min=0)).to(prompt.dtype)
        mask = torch.cat([prompt_mask, said], dim=1)
        inputs = {
            "inputs_embeds": torch.cat([prompt, answer], dim=1),
            "attention_mask": mask.long(),
            "position_ids": positions(mask),
            "use_cache": False,
        }
        loss, logits = self._loss(inputs, batch.target_ids.masked_fill(~learned, IGNORE), batch.weights)
        return LanguageOutput(loss, learned.sum(), logits)

    def _loss(
        self, inputs: dict[str, Any], targets: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Summed loss of targets [B,R], the last R of the inputs' places, and their logits [B,R,V] on request."""
        if self.gradient_checkpointing:
            recompute_blocks(self.model)  # here, since `ckpt` may have brought another model
        run = _compiled_call() if self.compiled and torch.is_grad_enabled() else _call
        last = targets.shape[1] + 1
        if self.keep_logits or not knows_head(self.model):
            logits = run(self.model, {**inputs, "logits_to_keep": last}).logits[:, :-1]  # each place predicts the next
            return plain_loss(logits, targets, weights), logits if self.keep_logits else None
        states = run(self.model.base_model, inputs).last_hidden_state
        return lean_loss(self.model, states[:, -last:-1], targets, self.chunk, weights), None

    @torch.no_grad()
    def generate(
        self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding, steering: Steering | None = None
    ) -> list[Generation]:
        """Write one answer a study, with the tokens of the library's own `generate`; see `generating`.

        Args:
            batch: prompts [B,S].
            slots: name -> [B,T,H].
            decoding: how to choose tokens.
            steering: watches the text as it comes.

        Raises:
            ConfigError: options that exclude each other.
            StudyError: a prompt is longer than the model's positions.
        """
        return write_answers(self.model, self._prompts(batch, slots), batch.study_ids, decoding, steering)

    @torch.no_grad()
    def stream(
        self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding, steering: Steering | None = None
    ) -> Iterator[int]:
        """The ids of the answer of one study, one by one; arguments and errors as of `generate`."""
        yield from stream_answer(self.model, self._prompts(batch, slots), batch.study_ids, decoding, steering)

    def refilled(self, slots: Callable[[StudyBatch], dict[str, Tensor]], decoding: Decoding, places: int) -> Refilled:
        """Answers of a stream of batches, see `refilling`.

        Args:
            slots: from a batch to its slot tokens.
            decoding: greedy search or sampling.
            places: studies written side by side.
        """
        return Refilled(self.model, lambda batch: self._checked(batch, slots(batch)), decoding, places)

    def _checked(self, batch: StudyBatch, slots: dict[str, Tensor]) -> Prompts:
        prompts = Prompts(*self.prompt(batch, slots))
        check_lengths(self.model, prompts, batch.study_ids)
        return prompts

    def _prompts(self, batch: StudyBatch, slots: dict[str, Tensor]) -> Prompts:
        """The prompts, those of one study laid out so that what they share is read once."""
        prompts = self._checked(batch, slots)
        return share(self.model, prompts) if slots and one_study(batch) else prompts


def _call(model: nn.Module, inputs: dict[str, Any]) -> Any:
    return model(**inputs)


@cache
def _compiled_call() -> Callable:
    return torch.compile(_call, dynamic=True)  # lengths differ from batch to batch


def _new(config: dict[str, Any]) -> nn.Module:
    family = config.pop("model_type", None)
    if not family:
        raise ConfigError("language 'causal_lm': config has no model_type", "Name one, such as 'llama'.")
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config), dtype=torch.float32)
    except ValueError as error:
        raise ConfigError(f"language 'causal_lm': {str(error).splitlines()[0][:200]}", "Check the config.") from error
