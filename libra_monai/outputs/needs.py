# SPDX-License-Identifier: Apache-2.0
"""Packages that a writer needs beyond the core, and the extra that brings them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from libra_monai import registry
from libra_monai.errors import ConfigError


def needs(module: str, extra: str) -> Callable:
    """Decorator that notes what a writer imports, so that its absence is told before any model runs.

    Args:
        module: the package as it is imported.
        extra: the extra of this package that installs it.
    """

    def note(writer: Any) -> Any:
        writer.needs = (module, extra)
        return writer

    return note


def check_formats(formats: Sequence[str]) -> None:
    """Refuse formats that are not registered, or whose package is not installed.

    Args:
        formats: registered writers.

    Raises:
        ConfigError: names the format and, for a missing package, the extra to install.
    """
    for name in formats:
        wanted = getattr(registry.find("writer", name), "needs", None)
        if wanted is not None and find_spec(wanted[0].partition(".")[0]) is None:
            remedy = f"Install it: pip install 'libra-monai[{wanted[1]}]', or leave the format out."
            raise ConfigError(f"format '{name}' needs the package {wanted[0]}, which is not installed", remedy)
