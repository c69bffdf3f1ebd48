# SPDX-License-Identifier: Apache-2.0
"""The inference task that MONAI Label lists: a model of type `others` that writes text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from libra_monai.apps.monailabel.server.context import MODEL, Context
from libra_monai.apps.monailabel.server.infer_route import answer
from libra_monai.apps.monailabel.server.routes import http_error, request_for
from libra_monai.apps.monailabel.server.service import DECODING, PROMPTS, Job, decodings
from libra_monai.apps.monailabel.sources.studies import AUTO
from libra_monai.errors import LibraError

_OPTIONS = ("prior", "prompt", "decoding", "seconds")
DESCRIPTION = "Drafts the report of a chest X-ray study, compared with the study before. Not reviewed, not for clinical use."


class ReportInfer(InferTask):
    """Drafts by the app's service.

    Args:
        context: gives the parts of the app; the model is loaded when they are first asked for.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        config = {"prior": AUTO, "prompt": list(PROMPTS), "decoding": [DECODING, *(name for name in decodings() if name != DECODING)]}
        super().__init__(InferType.OTHERS, ["report"], 2, DESCRIPTION, config)
        self._context = context

    def is_valid(self) -> bool:
        """Always: weights come with the package."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[None, dict[str, Any]]:
        """The draft of the study `image`, no file.

        Raises:
            HTTPException: the status and sentence of what is wrong.
        """
        try:
            job = submit(self._context(), request)
        except LibraError as error:
            raise http_error(error) from error
        job.over.wait()
        return None, answer(job)


def submit(context: Context, request: Mapping[str, Any]) -> Job:
    """Put the study of a request of MONAI Label's into the queue.

    Args:
        context: parts of the app.
        request: `image`, and options of a draft where they differ from the default.

    Raises:
        LibraError: as `request_for` and `DraftService.submit`.
    """
    asked = {name: request[name] for name in _OPTIONS if not isinstance(request.get(name), (list, type(None)))}
    return context.service.submit(request_for(context, str(request.get("image") or ""), **asked))


class OneByOne(BatchInferTask):
    """Drafts many studies, one after another; MONAI Label's own divides them among GPUs and fails where there is none.

    Args:
        tell: takes a line about how far it is.
    """

    def __init__(self, tell: Callable[[str], Any] = print) -> None:
        self._tell = tell

    def __call__(self, request: Mapping[str, Any], datastore: Any, infer: Callable[..., Any]) -> dict[str, Any]:
        """Image id -> draft, or what was wrong with it."""
        images = list(self.get_images(request, datastore))
        images = images[: int(request.get("max_batch_size") or 0) or None]
        found: dict[str, Any] = {}
        for number, image in enumerate(images, 1):
            try:
                found[image] = infer({**request, "model": request.get("model") or MODEL, "image": image}, datastore)["params"]
            except HTTPException as error:
                found[image] = {"error": error.detail}
            except LibraError as error:
                found[image] = {"error": http_error(error).detail}
            self._tell(f"{number} of {len(images)}, {sum('error' in one for one in found.values())} failed")
        return found
