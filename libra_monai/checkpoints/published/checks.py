# SPDX-License-Identifier: Apache-2.0
"""Tensors that are found against tensors that are wanted: nothing missing, nothing left over, every shape equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from libra_monai.errors import ModelError

_SHOWN = 12


def check_names(wanted: Mapping[str, Tensor], found: Iterable[str] | Mapping[str, Any], where: str, remedy: str = "") -> None:
    """Compare names, and shapes where the values are at hand.

    Args:
        wanted: the tensors of the empty part.
        found: names, or names with tensors or readers.
        where: the part, for the message.
        remedy: what to do about missing tensors.

    Raises:
        ModelError: tensors are missing, unexpected or of another shape; the message lists them.
    """
    have = set(found)
    for what, names in (("missing", set(wanted) - have), ("unexpected", have - set(wanted))):
        if names:
            listed = sorted(names)
            more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
            raise ModelError(
                f"{where}: tensors {what}: {', '.join(listed[:_SHOWN])}{more}",
                (what == "missing" and remedy) or "Check config.json and weights.",
            )
    if isinstance(found, Mapping):
        for name, value in found.items():
            if isinstance(value, Tensor):
                check_value(name, value, wanted[name])


def check_value(name: str, value: Tensor, wanted: Tensor) -> None:
    """Compare one tensor's shape and kind of number.

    Args:
        name: of the tensor.
        value: what was found.
        wanted: the tensor of the empty part.

    Raises:
        ModelError: it has another shape, or is quantised.
    """
    if value.shape != wanted.shape:
        raise ModelError(
            f"tensor {name} has shape {list(value.shape)}, config.json makes it {list(wanted.shape)}", "Check config.json."
        )
    if wanted.is_floating_point() and (not value.is_floating_point() or value.element_size() < 2):
        kind = str(value.dtype).removeprefix("torch.")
        raise ModelError(f"tensor {name} is quantised ({kind})", "Give the checkpoint in 16 or 32 bits.")
