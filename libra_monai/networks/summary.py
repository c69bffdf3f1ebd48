# SPDX-License-Identifier: Apache-2.0
"""What is trained, and what it weighs: the table a training run begins with."""

from __future__ import annotations

from typing import Any

from torch import nn

from libra_monai.networks.quantize import stored

_HEAD = ("part", "parameters", "trained", "share", "how", "MB")


def parameter_table(model: Any) -> str:
    """A table of the parts of a report model: parameters, how many are trained, how, and memory of the weights.

    Gradients and an optimiser's moments come on top, for trained parameters only.

    Args:
        model: a report model.
    """
    parts = {name: getattr(model, name) for name in ("encoder", "connector", "language")}
    rows, total, trained, memory = [_HEAD], 0, 0, 0
    for name, part in parts.items():
        if part is None:
            continue
        numbers, learned, size = _count(part)
        rows.append(_row(name, numbers, learned, _how(part, model.trainable[name]), size))
        total, trained, memory = total + numbers, trained + learned, memory + size
    rows.append(_row("all", total, trained, "", memory))
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Words to the left, numbers to the right."""
    sides = [str.ljust if title in ("part", "how") else str.rjust for title in _HEAD]
    return "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()


def _row(name: str, total: int, trained: int, how: str, size: int) -> tuple[str, ...]:
    share = f"{trained / total:.1%}" if total else "-"
    return name, f"{total:,}", f"{trained:,}", share, how, f"{size / 1e6:,.1f}"


def _count(part: nn.Module) -> tuple[int, int, int]:
    """Parameters, trained ones, bytes."""
    sizes = [(*stored(p), p.requires_grad) for p in part.parameters()]
    return sum(n for n, _, _ in sizes), sum(n for n, _, learned in sizes if learned), sum(size for _, size, _ in sizes)


def _how(part: nn.Module, trainable: bool | str) -> str:
    words = {True: "fully", False: "frozen", "frozen_with_dropout": "frozen, dropout on", "lora": "lora"}
    kind = getattr(part, "quantize", None)
    return f"{words[trainable]} over {kind}" if kind and trainable == "lora" else words[trainable] + (f", {kind}" if kind else "")
