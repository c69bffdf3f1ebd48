# SPDX-License-Identifier: Apache-2.0
"""Autocast by name on any device, and the scaling that float16 gradients need."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch.amp import GradScaler

from libra_monai.errors import ConfigError, did_you_mean

_KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_type(amp: bool | str) -> torch.dtype | None:
    """The float type of autocast, or None for none.

    Args:
        amp: False, True (bfloat16), `bf16` or `fp16`.

    Raises:
        ConfigError: it is none of them.
    """
    if isinstance(amp, bool):
        return torch.bfloat16 if amp else None
    if amp not in _KINDS:
        raise ConfigError(f"amp is '{amp}'", did_you_mean(str(amp), [*_KINDS, "true", "false"]))
    return _KINDS[amp]


def autocast(device: torch.device, amp: bool | str) -> AbstractContextManager:
    """Autocast on any device (MONAI's own `amp` works on CUDA only); without it, whatever the weights are in.

    Args:
        device: of the computation.
        amp: as for `autocast_type`.
    """
    dtype = autocast_type(amp)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(device: torch.device, amp: bool | str) -> GradScaler | None:
    """The scaler of float16 training; None where gradients need none.

    Args:
        device: of the computation.
        amp: as for `autocast_type`.
    """
    # losses are sums over some hundred tokens, so that the usual first scale of 65536 would overflow for many steps
    return GradScaler(device.type, init_scale=2.0**6) if autocast_type(amp) is torch.float16 else None
