# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's `POST /infer/{model}`, without holding up the server.

The original calls the model inside the event loop, so that nothing else is answered meanwhile. This one stands before it, takes
the same arguments, puts a job in the queue and waits for it beside all others. A client that goes away cancels its job.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, UploadFile
from starlette.concurrency import run_in_threadpool

from libra_monai.apps.monailabel.server import routes
from libra_monai.apps.monailabel.server.context import MODEL, Context
from libra_monai.apps.monailabel.server.service import CANCELLED, DONE, TIMED_OUT, Job
from libra_monai.errors import did_you_mean

_LOOK = 0.25  # seconds between two looks at whether the client is still there
_OPTIONS = ("prior", "prompt", "decoding", "seconds")


def router(context: Context) -> APIRouter:
    """The route.

    Args:
        context: parts of the app.
    """
    made = APIRouter(prefix="/infer", tags=["Infer"], route_class=routes.SentenceRoute)

    @made.post("/{model}", dependencies=[Depends(context.reader)])
    async def infer(
        request: Request,
        model: str,
        image: str = "",
        session_id: str = "",
        output: str = "json",
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        label: Annotated[UploadFile | None, File()] = None,
    ) -> dict[str, Any]:
        """Draft a study, and answer when it is done; a client that is gone cancels it."""
        options = _options(model, output, params)
        image_id = request.state.study = await _image(context, image, session_id, file)
        asked = await run_in_threadpool(routes.request_for, context, image_id, **options)
        job = context.service.submit(asked)
        try:
            await _over(context, job, request)
        except asyncio.CancelledError:
            context.service.cancel(job.id)
            raise
        return answer(job)

    return made


def answer(job: Job) -> dict[str, Any]:
    """The draft of a job that is done.

    Args:
        job: that has ended.

    Raises:
        HTTPException: it has not been done; 422 where the study is at fault, 504 over the time limit, 409 cancelled, else 500.
    """
    if job.state == DONE and job.draft is not None:
        return job.draft
    status = {CANCELLED: 409, TIMED_OUT: 504}.get(job.state, 422 if job.refused else 500)
    raise HTTPException(status, job.error or "The draft failed.")


def _options(model: str, output: str, params: str) -> dict[str, Any]:
    """Arguments of `request_for` from those of MONAI Label."""
    if model != MODEL:
        raise HTTPException(404, f"There is no model '{model[:80]}'. {did_you_mean(model[:80], [MODEL])}")
    if output not in ("json", "all"):
        raise HTTPException(422, f"This model writes text, so output={output[:20]} cannot be. Ask for output=json.")
    try:
        given = json.loads(params or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise HTTPException(422, 'params is no JSON object. Send something like {"prior": "auto", "decoding": "greedy"}.')
    options = {name: given[name] for name in _OPTIONS if name in given}
    for name, value in options.items():
        kinds = (int, float) if name == "seconds" else (str,)
        if isinstance(value, bool) or not isinstance(value, (*kinds, type(None))):
            raise HTTPException(422, f"params.{name} is {type(value).__name__}. Send {'a number' if name == 'seconds' else 'a name'}, or leave it out.")
    return options


async def _image(context: Context, image: str, session_id: str, file: UploadFile | None) -> str:
    """The id of the study that is meant; what is sent along, or stands in a session of MONAI Label, becomes an upload."""
    if file is None and not session_id:
        if not image:
            raise HTTPException(422, "No study was named. Give image, session_id, or a file.")
        return image
    if context.uploads is None:
        raise HTTPException(403, "This server takes no uploads. Put the files into its studies.")
    if file is not None:
        return (await run_in_threadpool(context.uploads.add, [file.file]))[0]
    return await run_in_threadpool(_adopted, context, session_id)


def _adopted(context: Context, session_id: str) -> str:
    from libra_monai.apps.monailabel.server.security import checked_id

    place = context.session(checked_id(session_id))
    if place is None:
        raise HTTPException(404, "There is no such session, or none any more. Send the files again.")
    return context.uploads.adopt(place)


async def _over(context: Context, job: Job, request: Request) -> None:
    """Wait for the end of a job; cancel it if nobody waits for its answer any more."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    context.service.when_over(job, lambda _: loop.call_soon_threadsafe(done.set))
    while not done.is_set():
        try:
            await asyncio.wait_for(done.wait(), _LOOK)
        except asyncio.TimeoutError:
            if await request.is_disconnected():
                context.service.cancel(job.id)
