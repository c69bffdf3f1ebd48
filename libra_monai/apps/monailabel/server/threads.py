# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's own routes, in threads.

They are coroutines that never wait: one that moves a file of 200 MB, or asks an archive that does not answer, would hold up all
others. Here each runs in a thread of its own, as ours do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

_ROUTES = ("activelearning", "datastore", "scoring", "session", "train")  # the others wait, or take no time


def run_in_threads(app: FastAPI) -> None:
    """Put MONAI Label's routes that read files or ask others before themselves, as functions; the originals stay for the schema.

    Args:
        app: the server.
    """
    there = list(app.router.routes)
    for name in _ROUTES:
        for route in import_module(f"monailabel.endpoints.{name}").router.routes:
            if isinstance(route, APIRoute) and inspect.iscoroutinefunction(route.endpoint):
                app.add_api_route(route.path, _plain(route.endpoint), methods=sorted(route.methods), include_in_schema=False)
    app.router.routes[:] = [*app.router.routes[len(there) :], *there]


def _plain(endpoint: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """A coroutine that never waits, as a function."""

    def call(**given: Any) -> Any:
        coroutine = endpoint(**given)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        coroutine.close()
        raise RuntimeError(f"{endpoint.__qualname__} waits for something")

    call.__name__, call.__doc__ = endpoint.__name__, endpoint.__doc__
    call.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    return call
