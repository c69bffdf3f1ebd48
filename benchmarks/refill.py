# SPDX-License-Identifier: Apache-2.0
"""Batches written to their end against places that are refilled: passes of the language model, rows in them, and time.

    python benchmarks/refill.py [--patients 40] [--places 8 32] [--rounds 3] [--new-tokens 160]

The shipped small model, greedy, on phantom studies in the order of their datalist; pictures are read before the clock starts. Both ways run in turn in
one process with one thread, and must write the same tokens. A pass reads all weights of the language model whatever its rows, which is what
counts on a GPU; on a CPU a small model's time follows the rows. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from libra_monai import paths
from libra_monai.checkpoints import LoadedModel, load_pretrained
from libra_monai.data import StudyDataset, load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.inferers import ReportInferer
from libra_monai.types import Decoding, StudyBatch


def written_to_the_end(loaded: LoadedModel, inferer: ReportInferer, batches: list[StudyBatch], places: int) -> dict[str, list[int]]:
    """Study -> ids, batch by batch."""
    found = {}
    for batch in batches:
        found |= dict(zip(batch.study_ids, (g.token_ids for g in inferer(batch, loaded.model)), strict=True))
    return found


@torch.no_grad()
def refilled(loaded: LoadedModel, inferer: ReportInferer, batches: list[StudyBatch], places: int) -> dict[str, list[int]]:
    """Study -> ids, as places become free."""
    stream, found = inferer.refilling(loaded.model, places), {}
    for number, batch in enumerate(batches):
        stream.take(batch)
        for study, generation in stream.written(drain=number == len(batches) - 1):
            found[study.study_ids[0]] = generation.token_ids
    return found


WAYS = {"batches": written_to_the_end, "refilled": refilled}


def count_work(loaded: LoadedModel, run: Callable[[], Any]) -> dict[str, int]:
    """Passes and rows of prompts and of single steps, of the language model."""
    work = {"prompt_passes": 0, "prompt_rows": 0, "step_passes": 0, "step_rows": 0}

    def read(_: Any, args: tuple, given: dict) -> None:
        rows = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
        kind = "prompt" if rows.shape[1] > 1 else "step"
        work[f"{kind}_passes"] += 1
        work[f"{kind}_rows"] += len(rows)

    hook = loaded.model.language.model.base_model.register_forward_pre_hook(read, with_kwargs=True)
    run()
    hook.remove()
    return work


def compared(loaded: LoadedModel, batches: list[StudyBatch], places: int, decoding: Decoding, rounds: int) -> dict[str, Any]:
    """Work and seconds of both ways."""
    inferer = ReportInferer(decoding, loaded.processor)
    runs = {name: lambda way=way: way(loaded, inferer, batches, places) for name, way in WAYS.items()}
    texts = {name: run() for name, run in runs.items()}
    result: dict[str, Any] = {"places": places, "same_tokens": texts["batches"] == texts["refilled"]}
    lengths = sorted(map(len, texts["batches"].values()))
    result["lengths"] = [lengths[0], statistics.median(lengths), lengths[-1]]
    result["work"] = {name: count_work(loaded, run) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    result["median_s"] = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    result["spread_s"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in seconds.items()}
    result["ratio"] = round(result["median_s"]["batches"] / result["median_s"]["refilled"], 3)
    return result


def show(result: dict[str, Any]) -> None:
    """Print one comparison."""
    low, middle, high = result["lengths"]
    print(f"{result['places']} places, answers of {low} to {high} tokens (median {middle:g}); same tokens: {result['same_tokens']}")
    for name, work in result["work"].items():
        counted = ", ".join(f"{value} {kind.replace('_', ' ')}" for kind, value in work.items())
        low, high = result["spread_s"][name]
        print(f"  {name:9s} {counted}; {result['median_s'][name]:.2f} s ({low:.2f} to {high:.2f}), load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    """Draw, read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--places", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=160)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded, results = load_pretrained(paths.tiny_model()), []
    with tempfile.TemporaryDirectory() as folder:
        records = load_records(generate(folder, args.patients, 31, {"test": 1.0}, long_side=256, workers=1), "test")
        dataset = StudyDataset(records, loaded.processor.pictures(folder))
        items = [dataset[number] for number in range(len(records))]
    print(f"{len(records)} studies")
    for places in args.places:
        batches = [loaded.processor.collate(items[start : start + places]) for start in range(0, len(items), places)]
        results.append(compared(loaded, batches, places, Decoding(max_new_tokens=args.new_tokens), args.rounds))
        show(results[-1])
    print(json.dumps({"benchmark": "refill", "studies": len(records), "results": results, "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
