# SPDX-License-Identifier: Apache-2.0
"""A report model spread over processes (FSDP2), and whole again where it generates or is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from libra_monai import ranks

_WHOLE: WeakSet[nn.Module] = WeakSet()  # networks in a block of `whole`


def shard(network: nn.Module, device: torch.device) -> nn.Module:
    """Spread parameters, gradients and optimizer state over all processes (FSDP2), layer by layer.

    Args:
        network: the report model; its language model's layers, and those of a trained encoder, are units of their own.
        device: of this process.
    """
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    scalars = {p for p in network.parameters() if p.ndim == 0}  # cannot be cut up: every process keeps them
    for part in (network.encoder, network.language):
        for layer in layers_of(part):
            fully_shard(layer, mesh=mesh)
    return fully_shard(network, mesh=mesh, ignored_params=scalars)


def is_sharded(network: nn.Module) -> bool:
    """Whether `shard` has spread a network."""
    return isinstance(network, FSDPModule)


def layers_of(part: nn.Module | None) -> list[nn.Module]:
    """The repeated blocks of a transformer: the longest list of modules in it."""
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList)] if part is not None else []
    return list(max(lists, key=len, default=[]))


@contextmanager
def whole(network: nn.Module) -> Iterator[None]:
    """Within the block every process holds all parameters, so that each generates at its own pace.

    All processes must enter, and as often; a block within a block changes nothing.

    Args:
        network: a report model, sharded or not.
    """
    sharded = [module for module in network.modules() if isinstance(module, FSDPModule)]
    if not sharded or network in _WHOLE:
        yield
        return
    _WHOLE.add(network)
    for module in sharded:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        _WHOLE.discard(network)
        for module in sharded:
            module.set_reshard_after_forward(module is not network, recurse=False)
            module.reshard()


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What `state_dict` gives, as the module holds it now: under `whole` these are whole tensors, where FSDP's own are not.

    Args:
        module: any part.
    """
    if ranks.world_size() == 1:
        return {name: value.detach() for name, value in module.state_dict().items()}  # layers of few bits hand out floats there
    found: dict[str, Tensor] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        kept = {key: value for key, value in child._buffers.items() if key not in child._non_persistent_buffers_set}
        found |= {prefix + key: value.detach() for key, value in (*child._parameters.items(), *kept.items()) if value is not None}
    return found


def whole_tensor(value: Tensor) -> Tensor:
    """A copy of a tensor on the CPU, put together from all processes; each of them must ask."""
    gathered = value.full_tensor() if isinstance(value, DTensor) else value
    return gathered.detach().cpu().clone()


def spread_like(value: Tensor, target: Tensor) -> Tensor:
    """A whole tensor as the target is held: on its device, and cut up as it is.

    Args:
        value: whole, the same on every process.
        target: what it will be copied to.
    """
    if isinstance(target, DTensor):
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    return value.to(target.device)
