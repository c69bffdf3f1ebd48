# SPDX-License-Identifier: Apache-2.0
"""Component stores, `build`, and the discovery of parts from outside packages.

A part registers with a decorator and is named in JSON by kind and name::

    {"_target_": "libra_monai.build", "kind": "connector", "name": "tac", "num_layers": 12}

The stores are MONAI `ComponentStore`s. Outside packages add parts through the entry point group
`libra_monai.plugins`: each entry point names a module whose import registers them.
Nothing is imported before the first `build` of its kind.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from monai.utils import ComponentStore

from libra_monai.errors import ConfigError, did_you_mean

ENTRY_POINT_GROUP = "libra_monai.plugins"

ENCODERS = ComponentStore("encoders", "pixels to layer features")
CONNECTORS = ComponentStore("connectors", "current and prior features to language-model tokens")
LANGUAGE_MODELS = ComponentStore("language models", "tokens to text, and its loss")
METRICS = ComponentStore("metrics", "report metrics with update and compute")
BANKS = ComponentStore("banks", "builders of memories made from the training split")
SOURCES = ComponentStore("sources", "corpora and folders to records")
TEMPLATES = ComponentStore("templates", "conversation templates")
CLEANERS = ComponentStore("cleaners", "report text cleaners")
WRITERS = ComponentStore("writers", "report drafts to files")

# kind -> (store, the room whose import registers the built-in parts)
_KINDS: dict[str, tuple[ComponentStore, tuple[str, ...]]] = {
    "encoder": (ENCODERS, ("libra_monai.networks.encoders",)),
    "connector": (CONNECTORS, ("libra_monai.networks.connectors", "libra_monai.networks.pretraining")),
    "language": (LANGUAGE_MODELS, ("libra_monai.networks.language", "libra_monai.networks.pretraining")),
    "metric": (METRICS, ("libra_monai.metrics",)),
    "bank": (BANKS, ()),
    "source": (SOURCES, ("libra_monai.data.sources",)),
    "template": (TEMPLATES, ("libra_monai.text",)),
    "cleaner": (CLEANERS, ("libra_monai.text",)),
    "writer": (WRITERS, ("libra_monai.outputs",)),
}


def register(kind: str, name: str, description: str = "") -> Callable:
    """Decorator that adds a class or function to the store of a kind.

    Args:
        kind: `encoder`, `connector`, `language`, `metric`, `bank`, `source`, `template`, `cleaner` or `writer`.
        name: a Python identifier, the name used in JSON.
        description: one line; default the first line of the docstring.

    Raises:
        ConfigError: the kind is unknown, or the name is taken by another part.
    """
    store = _store(kind)

    def add(part: Any) -> Any:
        taken = store[name] if name in store else None
        if taken is not None and _origin(taken) != _origin(part):
            raise ConfigError(
                f"{kind} '{name}' is registered twice: {_origin(taken)} and {_origin(part)}", "Rename one."
            )
        return store.add(name, description or (inspect.getdoc(part) or "").partition("\n")[0], part)

    return add


def build(kind: str, name: str, **arguments: Any) -> Any:
    """Build a registered part by kind and name; the `_target_` of all parts in JSON.

    The JSON form of the call is kept on the part as `build_spec`, so that a model folder can
    say how its parts are made.

    Args:
        kind: which store, see `register`.
        name: which part.
        arguments: handed to the part by name.

    Raises:
        ConfigError: unknown kind or name, or an argument the part does not take.
    """
    part = find(kind, name)
    _check_arguments(part, f"{kind} '{name}'", arguments)
    built = part(**arguments)
    if _is_json(arguments):
        try:
            built.build_spec = {"name": name, **arguments}
        except AttributeError:  # plain strings, tuples and the like carry no attributes
            pass
    return built


def find(kind: str, name: str) -> Any:
    """The registered class or function itself, without calling it.

    Args:
        kind: which store, see `register`.
        name: which part.

    Raises:
        ConfigError: unknown kind or name; the message lists what is known.
    """
    store = _store(kind)
    _import_builtin(kind)
    if name not in store:
        _import_plugins()
    if name not in store:
        raise ConfigError(
            f"{kind} '{name}' is not registered",
            f"{did_you_mean(name, store.names)} Plugins add parts through the entry point group '{ENTRY_POINT_GROUP}'.",
        )
    return store[name]


def names(kind: str) -> tuple[str, ...]:
    """All registered names of a kind, built-in parts and plugins, sorted."""
    store = _store(kind)
    _import_builtin(kind)
    _import_plugins()
    return tuple(sorted(store.names))


def _check_arguments(part: Any, what: str, arguments: dict[str, Any]) -> None:
    signature = inspect.signature(part)
    known = list(signature.parameters)
    if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        for argument in arguments:
            if argument not in known:
                raise ConfigError(f"{what} takes no argument '{argument}'", did_you_mean(argument, known))
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}", f"It takes: {', '.join(known) or 'no arguments'}.") from None


def _store(kind: str) -> ComponentStore:
    if kind not in _KINDS:
        raise ConfigError(f"component kind '{kind}' does not exist", did_you_mean(kind, _KINDS))
    return _KINDS[kind][0]


@cache
def _import_builtin(kind: str) -> None:
    for module in _KINDS[kind][1]:
        import_module(module)


@cache
def _import_plugins() -> None:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except Exception as error:
            raise ConfigError(
                f"plugin '{point.name}' ({point.value}) cannot be imported: {error}", "Fix or uninstall it."
            ) from error


def _origin(part: Any) -> str:
    return f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', type(part).__name__)}"


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
