# SPDX-License-Identifier: Apache-2.0
"""Many devices: joining the processes of `torchrun`, and a network that exchanges gradients or is sharded."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from libra_monai import ranks
from libra_monai.errors import ConfigError, did_you_mean

PARALLEL = ("ddp", "fsdp")


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
    """Leave the group, if this process is in one."""
    if ranks.joined():
        dist.destroy_process_group()


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
    # every process holds the same buffers: statistics are not trained here
    return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)


def shard(network: nn.Module, device: torch.device) -> nn.Module:
    """Spread parameters, gradients and optimizer state over all processes (FSDP2), layer by layer.

    Args:
        network: the report model; its language model's layers, and those of a trained encoder, are units of their own.
        device: of this process.
    """
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    for part in (network.encoder, network.language):
        for layer in layers_of(part):
            fully_shard(layer, mesh=mesh)
    return fully_shard(network, mesh=mesh)


def layers_of(part: nn.Module | None) -> list[nn.Module]:
    """The repeated blocks of a transformer: the longest list of modules in it."""
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList)] if part is not None else []
    return list(max(lists, key=len, default=[]))


@contextmanager
def whole(network: nn.Module) -> Iterator[None]:
    """Within the block every process holds all parameters, so that each generates at its own pace.

    Args:
        network: a report model, sharded or not.
    """
    sharded = [module for module in network.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(module is not network, recurse=False)
            module.reshard()
