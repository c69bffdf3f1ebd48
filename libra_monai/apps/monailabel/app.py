# SPDX-License-Identifier: Apache-2.0
"""The app as MONAI Label 0.8.5 sees it: its tasks, its store, and the routes and the guard around its server.

MONAI Label makes an app in the server, and others in child processes for training and scoring. Only the server's loads the model, and
answers requests and batches with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.utils.sessions import Sessions

from libra_monai import __version__, paths
from libra_monai.apps.monailabel import batches
from libra_monai.apps.monailabel.batches import Batches
from libra_monai.apps.monailabel.datastore import LabelDatastore
from libra_monai.apps.monailabel.infer import DESCRIPTION, OneByOne, ReportInfer
from libra_monai.apps.monailabel.learning import approval
from libra_monai.apps.monailabel.learning.reports import ReportStore
from libra_monai.apps.monailabel.learning.runs import halt_trainings
from libra_monai.apps.monailabel.learning.scoring import scoring_methods
from libra_monai.apps.monailabel.learning.strategies import strategies
from libra_monai.apps.monailabel.learning.training import Learning, resume, trainers
from libra_monai.apps.monailabel.options import Options
from libra_monai.apps.monailabel.readers import reader_study
from libra_monai.apps.monailabel.server import auth, routes
from libra_monai.apps.monailabel.server.audit import AuditFile
from libra_monai.apps.monailabel.server.context import MODEL, Context, StudiesAndUploads, keeping
from libra_monai.apps.monailabel.server.places import home_of
from libra_monai.apps.monailabel.server.quota import Quota
from libra_monai.apps.monailabel.server.security import Guard, Limits, unexpected
from libra_monai.apps.monailabel.server.service import DraftService
from libra_monai.apps.monailabel.server.sessions import CountedSessions
from libra_monai.apps.monailabel.server.threads import run_in_threads
from libra_monai.apps.monailabel.server.uploads import Uploads
from libra_monai.apps.monailabel.sources import store_back
from libra_monai.apps.monailabel.sources.local import LocalStudies
from libra_monai.apps.monailabel.sources.studies import Studies
from libra_monai.checkpoints import load_pretrained
from libra_monai.checkpoints.loaded import LoadedModel
from libra_monai.engines import pick_device, pick_dtype
from libra_monai.errors import ConfigError, LibraError
from libra_monai.files import check_writable

logger = logging.getLogger(__name__)
_PASSING = "passing-"
_TALKATIVE = ("monailabel", "task_train", "task_scoring", "task_batch_infer", "uvicorn.access")  # of studies and reports, where all is logged


async def _told(request: Request, error: Exception) -> JSONResponse:
    """What MONAI Label's own routes answer to errors, of ours and of its own: a status and a sentence."""
    if isinstance(error, LibraError):
        turned = routes.http_error(error)
        return JSONResponse({"detail": turned.detail}, turned.status_code, turned.headers)
    return JSONResponse({"detail": f"{str(getattr(error, 'msg', error))[:300]}. GET /info/ lists what there is."}, 422)


async def _no_json(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "A field that should hold JSON does not. Send an object such as {}."}, 422)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": unexpected(error)}, 500)


class LibraApp(MONAILabelApp):
    """Drafts, corrections and training of chest X-ray reports.

    Args:
        app_dir: this folder.
        studies: a folder, or the address of a DICOMweb server.
        conf: see `Options`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.options = Options.of(conf)
        self.home = home_of(studies)
        check_writable(self.home, "the app's folder")
        self.home.chmod(0o700)
        self.reports = ReportStore(self.home / "reports")
        self.uploads = Uploads(self.home / "uploads", quota=Quota(int(self.options.max_uploads * (1 << 30))))
        self.base = Path(self.options.model or paths.tiny_model())
        self._service: DraftService | None = None
        self._batches: Batches | None = None
        self._passing: str | None = None
        self._loading, self._stop = threading.Lock(), threading.Event()
        super().__init__(app_dir, studies, conf, "Libra-MONAI", DESCRIPTION, __version__, ["report"])
        self._auto_update_scoring = False  # a process that loads everything, after every change, is a person's wish

    @property
    def context(self) -> Context:
        """The parts that routes share; loads the model when first asked for."""
        with self._loading:
            if self._service is None:
                served = approval.served_folder(self.home, self.base)
                options = self.options
                self._service = DraftService(served, keeping(self.reports), options.seconds, options.queue, load=self._load)
        roles = (settings.MONAI_LABEL_AUTH_ROLE_USER, settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR, settings.MONAI_LABEL_AUTH_ROLE_ADMIN)
        return Context(self._service, self.all_studies, self.reports, self.home, self.uploads, *map(RBAC, roles), self._session)

    def init_datastore(self) -> LabelDatastore:
        """Studies and reports; also sets `all_studies`."""
        self.all_studies = StudiesAndUploads(self._open_studies(), self.uploads)
        return LabelDatastore(self.all_studies, self.reports, self.home / "notes")

    def init_infers(self) -> dict[str, ReportInfer]:
        """The one model."""
        return {MODEL: ReportInfer(lambda: self.context)}

    def init_trainers(self) -> dict[str, Any]:
        """Training from corrections."""
        return trainers(Learning(self.home, self.all_studies, self.reports, self.base, privacy=self.options.privacy, device=self.options.device))

    def init_strategies(self) -> dict[str, Any]:
        """Orders of training."""
        return strategies(self.reports, self.all_studies.ids)

    def init_scoring_methods(self) -> dict[str, Any]:
        """Metrics between drafts and corrections."""
        return scoring_methods(self.reports, self.all_studies.record)

    def init_batch_infer(self) -> BatchInferTask:
        """Drafts of many studies."""
        return OneByOne()

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """A draft, saved as `original`; nothing but an id names a study.

        Args:
            request: `model`, `image`, and `prior`, `prompt`, `decoding`, `seconds` where they differ from the default.
            datastore: not used.
        """
        _, draft = self._infers[MODEL](request)
        return {"label": draft["image"], "tag": "original", "file": None, "params": draft}

    def async_batch_infer(self, model: str, images: str, params: dict[str, Any] | None = None) -> Any:
        """A batch in the server, by the model it has; MONAI Label's own would start a process that loads another.

        Args:
            model: the one there is.
            images: `all`, `labeled` or `unlabeled`.
            params: further parts of the request.
        """
        if self._batches is None:
            return super().async_batch_infer(model, images, params)
        return self._batches.start({"model": model, "images": images, **(params or {})})

    def on_init_complete(self) -> None:
        """In the server: load the model, put our routes first, watch the door, go on with a training that was begun."""
        from monailabel.app import app

        super().on_init_complete()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._keep_passing_files()
        self.attach(app)
        approval.follow(self.home, self.base, self.context.service.swap, self._stop)
        resume(self.home, lambda state: logger.info("training: %s", state.get("state")))

    def attach(self, app: FastAPI) -> None:
        """Put our routes, authentication and guard into a server.

        Args:
            app: MONAI Label's.
        """
        context = self.context
        run_in_threads(app)
        auth.protect(app)
        reader_study.attach(app, context)
        routes.attach(app, context)
        self._batches = Batches(context, lambda request: OneByOne().get_images(request, self.datastore()))
        batches.attach(app, self._batches)
        archive = getattr(self.all_studies.studies, "archive", None)
        if archive is not None:
            store_back.attach(app, context, store_back.StoreBack(archive, self.options.store_back))

        @app.get("/info/", tags=["App"], dependencies=[Depends(context.reader)])
        def info() -> dict[str, Any]:
            return self.info()  # in a thread: it counts studies, which may mean asking an archive

        app.router.routes.insert(0, app.router.routes.pop())
        audit = AuditFile(self.home, int(self.options.audit_size * (1 << 20)), self.options.audit_keep)
        limits = Limits(settings.MONAI_LABEL_AUTH_ENABLE, self.options.max_upload << 20, audit)
        app.add_exception_handler(LibraError, _told)
        app.add_exception_handler(MONAILabelException, _told)
        app.add_exception_handler(json.JSONDecodeError, _no_json)
        app.add_exception_handler(Exception, _unexpected)
        # the server runs already, with a stack of middleware that knows none of this: it gets another, and the guard around it
        app.middleware_stack = Guard(app.build_middleware_stack(), limits)

    def close(self) -> None:
        """End what runs beside the server; a training saves, and goes on with the next one."""
        self._stop.set()
        if self._batches is not None:
            self._batches.stop()
        halt_trainings(self.home)
        if self._service is not None:
            self._service.close()
        if self._passing is not None:
            tempfile.tempdir, folder, self._passing = None, self._passing, None
            shutil.rmtree(folder, ignore_errors=True)

    def _keep_passing_files(self) -> None:
        """Temporary files in a folder of the owner's: MONAI Label's routes write what they are sent where all can read it, and leave it
        there if they refuse it."""
        for old in self.home.glob(f"{_PASSING}*"):  # of killed servers
            with contextlib.suppress(FileNotFoundError):
                if time.time() - old.stat().st_mtime > 86_400:
                    shutil.rmtree(old, ignore_errors=True)
        self._passing = tempfile.tempdir = tempfile.mkdtemp(prefix=_PASSING, dir=self.home)

    def _open_studies(self) -> Studies:
        options = self.options
        if self.studies.startswith(("http://", "https://")):
            from libra_monai.apps.monailabel.sources.dicomweb import open_archive

            looked = {"rule": options.rule, "dated": options.dated, "refresh": options.refresh, "days": options.days, "most": options.most}
            return open_archive(self.studies, self.home, most_bytes=int(options.cache * (1 << 30)), **looked)
        if options.store_back:
            raise ConfigError("--store-back was given for a folder", "It is for the studies of a DICOMweb server.")
        return LocalStudies(self.studies, self.home, options.rule, options.refresh, options.dated)

    def _load(self, folder: str) -> LoadedModel:
        return load_pretrained(folder, None, pick_device(self.options.device), pick_dtype(self.options.dtype))

    def _load_sessions(self, load: bool = False) -> Sessions | None:
        path = settings.MONAI_LABEL_SESSION_PATH or str(self.home / "sessions")  # not the user's cache folder: it is patients' data
        return CountedSessions(path, settings.MONAI_LABEL_SESSION_EXPIRY, self.uploads.quota) if load else None

    def _session(self, session_id: str) -> Path | None:
        found = self.sessions().get_session(session_id) if self.sessions() is not None else None
        return Path(found.image) if found else None
