# SPDX-License-Identifier: Apache-2.0
"""Generation in the 7B and 3B shapes on one GPU: beams against the parent's way, bandwidth of a single stream, a batch against one by one.

    python benchmarks/generation_gpu.py [--shapes 7b 3b] [--rounds 3] [--new-tokens 120] [--studies 32] [--bandwidth TB/s]

Random weights in bfloat16, 1,369 visual and 60 text tokens, answers of a fixed length, no prior. The share of the bandwidth is the bytes that a token must
read (weights but for the table of embeddings, keys and values) over the time of a token, without the prompt, over the card's peak, or over what
`--bandwidth` says. `--shapes tiny` runs anywhere, to see that the script works. NOT TRIED on a GPU. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from generation import compare, plain
from monai.bundle import ConfigParser

from libra_monai import paths
from libra_monai.checkpoints.loaded import default_dtype
from libra_monai.errors import LibraError
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import SLOT_IDS, Decoding, StudyBatch

SHAPES = {"7b": "libra_7b", "3b": "libra_3b", "tiny": "libra_tiny"}
BANDWIDTH = {"A6000": 0.77e12, "A100": 2.04e12, "H100": 3.35e12, "H200": 4.8e12}  # bytes/s, vendors' sheets
BEAMS, BATCH, TEXT = 10, 16, 60
STREAMS = {
    "growing cache": {},
    "static cache": {"static_cache": True},
    "compiled": {"static_cache": True, "compile": True},
    "compiled, reduce-overhead": {"static_cache": True, "compile": "reduce-overhead"},
}


def build(shape: str, device: torch.device) -> ReportModel:
    """A network of random weights where it is to run."""
    layer = json.loads((Path(paths.overlay_root()) / "model" / f"{SHAPES[shape]}.json").read_text())
    layer["language"].pop("meta", None)
    dtype = torch.float32 if shape == "tiny" else torch.bfloat16
    with default_dtype(dtype), torch.device(device):
        parts = {key: ConfigParser({"x": layer[key]}).get_parsed_content("x") for key in ("encoder", "connector", "language")}
    return ReportModel(**parts).to(device=device, dtype=dtype).eval()


def make_batch(model: ReportModel, studies: int, device: torch.device) -> StudyBatch:
    """Random pictures and words, without priors."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(3, model.language.model.config.vocab_size, (studies, TEXT + 1), generator=draw)
    ids[:, 4] = SLOT_IDS["image"]
    rows, none = torch.arange(studies), torch.full((studies,), -1)
    images = torch.randn(studies, model.encoder.channels, model.encoder.image_size, model.encoder.image_size, generator=draw)
    batch = StudyBatch(images, {"current": rows, "prior": none, "lateral": none}, ids, ids != -1, None, [str(n) for n in range(studies)])
    batch.images = images.to(next(model.parameters()).dtype)
    return batch.to(device)


def seconds_of(run: Callable[[], Any], rounds: int) -> float:
    """Median time of a run that ends with its ids on the host."""
    values = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        values.append(time.perf_counter() - began)
    return statistics.median(values)


def bytes_a_token(model: ReportModel, places: int) -> int:
    """What a step of one stream must read: weights but for the table of embeddings where it is not the head too, keys and values."""
    language = model.language.model
    config = language.config
    weights = sum(p.numel() * p.element_size() for p in language.parameters())
    table = language.get_input_embeddings().weight
    if not config.tie_word_embeddings:
        weights -= table.numel() * table.element_size()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return weights + 2 * config.num_hidden_layers * config.num_key_value_heads * width * table.element_size() * places


def beams(model: ReportModel, one: StudyBatch, new: int, rounds: int) -> dict[str, Any]:
    """10 beams: one prefill against the parent's way."""
    decoding = Decoding(max_new_tokens=new, min_new_tokens=new, num_beams=BEAMS, length_penalty=2.0)
    ways = {"one prefill": lambda: model.generate(one, decoding), "plain": lambda: plain(model, one, decoding)}
    ways["one prefill"]()
    return compare(ways, rounds)


def single_stream(model: ReportModel, one: StudyBatch, new: int, rounds: int, peak: float | None) -> dict[str, Any]:
    """Tokens a second of one greedy stream behind its prompt, and the share of the bandwidth."""
    prompt = model.language.prompt(one, model.slots(one))[0].shape[1]
    need, rows = bytes_a_token(model, prompt + new // 2), {}
    for name, options in STREAMS.items():
        if options.get("compile") and one.images.device.type == "cpu":
            options = {**options, "compile": "eager"}  # only to see that the script works
        runs = [lambda n=n, options=options: model.generate(one, Decoding(max_new_tokens=n, min_new_tokens=n, **options)) for n in (1, new)]
        try:
            for run in runs:
                run()  # compiles, and warms up
            short, long = (seconds_of(run, rounds) for run in runs)
        except Exception as error:  # a backend that is not there ends its own row
            rows[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"}
            print(f"  {name:26s} {rows[name]['error']}", flush=True)
            continue
        if long <= short:
            rows[name] = {"error": "too short to be measured"}
            continue
        speed = (new - 1) / (long - short)
        rows[name] = {"tokens_a_second": round(speed, 1), "share": None if peak is None else round(need * speed / peak, 3)}
        share = "peak unknown" if peak is None else f"{100 * rows[name]['share']:.0f} % of the bandwidth"
        print(f"  {name:26s} {speed:.1f} tokens/s, {share}", flush=True)
    return {"bytes_a_token": need, "streams": rows}


def batches(model: ReportModel, many: StudyBatch, new: int, rounds: int) -> dict[str, Any]:
    """Studies a second in batches against one by one, pictures and prompts included."""
    decoding = Decoding(max_new_tokens=new, min_new_tokens=new)
    parts = {size: many.split(size) for size in (BATCH, 1)}
    ways = {
        f"batch {BATCH}": lambda: [model.generate(part, decoding) for part in parts[BATCH]],
        "one by one": lambda: [model.generate(part, decoding) for part in parts[1]],
    }
    found = compare(ways, rounds)
    return {**found, "studies_a_second": {name: round(len(many) / seconds, 2) for name, seconds in found["median_s"].items()}}


def measured(shape: str, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """All rows of one shape."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = args.bandwidth * 1e12 if args.bandwidth else next((value for key, value in BANDWIDTH.items() if key in name), None)
    model = build(shape, device)
    one, many = make_batch(model, 1, device), make_batch(model, args.studies, device)
    print(f"{shape} on {name}: {BEAMS} beams, {args.new_tokens} new tokens", flush=True)
    rows = {"device": name, "beams": beams(model, one, args.new_tokens, args.rounds)}
    print("one greedy stream", flush=True)
    rows["single_stream"] = single_stream(model, one, args.new_tokens, args.rounds, peak)
    print(f"{args.studies} studies, greedy", flush=True)
    rows["batches"] = batches(model, many, args.new_tokens, max(1, args.rounds // 2))
    if device.type == "cuda":
        rows["peak_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 1)
        torch.cuda.reset_peak_memory_stats(device)
    return rows


def main() -> None:
    """Measure every shape, or say that it needs a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["7b", "3b"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=120)
    parser.add_argument("--studies", type=int, default=32)
    parser.add_argument("--bandwidth", type=float, help="peak of the card in TB/s (known for A6000, A100, H100, H200)")
    args = parser.parse_args()
    if args.new_tokens < 2:
        raise LibraError(f"--new-tokens is {args.new_tokens}", "Give 2 or more.")
    warnings.filterwarnings("ignore", message="Passing `no_repeat_ngram_size`")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result: dict[str, Any] = {"benchmark": "generation_gpu", "load": round(os.getloadavg()[0], 1)}
    for shape in args.shapes:
        if shape != "tiny" and device.type == "cpu":
            print(f"{shape}: needs a GPU", flush=True)
            result[shape] = "needs a GPU"
        else:
            with torch.no_grad():
                result[shape] = measured(shape, device, args)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
