# SPDX-License-Identifier: Apache-2.0
"""Parity of numbers: connectors with gradients, pixels, and a whole tiny model with its tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from libra_monai.checkpoints.published.building import model_from_published
from libra_monai.checkpoints.published.names import connector_from_published
from libra_monai.data.processor import normalise_pixels, normalising_table
from libra_monai.networks.connectors import LinearConnector, MlpConnector, TemporalAlignmentConnector
from libra_monai.networks.language.splice import splice_prompt
from libra_monai.networks.report_model import ReportModel
from libra_monai.transforms import FitSquare
from libra_monai.types import IGNORE, Decoding, EncoderOutput, StudyBatch

Found = list[tuple[str, float, float]]
# float32 and bfloat16 of a connector, its gradients (relative), logits and loss of a whole model
TAC, TAC_BF16, GRADIENT, LOGITS, LOSS = 2e-6, 5e-2, 1e-5, 5e-5, 1e-5
# The worst single tensor is a sum over all tokens and channels that nearly cancels; there the original's own float32
# gradients are 1.3e-5 away from those computed in float64 (tac_dims_b1), so 1e-5 cannot be asked of one tensor.
ONE_GRADIENT = 5e-5
_BEAM = {"num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 3}


def tac(path: Path) -> Found:
    """A TAC: its output, and where the file has them the gradients of every parameter and both inputs.

    Args:
        path: `tac_*.safetensors`; `tac_config.json` stands beside it.
    """
    tensors = load_file(str(path))
    cases = json.loads((path.parent / "tac_config.json").read_text(encoding="utf-8"))["cases"].values()
    heads = next(c["num_attention_heads"] for c in cases if c.get("file") == path.name)
    connector = TemporalAlignmentConnector(
        tensors["input.current"].shape[-1], tensors["output"].shape[-1], tensors["input.current"].shape[1], heads
    ).eval()
    dtype = tensors["output"].dtype
    connector.to(dtype).load_state_dict(connector_from_published(_below(tensors, "param.")))
    same = torch.equal(tensors["input.current"], tensors["input.prior"])
    inputs = [tensors[f"input.{name}"].requires_grad_() for name in ("current", "prior")]
    layers = inputs[0] if same else torch.cat(inputs)
    rows = torch.arange(len(inputs[0]))
    index = {"current": rows, "prior": torch.full_like(rows, -1) if same else rows + len(rows)}
    output = connector(EncoderOutput(layers), index, nn.Identity())["image"]
    found = [("output", _far(output, tensors["output"]), TAC if dtype == torch.float32 else TAC_BF16)]
    if "cotangent" in tensors and not same:
        (output * tensors["cotangent"]).sum().backward()
        wanted = connector_from_published(_below(tensors, "grad.param."))
        have = {name: p.grad for name, p in connector.named_parameters() if p.grad is not None}
        for value, name in zip(inputs, ("current", "prior"), strict=True):
            have[name], wanted[name] = value.grad, tensors[f"grad.input.{name}"]
        found += _gradients(have, wanted)
    return found


def projector(path: Path) -> Found:
    """A linear or MLP connector, which looks at the current picture only.

    Args:
        path: `projector_*.safetensors`.
    """
    tensors = load_file(str(path))
    state = connector_from_published(_below(tensors, "param."))
    width, hidden_size = tensors["input"].shape[-1], tensors["output"].shape[-1]
    depth = sum(name.endswith("weight") for name in state)
    linear = "projection.weight" in state
    connector = LinearConnector(width, hidden_size) if linear else MlpConnector(width, hidden_size, depth)
    connector.load_state_dict(state)
    pair = tensors["input"]  # [2,B,1,N,D]: current, prior
    rows = torch.arange(pair.shape[1])
    index = {"current": rows, "prior": rows + len(rows)}
    with torch.no_grad():
        output = connector(EncoderOutput(pair.flatten(0, 1)), index, nn.Identity())["image"]
    return [("output", _far(output, tensors["output"]), TAC)]


def pixels(path: Path) -> Found:
    """File pixels to normalised pixels, by bytes.

    Args:
        path: `preprocess.json`; `preprocess.safetensors` stands beside it.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    tensors = load_file(str(path.parent / "preprocess.safetensors"))
    about, grey = content["processor"], content["inference_pad_colour"][0]
    size, mean, std = about["crop_size"]["height"], about["image_mean"], about["image_std"]
    modes = {"inference_pad_mean": ("pad", grey), "train_pad_black": ("pad", 0), "center_crop": ("crop", 0)}
    hashes, error = 0, 0.0
    for name, wanted in content["cases"].items():
        case, mode = name.rsplit(".", 1)
        aspect, fill = modes[mode]
        square = FitSquare(size, fill, aspect)(tensors[f"{case}.gray_u8"].unsqueeze(0))
        channel = normalise_pixels(torch.as_tensor(square).unsqueeze(0), normalising_table(3, mean, std))[0, 0].contiguous()
        digest = hashlib.sha256(np.ascontiguousarray(channel.numpy())).hexdigest()
        hashes += digest != wanted["sha256_float32_channel0"]
        error = max(error, _far(channel[::4, ::4], tensors[f"{name}.ch0_every4th"]))
    return [("pixel values", error, 0.0), (f"checksums of {len(content['cases'])} pictures", float(hashes), 0.0)]


@torch.no_grad()
def end_to_end(path: Path) -> Found:
    """A whole model from the original's checkpoint: features, logits, loss, greedy and beam tokens.

    Args:
        path: `e2e_io.safetensors`; configuration and weights stand beside it.
    """
    io = load_file(str(path))
    config = json.loads((path.parent / "e2e_config.json").read_text(encoding="utf-8"))
    weights = load_file(str(path.parent / "e2e_weights.safetensors"))
    model = model_from_published({"model_type": "libra", **config["llm"], **config["mm"]}, weights, config["vision"])
    model = model.float().eval()
    found = _train_case(model, _below(io, "train.")) if "train.images" in io else []
    for name in sorted({key.split(".")[0] for key in io if key.startswith("gen")}):
        found += [(f"{name} {what}", error, limit) for what, error, limit in _generation(model, _below(io, f"{name}."))]
    return found


def _train_case(model: ReportModel, io: Mapping[str, Tensor]) -> Found:
    features = logits = loss = 0.0
    tokens = 0
    for row in range(len(io["input_ids"])):
        length = int(io["attention_mask"][row].sum())
        batch = _batch(io["images"][:, row], io["input_ids"][row, :length])
        slots = model.slots(batch)
        features = max(features, _far(slots["image"][0], io["image_features"][row]))
        embeddings, _ = splice_prompt(batch, slots, model.language.embed)
        have = model.language.model(inputs_embeds=embeddings).logits[0]
        logits = max(logits, _far(have, io["logits"][row, : len(have)]))
        labels = io["labels"][row, :length].long()
        start = int((labels != IGNORE).nonzero()[0])
        stop = int((labels != IGNORE).nonzero()[-1]) + 1
        output = model(_batch(io["images"][:, row], io["input_ids"][row, :start], labels[start:stop]))
        loss, tokens = loss + float(output.loss_sum), tokens + int(output.num_tokens)
    return [
        ("image features", features, LOGITS),
        ("training logits", logits, LOGITS),
        ("training loss", abs(loss / tokens - float(io["loss"])), LOSS),
    ]


def _generation(model: ReportModel, io: Mapping[str, Tensor]) -> Found:
    batch = _batch(io["images"][:, 0], io["input_ids"][0])
    embeddings, _ = splice_prompt(batch, model.slots(batch), model.language.embed)
    found = [("prefill logits", _far(model.language.model(inputs_embeds=embeddings).logits, io["prefill_logits"]), LOGITS)]
    for name in sorted(key for key in io if key.endswith("new_tokens")):
        wanted = io[name][0].tolist()
        options = _BEAM if name.startswith("beam") else {}
        have = model.generate(batch, Decoding(max_new_tokens=len(wanted), **options))[0].token_ids
        ends = model.language.model.generation_config.eos_token_id
        wanted = wanted[: wanted.index(ends)] if ends in wanted else wanted
        found.append((name, float(sum(a != b for a, b in zip(have, wanted, strict=False)) + abs(len(have) - len(wanted))), 0.0))
    return found


def _batch(pair: Tensor, ids: Tensor, target: Tensor | None = None) -> StudyBatch:
    """One study of a pair of pictures [2,C,h,w]; a prior equal to the current picture is no prior."""
    dummy = torch.equal(pair[0], pair[1])
    index = {"current": [0], "prior": [-1 if dummy else 1], "lateral": [-1]}
    return StudyBatch(
        images=pair[:1] if dummy else pair,
        index={view: torch.tensor(rows) for view, rows in index.items()},
        input_ids=ids.long()[None],
        attention_mask=torch.ones(1, len(ids), dtype=torch.bool),
        target_ids=None if target is None else target[None],
        study_ids=["reference"],
    )


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _far(have: Tensor, wanted: Tensor) -> float:
    """The largest absolute difference."""
    if have.shape != wanted.shape:
        raise ValueError(f"shape {tuple(have.shape)} for {tuple(wanted.shape)}")
    return float((have.detach().double() - wanted.double()).abs().max())


def _gradients(have: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Found:
    """Relative error of all gradients as one vector, and of the worst single one (by its largest value)."""
    missing = sorted(set(wanted) - set(have))
    if missing:
        raise ValueError(f"no gradient of {missing[0]}")
    apart = torch.cat([(have[name].double() - value.double()).flatten() for name, value in wanted.items()])
    whole = torch.cat([value.double().flatten() for value in wanted.values()])
    single = max(_far(have[name], value) / float(value.abs().max()) for name, value in wanted.items())
    return [
        (f"{len(wanted)} gradients together", float(apart.norm() / whole.norm()), GRADIENT),
        ("worst single gradient", single, ONE_GRADIENT),
    ]
