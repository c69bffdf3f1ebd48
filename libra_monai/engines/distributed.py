# SPDX-License-Identifier: Apache-2.0
"""Many devices: joining the processes of `torchrun`, and gradients that are exchanged."""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from libra_monai import ranks
from libra_monai.errors import ConfigError, did_you_mean

PARALLEL = ("ddp", "fsdp")
_LETTING_GO = 0.2  # seconds


def join(device: torch.device) -> None:
    """Join the processes that `torchrun` started; nothing to do in a run of one.

    Args:
        device: of this process; it decides how the processes talk (NCCL on CUDA, Gloo on the CPU).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or ranks.joined():
        return
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index or 0)
    backend = dist.get_default_backend_for_device(device.type)
    dist.init_process_group(backend, device_id=device if device.type == "cuda" else None)
    atexit.register(leave)


def leave() -> None:
    """Leave the group, if this process is in one, while the interpreter still runs.

    Gloo's threads may be about to let go of tensors, for which they need the interpreter's lock. Where they ask for it
    after the interpreter has begun to end, the process aborts (pytorch/pytorch#179291); asleep, this one leaves it to them.
    """
    if ranks.joined():
        dist.destroy_process_group()
        time.sleep(_LETTING_GO)


def check_parallel(parallel: str) -> None:
    """Refuse a word that names no way of using several devices.

    Raises:
        ConfigError: it is neither `ddp` nor `fsdp`.
    """
    if parallel not in PARALLEL:
        raise ConfigError(f"parallel is '{parallel}'", did_you_mean(parallel, PARALLEL))


def distribute(network: nn.Module, parallel: str = "ddp") -> nn.Module:
    """The network a trainer drives: in a group of processes one that exchanges gradients, else the network itself.

    Args:
        network: the report model on its device; with `fsdp` sharded already by `place`.
        parallel: `ddp` or `fsdp`.

    Raises:
        ConfigError: `parallel` is neither.
    """
    check_parallel(parallel)
    if ranks.world_size() == 1 or parallel == "fsdp":
        return network
    device = next(network.parameters()).device
    ids = [device] if device.type == "cuda" else None
    # every process holds the same buffers: statistics are not trained here. Parameters may stay without a gradient, such as
    # an encoder's token of masked places and its last norm, where the connector takes what the layers give
    return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True)


def finish_gradients(parameters: Sequence[nn.Parameter], factor: float, max_norm: float | None) -> float | None:
    """Turn summed gradients into those of the step, and clip them.

    Args:
        parameters: those that have gradients, sharded or not.
        factor: what the gradients are multiplied with.
        max_norm: of all together; None leaves them.

    Returns:
        the norm before clipping, or None if it was not asked for.
    """
    sharded = [p.grad for p in parameters if isinstance(p.grad, DTensor)]
    plain = [p.grad for p in parameters if not isinstance(p.grad, DTensor)]
    if sharded:  # then what is not sharded was not exchanged yet
        for gradient in plain:
            dist.all_reduce(gradient)
            gradient /= ranks.world_size()
    groups = [group for group in (sharded, plain) if group]
    for group in groups:
        torch._foreach_mul_(group, factor)
    if max_norm is None:
        return None
    norms = [nn.utils.get_total_norm(group) for group in groups]
    norms = [float(norm.full_tensor() if isinstance(norm, DTensor) else norm) for norm in norms]
    norm = math.hypot(*norms)
    if math.isfinite(norm) and norm > max_norm:
        for group in groups:
            torch._foreach_mul_(group, max_norm / (norm + 1e-6))
    return norm
