# SPDX-License-Identifier: Apache-2.0
"""Rebuild the shipped small weights from nothing: phantom studies, tokenizer, five stages of training.

Every stage is a bundle workflow with an overlay; this command only calls them with fixed seeds, and puts the result into
`bundle/models/libra_tiny`. Each process computes on one thread: for a network so small, two threads that share a step mostly
wait for each other, and two processes that share a batch do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATIENTS, SEED = 3500, 100
VERSION = "0.4.0"
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}  # a rank of 64 takes twice the time, for a width of 192
EPOCHS = {"pretrain_encoder": 7, "pretrain_reading": 2, "pretrain_connector": 7, "align": 2, "finetune_lora": 3}
# stages that compare learn it from pairs in which any study of the patient, or the same picture, is the prior
WITH_PAIRS = ("pretrain_connector", "align", "finetune_lora")
# rates of Muon for the matrices of encoder and connector, which learn with it what took AdamW more than twice the steps (docs/log.md)
MATRIX_RATES = {"pretrain_encoder": 6e-3, "pretrain_connector": 3e-3, "align": 2e-3, "finetune_lora": 1e-3}
# sentences that compare are a small part of what is written and of what is learned; `stable` is claimed where it is not sure
CHANGE_WEIGHTS = {"stable": 3.5, "improved": 2.0, "worsened": 2.0}
CARD = {"name": "libra_tiny", "version": VERSION, "training_data": "synthetic"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai tiny-model`."""
    parser.add_argument("--work", default="runs/tiny_model", metavar="DIR", help="folder for data and stages")
    parser.add_argument("--out", metavar="DIR", help="model folder to write (bundle/models/libra_tiny)")
    parser.add_argument("--patients", type=int, default=PATIENTS, metavar="N", help=f"patients ({PATIENTS})")
    parser.add_argument("--epochs-scale", type=float, default=1.0, metavar="X", help="factor on all epochs (1.0)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="processes that share a stage (2); 1 where they cannot meet")


def run(args: argparse.Namespace) -> int:
    """Run all steps; finished ones are not repeated."""
    from libra_monai import paths

    started, work = time.monotonic(), Path(args.work)
    datalist = _draw(work, args.patients)
    tokenizer = _tokenizer(work, datalist)
    stages = _stages(work)
    for stage, epochs in EPOCHS.items():
        if (work / stage / "last" / "report_model.json").is_file():
            print(f"{stage}: already there", flush=True)
            continue
        print(f"{stage}: begins", flush=True)
        _train(_command(stage, stages[stage], work, (datalist, tokenizer), max(1, round(epochs * args.epochs_scale))), args.processes)
        print(f"{stage}: done after {(time.monotonic() - started) / 60:.1f} min", flush=True)
    out = Path(args.out or Path(paths.bundle_root()) / "models" / "libra_tiny")
    _ship(work / "finetune_lora" / "last", out, args.patients)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
    print(f"{out}: {size:.1f} MB, {(time.monotonic() - started) / 60:.1f} min in all")
    return 0


def _stages(work: Path) -> dict[str, dict[str, Any]]:
    """Overrides of each stage: where its parts come from, and the small model's own rates."""
    seen = str(work / "pretrain_connector/last")
    parts = {"encoder": seen, "connector": seen, "language": str(work / "pretrain_reading/last")}
    batches = {"learning_rate": 1e-3, "batch_size": 16}
    grouped = {**batches, "group_by": "findings"}
    compare = {**batches, "connector#start": "last_layer", "connector#dropout": 0.0}
    align = {**grouped, "ckpt": parts, "connector#dropout": 0.0}
    # the connector goes on learning: 0.4 M parameters trained against a frozen language model are not done yet
    trained = {"trainable": {"connector": True, "language": "lora"}, "lora": LORA}
    finetune = {**align, **trained, "ckpt": str(work / "align/last"), "change_weights": CHANGE_WEIGHTS}
    return {
        "pretrain_encoder": batches,
        "pretrain_reading": grouped,
        "pretrain_connector": {**compare, "ckpt": {"encoder": str(work / "pretrain_encoder/last")}},
        "align": align,
        "finetune_lora": finetune,
    }


def _draw(work: Path, patients: int) -> Path:
    from libra_monai.data.phantom.generate import generate

    return generate(work / "phantom", patients, SEED, {"training": 0.92, "validation": 0.04, "test": 0.04})


def _tokenizer(work: Path, datalist: Path) -> Path:
    from libra_monai.data import load_records
    from libra_monai.text import PROMPTS, request_text
    from libra_monai.registry import find
    from libra_monai.text.train_tokenizer import train_tokenizer

    folder = work / "tokenizer"
    form, texts = find("template", "libra_v1"), []
    for record in load_records(datalist, "training"):
        facts, findings, impression = (PROMPTS[name] for name in ("findings_from_facts", "findings", "impression"))
        texts += [form.open(request_text(prompt, record)) for prompt in (facts, impression)]
        texts += [f" {record[prompt.target]}{form.stop}" for prompt in (findings, impression)]
    train_tokenizer(texts, folder, vocab_size=768)
    return folder


def _command(stage: str, options: dict, work: Path, data: tuple[Path, Path], epochs: int) -> list[str]:
    """Words after `python -m` that train a stage on a datalist with a tokenizer."""
    datalist, tokenizer = data
    given = {
        "output_dir": str(work / stage),
        "data_root": str(datalist.parent),
        "datalist": str(datalist),
        "processor#tokenizer": str(tokenizer),
        "max_epochs": epochs,
        "val_interval": max(1, epochs // 2),
        "save_interval": None,
        "full": True,
        "picture_cache": str(work / "pictures"),
        **options,
    }
    overlays = [f"stage/{stage}", *(["stage/phantom_pairs"] if stage in WITH_PAIRS else [])]
    if stage in MATRIX_RATES:
        overlays.append("stage/muon")
        given["optimizer_def#matrix_lr"] = MATRIX_RATES[stage]
    words = ["libra_monai", "run", "train", *overlays]
    for name, value in given.items():
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


def _train(words: list[str], processes: int) -> None:
    """Run a stage, shared by so many processes.

    Raises:
        CalledProcessError: it failed.
    """
    shared = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] if processes > 1 else []
    subprocess.run([sys.executable, "-m", *shared, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def _ship(trained: Path, out: Path, patients: int) -> None:
    from libra_monai.checkpoints import load_pretrained, save_model

    loaded = load_pretrained(trained)
    about = f"Phantom studies of {patients} patients, seed {SEED}. Synthetic, not for clinical use."
    save_model(loaded.model, loaded.processor, out, CARD | {"description": about}, half=True)
