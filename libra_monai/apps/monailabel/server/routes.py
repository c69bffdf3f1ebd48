# SPDX-License-Identifier: Apache-2.0
"""The addresses of the label app: worklist, studies, pictures, drafts, reports, uploads, and an `/infer` that waits for nobody.

Answers are JSON; errors are `{"detail": sentence}`. Routes that read files run in threads, so the server goes on answering.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from libra_monai import paths
from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL
from libra_monai.apps.monailabel.server.context import Context, state_of
from libra_monai.apps.monailabel.server.pictures import SIDE, fitted
from libra_monai.apps.monailabel.server.quota import UploadsFull
from libra_monai.apps.monailabel.server.security import checked_id
from libra_monai.apps.monailabel.server.service import DECODING, DONE, PROMPTS, DraftRequest, Job, QueueFull, UnknownJob
from libra_monai.apps.monailabel.sources.studies import AUTO, UnknownStudy
from libra_monai.apps.peers import PeerError
from libra_monai.errors import LibraError, StudyError

PAGE = Path(__file__).resolve().parents[1] / "page"
_STATUS = ((UnknownStudy, 404), (UnknownJob, 404), (QueueFull, 503), (PeerError, 502), (UploadsFull, 507))


class Asked(BaseModel):
    """Body of a request for a draft."""

    model_config = ConfigDict(extra="forbid")
    image: str
    prior: str | None = AUTO
    prompt: str | None = None
    decoding: str = DECODING
    seconds: float | None = None


class Corrected(BaseModel):
    """Body of a correction."""

    findings: str | None = None
    impression: str | None = None
    draft: str | None = None
    seconds: float | None = None


class SentenceRoute(APIRoute):
    """A route whose errors of ours become a status and a sentence."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors turned."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except LibraError as error:
                raise http_error(error) from error
            except OSError as error:  # such as a full disk; its text may name a file
                raise HTTPException(507, f"The server could not read or write a file ({error.strerror}). Ask its administrator.") from error

        return told


def http_error(error: LibraError) -> HTTPException:
    """The status and sentence of an error; the path of a file is the server's business.

    Args:
        error: of ours.
    """
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    text = f"{error.reason}. {error.remedy}".strip() if isinstance(error, StudyError) else str(error)
    return HTTPException(status, text, {"Retry-After": "30"} if status == 503 else None)


def attach(app: FastAPI, context: Context) -> None:
    """Put the routes of the app before those that are there.

    Args:
        app: the server.
        context: parts of the app.
    """
    from libra_monai.apps.monailabel.server import infer_route

    there = list(app.router.routes)
    app.include_router(_studies(context))
    app.include_router(_drafts(context))
    app.include_router(_page())
    app.include_router(infer_route.router(context))
    new = [route for route in app.router.routes if route not in there]
    app.router.routes[:] = [*new, *there]


def _studies(context: Context) -> APIRouter:
    """Worklist, studies, pictures, reports, uploads."""
    router = APIRouter(prefix="/libra", tags=["Libra"], route_class=SentenceRoute)
    reads, writes = [Depends(context.reader)], [Depends(context.writer)]

    @router.get("/worklist", dependencies=reads)
    def worklist() -> dict[str, Any]:
        return _worklist(context)

    @router.get("/studies/{image_id:path}", dependencies=reads)
    def study(image_id: str) -> dict[str, Any]:
        return _study(context, checked_id(image_id))

    @router.get("/pictures/{image_id:path}", dependencies=reads)
    def picture(image_id: str, side: Annotated[int, Query(ge=SIDE[0], le=SIDE[1])] = 1024) -> Response:
        levels = fitted(context.studies.pixels(checked_id(image_id)), side)
        rows, columns = levels.values.shape
        told = {"Rows": rows, "Columns": columns, "Low": f"{levels.low:g}", "High": f"{levels.high:g}", "Bits": levels.bits}
        headers = {f"X-{name}": str(value) for name, value in told.items()}
        return Response(levels.values.astype("<u2").tobytes(), media_type="application/octet-stream", headers=headers)

    @router.get("/reports/{image_id:path}", dependencies=reads)
    def reports(image_id: str) -> dict[str, Any]:
        context.studies.about(checked_id(image_id))
        return {tag: context.reports.versions(image_id, tag) for tag in (ORIGINAL, CORRECTED)}

    @router.put("/reports/{image_id:path}", dependencies=writes)
    def correct(image_id: str, body: Corrected) -> dict[str, Any]:
        context.studies.about(checked_id(image_id))
        version = context.reports.save(image_id, CORRECTED, body.model_dump())
        kept = next(one for one in context.reports.versions(image_id, CORRECTED) if one["version"] == version)
        return {"version": version, "edit_distance": kept["edit_distance"]}

    @router.post("/uploads", dependencies=writes)
    def upload(
        asking: Request,
        current: Annotated[UploadFile | None, File()] = None,
        prior: Annotated[UploadFile | None, File()] = None,
        files: Annotated[list[UploadFile] | None, File()] = None,
    ) -> dict[str, Any]:
        """Take one picture, or a picture and its prior, for a day."""
        if context.uploads is None:
            raise HTTPException(403, "This server takes no uploads. Put the files into its studies.")
        named = [one for one in (current, prior) if one is not None]
        streams = [one.file for one in (*named, *(files or ()))]
        image, found = context.uploads.add(streams, ordered=bool(named))
        asking.state.study = image
        return {"image": image, "prior": found}

    return router


def _drafts(context: Context) -> APIRouter:
    """Jobs."""
    router = APIRouter(prefix="/libra", tags=["Libra"], route_class=SentenceRoute)
    reads = [Depends(context.reader)]

    @router.post("/drafts", status_code=202, dependencies=reads)
    def ask(body: Asked, asking: Request) -> dict[str, Any]:
        asking.state.study = body.image  # for the audit line
        request = request_for(context, body.image, body.prior, body.prompt, body.decoding, body.seconds)
        return {"job": context.service.submit(request).id}

    @router.get("/drafts/{job_id}", dependencies=reads)
    def job(job_id: str, asking: Request) -> dict[str, Any]:
        found = context.service.job(job_id)
        asking.state.study = found.request.image
        return _told(context, found)

    @router.delete("/drafts/{job_id}", dependencies=reads)
    def cancel(job_id: str, asking: Request) -> dict[str, Any]:
        found = context.service.cancel(job_id)
        asking.state.study = found.request.image
        return _told(context, found)

    return router


def _page() -> APIRouter:
    """The page and its files, which hold nothing of a patient and ask for no token."""
    router = APIRouter(prefix="/libra", include_in_schema=False, route_class=SentenceRoute)

    @router.get("/")
    def index() -> FileResponse:
        return _file("index.html")

    @router.get("/page/{name:path}")
    def file(name: str) -> FileResponse:
        return _file(name)

    return router


def request_for(
    context: Context,
    image_id: str,
    prior: str | None = AUTO,
    prompt: str | None = None,
    decoding: str | None = None,
    seconds: float | None = None,
) -> DraftRequest:
    """What the service is asked for, from what a client sent.

    Args:
        context: parts of the app.
        image_id, prior, prompt, decoding, seconds: see `DraftRequest`.

    Raises:
        LibraError: the id is none, there is no such study, or the time limit makes no sense.
    """
    record = context.studies.record(checked_id(image_id), prior)
    if seconds is not None and not 0 < seconds <= context.service.seconds:
        raise HTTPException(422, f"seconds is {seconds:g}. Give more than 0 and at most {context.service.seconds:g}, the server's limit.")
    return DraftRequest(image_id, record, context.studies.root, prior, prompt, decoding or DECODING, seconds)


def _worklist(context: Context) -> dict[str, Any]:
    drafted, corrected = (set(context.reports.ids(tag)) for tag in (ORIGINAL, CORRECTED))
    studies = []
    for image_id in context.studies.ids():
        try:
            about = context.studies.about(image_id)
        except UnknownStudy:  # gone since
            continue
        studies.append({**about, "state": state_of(image_id in drafted or None, image_id in corrected or None)})
    service = context.service
    presets = {"prompts": [service.prompt, *(name for name in PROMPTS if name != service.prompt)]}
    others = [name for name in service.decodings if name != DECODING]
    told = {"studies": studies, "model": service.model, "mark": service.mark, **presets, "decodings": [DECODING, *others]}
    return {**told, "stores_back": context.stores_back}


def _study(context: Context, image_id: str) -> dict[str, Any]:
    about, found = context.studies.about(image_id), {}
    found["priors"] = context.studies.priors(image_id)
    found["draft"] = context.reports.latest(image_id, ORIGINAL)
    found["corrected"] = context.reports.latest(image_id, CORRECTED)
    versions = {tag: len(context.reports.versions(image_id, tag)) for tag in (ORIGINAL, CORRECTED)}
    return {**about, **found, "versions": versions}


def _told(context: Context, job: Job) -> dict[str, Any]:
    draft = job.draft if job.state == DONE else None
    return {"state": job.state, "position": context.service.position(job), "draft": draft, "error": job.error}


def _file(name: str) -> FileResponse:
    try:
        path = Path(paths.inside(PAGE, name))
    except StudyError:
        raise HTTPException(404, "There is no such file of the page.") from None
    if not path.is_file():
        raise HTTPException(404, "There is no such file of the page.")
    return FileResponse(path)
