# SPDX-License-Identifier: Apache-2.0
"""vLLM as the writing part: it gets the prompts as embeddings, pictures included, and batches and refills by itself.

NOT TRIED: written from vLLM's documentation of prompt embeddings, without a GPU and without vLLM at hand. Tested are what goes in (the embeddings are
those our own path feeds) and which options are sent. vLLM reads the weights from the folder; here stands only the table of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, GenerationConfig

from libra_monai.errors import ConfigError, ModelError
from libra_monai.networks.language.choosing import end_ids, study_seed
from libra_monai.networks.language.prefix import Prompts, check_lengths
from libra_monai.networks.language.splice import splice_prompt
from libra_monai.registry import register
from libra_monai.types import Decoding, Generation, Steering, StudyBatch

# families whose embeddings enter as they stand in the table; Gemma multiplies them, and where is each program's own affair
FAMILIES = ("llama", "mistral", "phi3", "qwen2", "qwen3")
_INSTALL = 'Install it with `pip install "libra-monai[vllm]"` on a machine with a GPU, or leave the overlay system/vllm out.'


@register("language", "vllm")
class VllmLM(nn.Module):
    """A causal language model that vLLM runs; it writes, and learns nothing.

    Args:
        weights: folder of a whole Hugging Face checkpoint, such as `language` of a model folder.
        dtype: float type of the model in vLLM and of the embeddings that are sent.
        memory_share: share of the GPU's memory that vLLM takes; encoder and connector need the rest.

    Raises:
        ConfigError: the folder's family is none of `FAMILIES`.
        ModelError: the folder has no configuration or no table of embeddings.
    """

    takes = "embeddings"
    reads_own_weights = True  # nothing of a `ckpt` is put into it

    def __init__(self, weights: str, dtype: str = "bfloat16", memory_share: float = 0.6) -> None:
        super().__init__()
        self.weights, self.dtype, self.memory_share = weights, dtype, memory_share
        self.config = _config(weights)
        own = (Path(weights) / "generation_config.json").is_file()
        self.generation_config = GenerationConfig.from_pretrained(weights) if own else GenerationConfig.from_model_config(self.config)
        self.embed = nn.Embedding.from_pretrained(_embedding_table(Path(weights)), freeze=True)
        self._engine: Any = None

    @property
    def hidden_size(self) -> int:
        """H, the width of the embeddings."""
        return int(self.embed.weight.shape[1])

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return end_ids(self)

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> Any:
        """Refused: there is no loss.

        Raises:
            ConfigError: always.
        """
        remedy = "Use it with the workflow inference, and score with `libra-monai evaluate --predictions`."
        raise ConfigError("language 'vllm' only writes; it has no loss", remedy)

    def prompt(self, batch: StudyBatch, slots: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings [B,S',H] and mask [B,S'] of the prompts with their slots filled.

        Args:
            batch: prompts [B,S].
            slots: name -> [B,T,H].
        """
        return splice_prompt(batch, slots, self.embed)

    def generate(
        self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding, steering: Steering | None = None
    ) -> list[Generation]:
        """Write one answer a study.

        Args:
            batch: prompts [B,S].
            slots: name -> [B,T,H].
            decoding: greedy search or sampling, without guard.
            steering: not used; stop strings go to vLLM.

        Raises:
            ConfigError: vLLM is not installed, or an option that it cannot serve.
            StudyError: a prompt is longer than the model's positions.
        """
        options = sampling_options(decoding, batch.study_ids, self.end_ids)
        prompts = Prompts(*self.prompt(batch, slots))
        check_lengths(self, prompts, batch.study_ids)
        program = _vllm()
        if self._engine is None:
            self._engine = program.LLM(
                model=self.weights, enable_prompt_embeds=True, dtype=self.dtype, gpu_memory_utilization=self.memory_share,
                max_model_len=getattr(self.config, "max_position_embeddings", None),
            )  # fmt: skip
        wanted = [program.SamplingParams(**one) for one in options]
        outputs = self._engine.generate(requests(prompts, getattr(torch, self.dtype)), wanted, use_tqdm=False)
        return [generation_of(output.outputs, self.end_ids, decoding) for output in outputs]


def requests(prompts: Prompts, dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """What vLLM wants of B prompts: embeddings [s,H] of each without its padding, on the CPU.

    Args:
        prompts: B prompts.
        dtype: float type of the model.
    """
    return [{"prompt_embeds": row[mask].to(device="cpu", dtype=dtype)} for row, mask in zip(prompts.embeddings, prompts.mask, strict=True)]


def sampling_options(decoding: Decoding, study_ids: Sequence[str], ends: Sequence[int]) -> list[dict[str, Any]]:
    """Arguments of vLLM's `SamplingParams` for each study.

    Args:
        decoding: how to choose tokens.
        study_ids: identifiers; each study's seed depends on its own.
        ends: tokens that end an answer.

    Raises:
        ConfigError: an option that vLLM cannot serve with embeddings.
    """
    refused = {
        "num_beams": decoding.num_beams > 1, "guard": decoding.guard, "no_repeat_ngram_size": decoding.no_repeat_ngram_size > 0,
        "num_return_sequences": decoding.num_return_sequences > 1 and not decoding.do_sample,
    }  # fmt: skip
    for name, used in refused.items():
        if used:
            raise ConfigError(f"language 'vllm' does not serve decoding.{name}", "Leave it off, or use the language 'causal_lm'.")
    chosen = {"temperature": decoding.temperature, "top_p": decoding.top_p} if decoding.do_sample else {"temperature": 0.0}
    if decoding.do_sample and decoding.top_k:
        chosen["top_k"] = decoding.top_k
    common = {
        "n": decoding.num_return_sequences, "max_tokens": decoding.max_new_tokens, "min_tokens": decoding.min_new_tokens,
        "repetition_penalty": decoding.repetition_penalty, "stop": list(decoding.stop), "stop_token_ids": list(ends), "logprobs": 0, **chosen,
    }  # fmt: skip
    return [{**common, "seed": study_seed(decoding.seed, name)} for name in study_ids]


def generation_of(answers: Sequence[Any], ends: Sequence[int], decoding: Decoding) -> Generation:
    """The answers of one study as a generation, the others under the first.

    Args:
        answers: vLLM's `CompletionOutput`s, with `token_ids`, `finish_reason` and `cumulative_logprob`.
        ends: tokens that end an answer.
        decoding: for the score.
    """
    found = []
    for answer in answers:
        ids = list(answer.token_ids)
        said = ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]
        total = answer.cumulative_logprob
        score = None if total is None else total / max(len(ids), 1) ** decoding.length_penalty
        found.append(Generation(said, finished=answer.finish_reason == "stop", score=score))
    found[0].others = found[1:]
    return found[0]


def _vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(f"language 'vllm' needs the package vllm ({error})", _INSTALL) from error
    return vllm


def _config(weights: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(weights)
    except (OSError, ValueError) as error:
        remedy = "Give the `language` folder of a model folder that holds all weights."
        raise ModelError(f"{weights}: no configuration of a language model", remedy) from error
    if config.model_type not in FAMILIES:
        raise ConfigError(f"language 'vllm' does not take the family '{config.model_type}'", f"It takes {', '.join(FAMILIES)}.")
    return config


def _embedding_table(folder: Path) -> Tensor:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                name = next((key for key in file.keys() if key.endswith("embed_tokens.weight")), None)
                if name is not None:
                    return file.get_tensor(name).float()
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error})", "Copy or download it again.") from error
    remedy = "Give the `language` folder of a model that was saved whole (`full`), not one that points at its base."
    raise ModelError(f"{folder} holds no table of embeddings", remedy)
