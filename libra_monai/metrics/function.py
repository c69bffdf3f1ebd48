# SPDX-License-Identifier: Apache-2.0
"""A user's own function as a metric."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from libra_monai.errors import ConfigError
from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record


@register("metric", "function")
class FunctionMetric(ReportMetric):
    """The mean over studies of what a function says of each.

    Args:
        function: `module.name`, or `path/to/file.py:name`, or the function itself. It gets the drafted text, the reference and
            the record, and returns a number, or numbers by name. NaN or None: not defined for this study, left out of the mean.
        value: its name; by default the function's.
        lower: whether lower is better (of all its values).
        cleaner: registered cleaner applied to both texts first.

    Raises:
        ConfigError: there is no such function.
    """

    by_default = False

    def __init__(self, function: str | Callable, value: str | None = None, lower: bool = False, cleaner: str = "none") -> None:
        self.function = find_function(function) if isinstance(function, str) else function
        self.value_name = value or self.function.__name__
        self.lower = lower
        super().__init__(cleaner)

    @property
    def name(self) -> str:
        """Name of the value."""
        return self.value_name

    @property
    def lower_is_better(self) -> tuple[str, ...]:
        """All names, or none."""
        return (self.value_name, *self.names) if self.lower else ()

    def reset(self) -> None:
        """Forget all studies."""
        super().reset()
        self.names: list[str] = []

    def statistics(self, prediction: str, reference: str, study: Record) -> dict[str, float]:
        """What the function says, by name.

        Raises:
            ConfigError: it is not a number.
        """
        said = self.function(prediction, reference, study)
        values = dict(said) if isinstance(said, Mapping) else {self.value_name: said}
        for name, value in values.items():
            if value is not None and not isinstance(value, (int, float, np.number)):
                raise ConfigError(f"metric function {self.value_name} returned {value!r} for {name}", "Return numbers.")
        return {name: math.nan if value is None else float(value) for name, value in values.items()}

    def table(self) -> np.ndarray:
        """Sum and count of every value, float [n,2k]."""
        self.names = sorted({name for row in self.rows for name in row})
        values = np.array([[row.get(name, math.nan) for name in self.names] for row in self.rows], dtype=float)
        there = ~np.isnan(values)
        return np.concatenate([np.where(there, values, 0.0), there.astype(float)], axis=1)

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """Means."""
        sums, counts = np.split(np.asarray(totals, dtype=float), 2)
        return {name: float(s / c) if c else math.nan for name, s, c in zip(self.names, sums, counts, strict=True)}

    @property
    def signature(self) -> str:
        """Where the function is from."""
        return f"mean of {getattr(self.function, '__module__', '?')}.{self.function.__name__}, cleaner {self.cleaner_name}"


def find_function(where: str) -> Callable[..., Any]:
    """A function by name.

    Args:
        where: `module.name`, or `path/to/file.py:name`.

    Raises:
        ConfigError: there is none.
    """
    place, _, name = where.rpartition(":") if ".py:" in where else where.rpartition(".")
    remedy = "Write it as 'module.name' of an importable module, or 'path/to/file.py:name'."
    if not place or not name:
        raise ConfigError(f"metric function '{where}' names no module", remedy)
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        found = getattr(module, name)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ConfigError(f"metric function '{where}' cannot be found ({error})", remedy) from error
    if not callable(found):
        raise ConfigError(f"metric function '{where}' is no function", remedy)
    return found


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
