# SPDX-License-Identifier: Apache-2.0
"""The start and the end of every workflow."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from types import TracebackType

import torch
from monai.utils import set_determinism
from torch import nn

from libra_monai import ranks
from libra_monai.engines.distributed import check_parallel, join
from libra_monai.errors import ConfigError, did_you_mean, innermost
from libra_monai.files import check_writable
from libra_monai.handlers.failures import FailureLog
from libra_monai.networks.sharding import shard

logger = logging.getLogger(__name__)


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a run; under `torchrun` each process gets its own.

    Args:
        name: `auto` for the accelerator if there is one, else a name torch knows, such as `cpu`.

    Raises:
        ConfigError: torch does not know it or cannot use it.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        name = found or torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type != "cpu" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device(device.type, int(os.environ["LOCAL_RANK"]))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigError(f"device '{name}' cannot be used ({reason})", "Use 'auto' or 'cpu'.") from error
    return device


def pick_dtype(name: str) -> torch.dtype:
    """The float type of weights by name.

    Args:
        name: `float32`, `float16` or `bfloat16`.

    Raises:
        ConfigError: it is none of them.
    """
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ConfigError(f"dtype '{name}' does not exist", did_you_mean(name, known))
    return known[name]


def place(network: nn.Module, device: str | torch.device, parallel: str = "ddp") -> nn.Module:
    """Move a network to the device of the run; `--device cuda:0` arrives here as text.

    Args:
        network: the report model.
        device: as `pick_device` takes it.
        parallel: with `fsdp` and several processes, a network that is trained is sharded over them; one that only
            drafts stands whole on each.

    Raises:
        ConfigError: the device cannot be used.
    """
    check_parallel(parallel)
    device = pick_device(device)
    network = network.to(device)
    trained = any(p.requires_grad for p in network.parameters())
    return shard(network, device) if trained and parallel == "fsdp" and ranks.world_size() > 1 else network


def prepare(seed: int, output_dir: str, device: str | torch.device = "auto") -> None:
    """First step of a workflow: processes of `torchrun` join, seeds, output folder, and our error as the last line.

    Args:
        seed: of Python, numpy and torch.
        output_dir: must be writable.
        device: as `pick_device` takes it.

    Raises:
        ConfigError: the folder cannot be written.
    """
    sys.excepthook = _last_line_is_ours
    join(pick_device(device))
    if ranks.is_secondary():
        logging.getLogger("libra_monai").setLevel(logging.WARNING)  # the first process speaks for all
    set_determinism(seed=seed)
    check_writable(output_dir, "output_dir")


def finish(failures: FailureLog) -> None:
    """Last step of a workflow: fail if studies failed.

    Args:
        failures: the run's failures.

    Raises:
        StudiesFailed: studies were skipped.
    """
    failures.raise_if_any()


def _last_line_is_ours(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Under `python -m monai.bundle run` errors come wrapped; end with the sentence that helps."""
    traceback.print_exception(kind, error, trace)
    ours = innermost(error)
    if ours is not None:
        sys.stderr.write(f"libra-monai: {ours}\n")
