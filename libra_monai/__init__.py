# SPDX-License-Identifier: Apache-2.0
"""Libra-MONAI: chest X-ray reports that compare with the prior study, as a plugin-based MONAI bundle.

Importing the package does no work and loads no heavy dependency; `build` and the metric and
checkpoint entry points are fetched on first use, so that `libra_monai.build` can stand in JSON.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "build", "paths"]


def __getattr__(name: str) -> Any:
    """Fetch what configurations name on first use (PEP 562), so that `libra-monai --help` stays fast."""
    if name == "build":
        from libra_monai.registry import build

        return build
    if name == "paths":
        from importlib import import_module

        return import_module("libra_monai.paths")
    raise AttributeError(f"module 'libra_monai' has no attribute '{name}'")
