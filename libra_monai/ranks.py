# SPDX-License-Identifier: Apache-2.0
"""Which of several processes this is, and sums over all of them; one process without `torchrun`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist


def joined() -> bool:
    """Whether this process belongs to a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, 0 without a group."""
    return dist.get_rank() if joined() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if joined() else 1


def is_main() -> bool:
    """Whether this process writes files and logs for all."""
    return rank() == 0


def is_secondary() -> bool:
    """Whether another process writes; what handlers are `_disabled_` by."""
    return rank() > 0


def totals(numbers: Sequence[float], device: torch.device | str = "cpu") -> list[float]:
    """Sums over all processes, in double precision.

    Args:
        numbers: as many on every process.
        device: what the group's backend communicates on.
    """
    if world_size() == 1:
        return [float(number) for number in numbers]
    kind = torch.device(device)
    dtype = torch.float32 if kind.type == "mps" else torch.float64
    values = torch.tensor(list(numbers), dtype=dtype, device=kind)
    dist.all_reduce(values)
    return values.tolist()


def gather(value: Any) -> list[Any]:
    """A picklable value of every process, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()
