# SPDX-License-Identifier: Apache-2.0
"""Training the 7B shape with LoRA on one GPU: studies a second, share of the peak, memory; beside Hugging Face's Trainer on the same model.

Random weights in bfloat16, frozen encoder and connector, LoRA r 128 on the language model, gradient checkpointing, 1,369 picture and 200 text
tokens. Both run the same network on the same batches, in turns. Needs a GPU with 80 GB; `--tiny` runs the small shape anywhere, to see that
the script works. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from monai.bundle import ConfigParser
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from libra_monai import paths
from libra_monai.checkpoints.loaded import default_dtype
from libra_monai.engines import TrainingStep, parameter_groups
from libra_monai.losses import TokenLoss
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import IGNORE, SLOT_IDS, StudyBatch

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "A6000": 155e12, "L40": 181e12}  # dense bf16 FLOP/s, vendors' sheets


def build(tiny: bool, device: torch.device) -> ReportModel:
    """The network with random weights, where it is to run."""
    overlay = "libra_tiny" if tiny else "libra_7b"
    layer = json.loads((Path(paths.overlay_root()) / "model" / f"{overlay}.json").read_text())
    layer["language"].pop("meta", None)
    dtype = torch.float32 if tiny else torch.bfloat16
    with default_dtype(dtype), torch.device(device):
        parts = {key: ConfigParser({"x": layer[key]}).get_parsed_content("x") for key in ("encoder", "connector", "language")}
    model = ReportModel(**parts, trainable={"language": "lora"}).to(device)
    if getattr(model.language.model, "supports_gradient_checkpointing", False):
        model.language.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.language.model.enable_input_require_grads()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # adapters and their moments in float32
    return model


def make_batch(model: ReportModel, studies: int, text: int, seed: int) -> StudyBatch:
    """A batch of random pictures and words: every study has a prior."""
    generator = torch.Generator().manual_seed(seed)
    size, vocabulary = model.encoder.image_size, model.language.model.config.vocab_size
    ids = torch.randint(3, vocabulary, (studies, text // 2), generator=generator)
    ids[:, 5] = SLOT_IDS["image"]
    targets = torch.randint(3, vocabulary, (studies, text - text // 2), generator=generator)
    rows = torch.arange(studies)
    return StudyBatch(
        images=torch.randn(2 * studies, model.encoder.channels, size, size, generator=generator),
        index={"current": rows, "prior": rows + studies, "lateral": torch.full_like(rows, -1)},
        input_ids=ids, attention_mask=ids != IGNORE, target_ids=targets, study_ids=[str(n) for n in range(studies)],
    )  # fmt: skip


class _Batches(Dataset):
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


class _ForTrainer(torch.nn.Module):
    """The network as Hugging Face's Trainer wants one."""

    def __init__(self, network, device):
        super().__init__()
        self.network, self.device = network, device

    def forward(self, batch):
        output = self.network(batch.to(self.device))
        return {"loss": output.loss_sum / output.num_tokens}


def our_steps(model, optimizer, batches, device, amp):
    """Seconds of each step of the engine's own iteration."""
    step, seconds = TrainingStep(amp=amp), []
    state = SimpleNamespace(device=device, iteration=1, output=None)
    engine = SimpleNamespace(
        network=model, optimizer=optimizer, state=state, scaler=None, non_blocking=True, loss_function=TokenLoss(),
        inferer=lambda part, network: network(part), fire_event=lambda event: None,
    )  # fmt: skip
    for batch in batches:
        began = time.perf_counter()
        step(engine, batch)
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def trainer_steps(model, batches, device, amp, folder):
    """Seconds of each step of Hugging Face's Trainer, from its start to the changed weights."""
    seconds = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            _wait(device)
            seconds.append(time.perf_counter() - self.began)

    arguments = TrainingArguments(
        folder, per_device_train_batch_size=1, num_train_epochs=1, report_to=[], save_strategy="no", logging_strategy="no",
        remove_unused_columns=False, bf16=bool(amp) and device.type == "cuda", use_cpu=device.type == "cpu", disable_tqdm=True,
        dataloader_pin_memory=False, learning_rate=1e-4,
    )  # fmt: skip
    rest = {"train_dataset": _Batches(batches), "data_collator": lambda items: {"batch": items[0]}, "callbacks": [Clock()]}
    Trainer(_ForTrainer(model, device), arguments, **rest).train()
    return seconds


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="the small shape, on any machine")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--text", type=int, default=200, help="text tokens of a study (200)")
    parser.add_argument("--steps", type=int, default=8, help="steps of each in a turn (8)")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not args.tiny and device.type != "cuda":
        parser.exit(2, "needs a GPU; --tiny runs the small shape on the CPU\n")
    torch.manual_seed(0)
    model = build(args.tiny, device)
    amp = False if args.tiny else "bf16"
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=1e-4, fused=device.type == "cuda")
    batches = [make_batch(model, args.batch, args.text, number) for number in range(args.steps)]
    our_steps(model, optimizer, batches[:2], device, amp)  # warm-up
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    ours, theirs, memory = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            ours += our_steps(model, optimizer, batches, device, amp)
            memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            theirs += trainer_steps(model, batches, device, amp, folder)
    step, other = statistics.median(ours), statistics.median(theirs)
    base = sum(p.numel() for name, p in model.language.named_parameters() if "lora_" not in name)
    tokens = model.encoder.num_tokens + args.text - 1
    flops = 4 * base * tokens * args.batch  # LoRA; recomputation not counted
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = next((value for name, value in PEAKS.items() if name in card), None)
    row = {
        "card": card, "batch": args.batch, "tokens": tokens, "step_s": round(step, 4), "studies_per_second": round(args.batch / step, 2),
        "share_of_peak": round(flops / step / peak, 3) if peak else None, "peak_memory_gb": round(memory / 1e9, 1),
        "trainer_step_s": round(other, 4), "ratio_to_trainer": round(step / other, 3),
    }  # fmt: skip
    print(f"{card}: {row['studies_per_second']} studies/s, {row['peak_memory_gb']} GB, share of peak {row['share_of_peak']}")
    print(f"a step takes {row['ratio_to_trainer']} of what Hugging Face's Trainer takes")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
