# SPDX-License-Identifier: Apache-2.0
"""Memory, time and traffic of training the 7B on 1, 8 and 64 GPUs, from shapes alone: the tables of docs/scaling.md.

Nothing is measured here. Every assumption is an argument, so that the table can be made for other cards.
"""

from __future__ import annotations

import argparse
import json

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 4096, 11008, 32, 32017  # Llama-2 shape of libra-v1.0-7b
ATTENTION = 4 * HIDDEN * HIDDEN
MLP = 3 * HIDDEN * INTERMEDIATE
PARAMETERS = LAYERS * (ATTENTION + MLP) + 2 * VOCABULARY * HIDDEN


def lora_parameters(rank: int) -> int:
    """Of adapters on all linear layers but the head."""
    return LAYERS * rank * (4 * 2 * HIDDEN + 3 * (HIDDEN + INTERMEDIATE))


def memory(batch: int, tokens: int, rank: int | None, devices: int) -> dict[str, float]:
    """Gigabytes on each device, with bf16 weights of what is frozen and gradient checkpointing.

    Args:
        batch: studies on a device at a time.
        tokens: of a study, pictures included.
        rank: of LoRA; None trains everything (float32 weights, gradients and two Adam moments, sharded).
        devices: that parameters are sharded over; LoRA keeps a whole copy on each.
    """
    places = batch * tokens * HIDDEN * 2  # bytes of one layer's input in bf16
    one_layer = batch * tokens * (8 * HIDDEN + 4 * INTERMEDIATE) * 2  # what backward of a layer holds when recomputed
    if rank is not None:
        weights, training = PARAMETERS * 2, lora_parameters(rank) * 16
    else:
        weights, training = (2 * (PARAMETERS / LAYERS) * 4), PARAMETERS * 16 / devices
    rows = {"weights": weights, "trained": training, "kept inputs": places * LAYERS, "one layer": one_layer}
    return {name: value / 1e9 for name, value in rows.items()}


def main() -> None:
    """Print both tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1369 + 200, help="of a study (1,569)")
    parser.add_argument("--studies", type=int, default=163_000, help="of an epoch (163,000)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--peak", type=float, default=989, help="bf16 TFLOP/s of the card (989: H100 SXM)")
    parser.add_argument("--share", type=float, default=0.45, help="of the peak that is reached (0.45)")
    parser.add_argument("--link", type=float, default=50, help="GB/s between nodes for each GPU (50)")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16, help="studies on a GPU")
    args = parser.parse_args()
    flops = 4 * PARAMETERS * args.tokens  # LoRA: forward and the gradient of activations, recomputation not counted
    rate = args.peak * 1e12 * args.share / flops
    print(f"7B: {PARAMETERS / 1e9:.2f} G parameters, LoRA r {args.rank}: {lora_parameters(args.rank) / 1e6:.0f} M")
    print(f"a study: {args.tokens} tokens, {flops / 1e12:.1f} TFLOP; {rate:.1f} studies/s at {args.share:.0%} of {args.peak:.0f} TFLOP/s\n")
    print("| GPUs | studies/s | hours for the run | gradients exchanged a step (LoRA) | share of the step |")
    print("|---|---|---|---|---|")
    rows = {}
    for devices in (1, 8, 64):
        bytes_sent = 2 * (devices - 1) / devices * lora_parameters(args.rank) * 4
        wait = bytes_sent / (args.link * 1e9) if devices > 8 else bytes_sent / 300e9
        step = args.batch / rate + wait
        studies = devices * args.batch / step
        hours = args.studies * args.epochs / studies / 3600
        rows[devices] = {"studies_per_second": round(studies, 1), "hours": round(hours, 2)}
        print(f"| {devices} | {studies:.0f} | {hours:.1f} | {bytes_sent / 1e9:.1f} GB | {wait / step:.1%} |")
    print("\n| | weights | gradients, moments, masters | kept layer inputs | one layer recomputed | sum |")
    print("|---|---|---|---|---|---|")
    for name, rank, devices in ((f"LoRA r {args.rank}, any number", args.rank, 1), ("full, 8 GPUs, FSDP", None, 8), ("full, 64 GPUs, FSDP", None, 64)):
        parts = memory(args.batch, args.tokens, rank, devices)
        print(f"| {name} | " + " | ".join(f"{value:.1f} GB" for value in [*parts.values(), sum(parts.values())]) + " |")
        rows[name] = round(sum(parts.values()), 1)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
