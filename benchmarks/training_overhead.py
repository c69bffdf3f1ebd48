# SPDX-License-Identifier: Apache-2.0
"""What the training loop costs: a step of the engine against a bare PyTorch loop, and checkpoints and metrics beside it.

The small model, stage 2 (connector and LoRA), phantom studies held in memory. Steps of the two loops alternate in blocks in one process, so
that a busy machine slows both. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from ignite.engine import Events
from torch import nn

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate

BLOCK = 8  # steps of one loop before the other's turn


def bare_steps(network, optimizer, schedule, batches, device):
    """Seconds of each step of a loop as one writes it by hand: mean loss of the batch, clip, step, rate."""
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        network.train()
        optimizer.zero_grad(set_to_none=True)
        output = network(batch.to(device))
        loss = output.loss_sum / output.num_tokens
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        schedule.step()
        float(loss)
        seconds.append(time.perf_counter() - began)
    return seconds


class Alternate:
    """Handler that measures the engine's own steps, and lets the bare loop take its turn on the same batches."""

    def __init__(self, network, optimizer, schedule):
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        self.ours, self.bare, self.block = [], [], []

    def attach(self, engine):
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._begin)

    def _begin(self, engine):
        self.began = time.perf_counter()

    def end(self, engine):
        """Last of all handlers of the step."""
        self.ours.append(time.perf_counter() - self.began)
        self.block.append(engine.state.batch)
        if len(self.block) == BLOCK:
            self.bare += bare_steps(self.network, self.optimizer, self.schedule, self.block, engine.state.device)
            self.block = []


def metric_seconds(workflow: LibraWorkflow, folder: Path, studies: int = 64) -> float:
    """Seconds that the metrics of a validation take for as many drafts; each draft is another study's reference."""
    records = [r for split in ("training", "validation") for r in load_records(folder / "datalist.json", split)][:studies]
    texts = [record["findings"] for record in records]
    metrics = workflow.parser.get_parsed_content("metrics")
    began = time.perf_counter()
    for metric in metrics:
        metric.reset()
        metric.update([*texts[1:], texts[0]], texts, records)
        metric.compute()
    return time.perf_counter() - began


def measure(folder: Path, out: Path, steps: int, interval: dict | None) -> tuple[list[float], list[float], float]:
    """Seconds of our steps and of the bare ones, and of the metrics of one validation."""
    options = {
        "datalist": str(folder / "datalist.json"), "data_root": str(folder), "output_dir": str(out), "batch_size": 16,
        "train_limit": 64, "val_limit": 16, "max_epochs": -(-steps // 4), "augment": [], "save_interval": interval,
        "val_interval": None, "trainable": {"connector": True, "language": "lora"}, "lora": {"r": 16}, "resume": False,
    }  # fmt: skip
    workflow = LibraWorkflow("train", ["stage/finetune_lora"], options)
    workflow.initialize()
    get = workflow.parser.get_parsed_content
    trainer, watch = get("train#trainer"), Alternate(get("network"), get("optimizer_def"), get("lr_scheduler_def"))
    watch.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch.end)
    workflow.run()
    return watch.ours, watch.bare, metric_seconds(workflow, folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=64, help="steps of each loop (64)")
    parser.add_argument("--interval", type=int, default=200, help="steps between checkpoints and between validations of a real run (200)")
    args = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "phantom"
        generate(folder, 40, 11, {"training": 0.6, "validation": 0.3, "test": 0.1})
        plain, bare, scoring = measure(folder, Path(temporary) / "plain", args.steps, None)
        saving, _, _ = measure(folder, Path(temporary) / "saving", args.steps, {"steps": 1})
    step, by_hand, with_saving = (statistics.median(times[4:]) for times in (plain, bare, saving))
    checkpoint = with_saving - step
    row = {
        "step_ms": step * 1e3, "bare_step_ms": by_hand * 1e3, "over_bare_percent": (step / by_hand - 1) * 100,
        "checkpoint_ms": checkpoint * 1e3, "checkpoint_percent": checkpoint / (step * args.interval) * 100,
        "metrics_ms": scoring * 1e3, "together_percent": (checkpoint + scoring) / (step * args.interval) * 100,
        "steps": len(plain), "interval": args.interval, "load": os.getloadavg()[0],
    }  # fmt: skip
    print(f"step of the engine {step * 1e3:.1f} ms, of a bare loop {by_hand * 1e3:.1f} ms: {row['over_bare_percent']:+.1f} %")
    print(f"a checkpoint takes {checkpoint * 1e3:.0f} ms, the metrics of 64 drafts {scoring * 1e3:.0f} ms:")
    print(f"every {args.interval} steps both together are {row['together_percent']:.2f} % of the time of the steps")
    print(json.dumps({name: round(value, 3) for name, value in row.items()}))


if __name__ == "__main__":
    main()
