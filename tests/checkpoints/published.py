# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints in the published layouts: the original's own tensors, written to folders in every way they come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

REFERENCE = Path(__file__).parents[1] / "parity" / "reference"
CONFIG = json.loads((REFERENCE / "e2e_config.json").read_text())
STATE = load_file(str(REFERENCE / "e2e_weights.safetensors"))
TOWER = {name: value for name, value in STATE.items() if "vision_tower." in name}
CONNECTOR = {name: value for name, value in STATE.items() if "mm_projector." in name}
LANGUAGE = {name: value for name, value in STATE.items() if name not in TOWER and name not in CONNECTOR}


def write(folder: Path, state: dict, shape: str = "safetensors", vocab_size: int = 420, **config) -> Path:
    """A published folder.

    Args:
        folder: where to.
        state: tensors under their published names.
        shape: `safetensors`, `bin`, `sharded` (safetensors with index) or `sharded_bin`.
        vocab_size: the language model is given as many rows, so that the tokenizer fits.
        config: fields that differ from the reference.
    """
    folder.mkdir(parents=True)
    state = {name: resized(value, vocab_size) if _has_rows(name) else value for name, value in state.items()}
    if shape == "safetensors":
        save_file(state, str(folder / "model.safetensors"))
    elif shape == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        names = sorted(state)
        files = {0: "part-1", 1: "part-2"}
        suffix = ".bin" if shape == "sharded_bin" else ".safetensors"
        places = {name: files[number % 2] + suffix for number, name in enumerate(names)}
        for file in set(places.values()):
            own = {name: state[name] for name in names if places[name] == file}
            torch.save(own, folder / file) if suffix == ".bin" else save_file(own, str(folder / file))
        (folder / f"any{suffix}.index.json").write_text(json.dumps({"weight_map": places}))
    fields = {
        "model_type": "libra", **CONFIG["llm"], **CONFIG["mm"], "mm_vision_tower": "microsoft/rad-dino",
        "image_aspect_ratio": "pad", "torch_dtype": "float16", "vocab_size": vocab_size, **config,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(fields))
    shutil.copyfile(REFERENCE / "tiny_llama_sp.model", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False}))
    return folder


def resized(value: torch.Tensor, rows: int) -> torch.Tensor:
    """The tensor with its rows repeated up to a number."""
    return value.repeat(-(-rows // len(value)), 1)[:rows].contiguous()


def _has_rows(name: str) -> bool:
    return name.endswith(("embed_tokens.weight", "lm_head.weight"))


def write_tower(folder: Path) -> Path:
    """The reference encoder as a Hugging Face folder of its own."""
    from libra_monai.checkpoints.published.names import encoder_from_published

    model = Dinov2Model(Dinov2Config(**CONFIG["vision"]))
    model.load_state_dict(encoder_from_published(TOWER, model.state_dict()))
    model.save_pretrained(folder)
    return folder


def clip_tower(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A tiny CLIP vision model: its folder, and its tensors as a checkpoint with an adapted tower holds them."""
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=28, patch_size=14
    )
    model = CLIPVisionModel(config)
    model.save_pretrained(folder)
    prefix = "model.vision_tower.vision_tower.vision_model."
    return folder, {prefix + name.removeprefix("vision_model."): v for name, v in model.state_dict().items()}


def projector(kind: str, width: int = 48, hidden: int = 64) -> dict[str, torch.Tensor]:
    """Tensors of `linear` or `mlp{k}x_gelu` under Libra's names."""
    torch.manual_seed(5)
    if kind == "linear":
        return {"model.mm_projector.projector.weight": torch.randn(hidden, width), "model.mm_projector.projector.bias": torch.randn(hidden)}
    state = {}
    for number in range(int(kind[3:-6])):
        size = width if number == 0 else hidden
        state[f"model.mm_projector.projector.{2 * number}.weight"] = torch.randn(hidden, size) * size**-0.5
        state[f"model.mm_projector.projector.{2 * number}.bias"] = torch.randn(hidden)
    return state
