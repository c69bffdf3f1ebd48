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
from libra_monai.apps.monailabel.server.service import DECODING, PROMPTS, decodings
from libra_monai.apps.monailabel.sources.studies import AUTO
from libra_monai.errors import LibraError

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
        context = self._context()
        try:
            asked = {name: request[name] for name in ("prior", "prompt", "decoding", "seconds") if not isinstance(request.get(name), (list, type(None)))}
            job = context.service.submit(request_for(context, str(request.get("image") or ""), **asked))
        except LibraError as error:
            raise http_error(error) from error
        job.over.wait()
        return None, answer(job)


class OneByOne(BatchInferTask):
    """Drafts many studies, one after another; MONAI Label's own divides them among GPUs and fails where there is none."""

    def __call__(self, request: Mapping[str, Any], datastore: Any, infer: Callable[..., Any]) -> dict[str, Any]:
        """Image id -> draft, or what was wrong with it."""
        images = list(self.get_images(request, datastore))
        most = int(request.get("max_batch_size") or 0)
        found = {}
        for number, image in enumerate(images[:most] if most else images, 1):
            try:
                found[image] = infer({**request, "model": request.get("model") or MODEL, "image": image}, datastore)["params"]
            except HTTPException as error:
                found[image] = {"error": error.detail}
            print(f"{number} of {len(images)}", flush=True)  # what GET /batch/infer shows
        return found
