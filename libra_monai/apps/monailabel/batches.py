# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's `/batch/infer`, by the model that serves.

The original starts a process of its own, which loads the app and with it a second model. Here a thread of the server puts one study
after another into the queue of drafts, so that memory stays as it is and readers' requests come in between. Answers are the original's.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType

from libra_monai.apps.monailabel.infer import OneByOne, submit
from libra_monai.apps.monailabel.server.context import MODEL, Context
from libra_monai.apps.monailabel.server.infer_route import answer
from libra_monai.apps.monailabel.server.security import unexpected
from libra_monai.apps.monailabel.server.service import Job, QueueFull
from libra_monai.errors import LibraError, did_you_mean

RUNNING, DONE, ERROR, STOPPED = "RUNNING", "DONE", "ERROR", "STOPPED"  # as MONAI Label's clients know them
_REMEMBERED, _LINES = 100, 20
_AGAIN = 1.0  # seconds until a study that found the queue full is asked for again


class _Ended(Exception):
    """The batch was stopped."""


class Batches:
    """One batch at a time.

    Args:
        context: parts of the app.
        images: ids that a request means.
    """

    def __init__(self, context: Context, images: Callable[[dict[str, Any]], Iterable[str]]) -> None:
        self.context, self._images = context, images
        self._tasks: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._changing, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._job: Job | None = None

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin a batch; what `GET /batch/infer` will tell of it.

        Args:
            request: `images`, and `max_batch_size, prior, prompt, decoding, seconds` where they differ from the default.

        Raises:
            HTTPException: 429 while another runs.
        """
        with self._changing:
            if self._running() is not None:
                raise HTTPException(429, "A batch is running. Wait for its end, or DELETE /batch/infer.")
            task = {"id": str(uuid.uuid4()), "status": RUNNING, "request": request, "start_ts": _now(), "details": deque(maxlen=_LINES), "failed": {}}
            self._stop, self._job = threading.Event(), None
            self._tasks.append(task)
            self._thread = threading.Thread(target=self._run, args=(task, self._stop), name="label-batch", daemon=True)
            self._thread.start()
        return _told(task)

    def status(self, running: bool = False) -> list[dict[str, Any]]:
        """What is known of batches, the newest last.

        Args:
            running: of one that has not ended only.
        """
        with self._changing:
            return [_told(task) for task in self._tasks if not running or task["status"] == RUNNING]

    def stop(self) -> dict[str, Any] | None:
        """End the batch that runs, and the draft it waits for; None if there is none."""
        with self._changing:
            task, thread = self._running(), self._thread
            if task is None or thread is None:
                return None
            self._stop.set()
            if self._job is not None:
                self.context.service.cancel(self._job.id)
        thread.join(30)
        return _told(task)

    def _running(self) -> dict[str, Any] | None:
        return self._tasks[-1] if self._tasks and self._tasks[-1]["status"] == RUNNING else None

    def _run(self, task: dict[str, Any], stop: threading.Event) -> None:
        def infer(request: dict[str, Any], datastore: Any) -> dict[str, Any]:
            self._draft(request, stop)
            return {"params": {}}  # the draft is kept on the disk

        try:
            images = list(self._images(task["request"]))
            found = OneByOne(task["details"].append)({**task["request"], "images": images}, None, infer)
            task["failed"] = {image: draft["error"] for image, draft in found.items() if "error" in draft}
            ended = DONE
        except _Ended:
            ended = STOPPED
        except LibraError as error:
            ended = ERROR
            task["details"].append(str(error))
        except Exception as error:  # its text may quote a header
            ended = ERROR
            task["details"].append(unexpected(error))
        with self._changing:
            task["end_ts"], task["status"] = _now(), ended

    def _draft(self, request: dict[str, Any], stop: threading.Event) -> None:
        """Wait for the draft of one study; while the queue is full, for a place in it."""
        while not stop.is_set():
            try:
                job = submit(self.context, request)
            except QueueFull:
                stop.wait(_AGAIN)
                continue
            with self._changing:
                self._job = job
                if stop.is_set():  # before anybody could know of the job
                    self.context.service.cancel(job.id)
            job.over.wait()
            if not stop.is_set():
                answer(job)  # raises what was wrong
                return
        raise _Ended


def attach(app: FastAPI, batches: Batches) -> None:
    """Put the routes before MONAI Label's.

    Args:
        app: the server.
        batches: what runs.
    """
    router, context = APIRouter(prefix="/batch", tags=["Infer"]), batches.context

    @router.get("/infer", dependencies=[Depends(context.reader)])
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        found = batches.status(check_if_running)
        if not found:
            raise HTTPException(404, "No batch is running. POST /batch/infer/chest_xray_report begins one.")
        return found if all and not check_if_running else found[-1]

    @router.post("/infer/{model}", dependencies=[Depends(context.admin)])
    def start(
        model: str,
        images: BatchInferImageType = BatchInferImageType.IMAGES_ALL,
        params: Annotated[dict[str, Any] | None, Body()] = None,
    ) -> dict[str, Any]:
        if model != MODEL:
            raise HTTPException(404, f"There is no model '{model[:80]}'. {did_you_mean(model[:80], [MODEL])}")
        return batches.start({"model": model, "images": images.value, **(params or {})})

    @router.delete("/infer", dependencies=[Depends(context.admin)])
    def stop() -> dict[str, Any] | None:
        return batches.stop()

    there = list(app.router.routes)
    app.include_router(router)
    app.router.routes[:] = [*app.router.routes[len(there) :], *there]


def _told(task: dict[str, Any]) -> dict[str, Any]:
    return {**task, "details": list(task["details"])}


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S")
