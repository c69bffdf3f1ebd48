# SPDX-License-Identifier: Apache-2.0
"""One prefill a study against the plain way: time and counted work of beams, and of batches against single studies.

    python benchmarks/generation.py [--rounds 5] [--studies 200] [--new-tokens 80] [--out FILE]

The plain way is the original's: a copy of the picture stands in for a missing prior, pictures are encoded for every beam,
and the library's `generate` reads the prompt for every beam. Both ways run in turn in one process with one thread;
medians are printed with their spread, beside the load of the machine. Random weights: time does not depend on them.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from libra_monai import build
from libra_monai.networks.language.generating import plain_config
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import SLOT_IDS, Decoding, StudyBatch

SIDE, PATCH, WIDTH = 224, 14, 192  # 16 x 16 patches are 256 visual tokens


def make_model(vocabulary: int = 768) -> ReportModel:
    """A small report model of random weights that never ends an answer by itself."""
    torch.manual_seed(0)
    config = {"image_size": SIDE, "patch_size": PATCH, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    language = {
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": WIDTH, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 6, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2,
    }  # fmt: skip
    return ReportModel(
        build(kind="encoder", name="dinov2", config=config),
        build(kind="connector", name="tac", width=96, hidden_size=WIDTH, num_layers=4, num_heads=4),
        build(kind="language", name="causal_lm", config=language),
    ).eval()


def make_batch(studies: int, text: int, pictures: bool = True) -> StudyBatch:
    """Studies without priors whose prompts have `text` tokens besides the picture."""
    ids = torch.randint(3, 700, (studies, text), generator=torch.Generator().manual_seed(1))
    if pictures:
        ids = torch.cat([ids[:, :4], torch.full((studies, 1), SLOT_IDS["image"]), ids[:, 4:]], dim=1)
    rows, none = torch.arange(studies), torch.full((studies,), -1)
    images = torch.randn(studies, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    index = {"current": rows, "prior": none, "lateral": none}
    return StudyBatch(images, index, ids, torch.ones_like(ids, dtype=torch.bool), None, [str(i) for i in range(studies)])


@torch.no_grad()
def plain(model: ReportModel, batch: StudyBatch, decoding: Decoding) -> list[list[int]]:
    """Ids as the original gets them: per beam two encoded pictures, one connector and one read prompt."""
    rows = torch.arange(len(batch) * decoding.num_beams, device=batch.images.device)
    both = batch.images.repeat_interleave(decoding.num_beams, dim=0)
    index = {"current": rows, "prior": rows + len(rows), "lateral": torch.full_like(rows, -1)}
    slots = model.slots(replace(batch, images=torch.cat([both, both]), index=index, study_ids=[str(row) for row in rows.tolist()]))
    prompt, mask = model.language.prompt(batch, {name: tokens[:: decoding.num_beams] for name, tokens in slots.items()})
    inner = model.language.model
    output = inner.generate(inputs_embeds=prompt, attention_mask=mask.long(), generation_config=plain_config(inner, decoding))
    return [row.tolist() for row in output.sequences]


def count_work(model: ReportModel, run: Callable[[], Any]) -> dict[str, int]:
    """Picture rows encoded, prompt rows read and rows of single steps."""
    work = {"picture_rows": 0, "prompt_rows": 0, "step_rows": 0}

    def encoded(_: Any, args: tuple) -> None:
        work["picture_rows"] += len(args[0])

    def read(_: Any, args: tuple, given: dict) -> None:
        rows = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
        work["prompt_rows" if rows.shape[1] > 1 else "step_rows"] += len(rows)

    hooks = [
        model.encoder.register_forward_pre_hook(encoded),
        model.language.model.base_model.register_forward_pre_hook(read, with_kwargs=True),
    ]
    run()
    for hook in hooks:
        hook.remove()
    return work


def compare(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Seconds of two ways run in turn: medians, spread, ratio of the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"  {name:12s} {medians[name]:.3f} s ({min(values):.3f} to {max(values):.3f}), load {os.getloadavg()[0]:.1f}", flush=True)
    first, second = medians
    spread = {name: [round(min(values), 4), round(max(values), 4)] for name, values in seconds.items()}
    return {"median_s": medians, "spread_s": spread, "ratio": round(medians[second] / medians[first], 3)}


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=80)
    parser.add_argument("--beams", type=int, default=10)
    parser.add_argument("--out", help="file the JSON line is written to as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Passing `no_repeat_ngram_size`")
    model, one = make_model(), make_batch(1, 60)
    beams = Decoding(max_new_tokens=args.new_tokens, min_new_tokens=args.new_tokens, num_beams=args.beams, length_penalty=2.0)
    ways = {"one prefill": lambda: model.generate(one, beams), "plain": lambda: plain(model, one, beams)}
    same = ways["one prefill"]()[0].token_ids == ways["plain"]()[0][: args.new_tokens]
    print(f"{args.beams} beams, {(SIDE // PATCH) ** 2} visual tokens, {args.new_tokens} new tokens; same tokens: {same}")
    result: dict[str, Any] = {"beams": {"same_tokens": same, "work": {name: count_work(model, run) for name, run in ways.items()}}}
    result["beams"].update(compare(ways, args.rounds))
    many, greedy = make_batch(args.studies, 64, pictures=False), Decoding(max_new_tokens=args.new_tokens)
    parts = {size: many.split(size) for size in (8, 1)}
    ways = {
        "batch 8": lambda: [model.generate(part, greedy) for part in parts[8]],
        "one by one": lambda: [model.generate(part, greedy) for part in parts[1]],
    }
    print(f"{args.studies} studies at 64-token prompts")
    result["evaluation"] = {"studies": args.studies, **compare(ways, max(1, args.rounds // 2))}
    result["load"] = os.getloadavg()
    line = json.dumps(result)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
