# SPDX-License-Identifier: Apache-2.0
"""A label app without MONAI Label: its routes and its guard on a plain server, with the shipped small model."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path

MISSING = "the label app is not installed: run libra-monai label --install (in a clone: make label)"


@contextmanager
def label_server(studies: Path, home: Path, model, upload: int = 64 << 20, refresh: float = 10.0, **service):
    """A client of a running app, with `.context`; addresses are those of this machine."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from libra_monai.apps.monailabel.learning.reports import ReportStore
    from libra_monai.apps.monailabel.server import routes
    from libra_monai.apps.monailabel.server.audit import AuditFile
    from libra_monai.apps.monailabel.server.context import Context, StudiesAndUploads, keeping
    from libra_monai.apps.monailabel.server.security import Guard, Limits
    from libra_monai.apps.monailabel.server.service import DraftService
    from libra_monai.apps.monailabel.server.uploads import Uploads
    from libra_monai.apps.monailabel.sources.local import LocalStudies

    home.mkdir(parents=True, exist_ok=True)
    reports, uploads = ReportStore(home / "reports"), Uploads(home / "uploads")
    drafts = DraftService(model, keeping(reports), **service)
    app = FastAPI()
    found = LocalStudies(studies, home, refresh=refresh, dated=False)
    context = Context(drafts, StudiesAndUploads(found, uploads), reports, home, uploads)
    routes.attach(app, context)
    guarded = Guard(app, Limits(upload=upload, audit=AuditFile(home)))
    try:
        with TestClient(guarded, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
            client.context = context
            yield client
    finally:
        drafts.close()


def drafted(client, image, **more):
    """The end of a job: what `GET /libra/drafts/{job}` tells."""
    asked = client.post("/libra/drafts", json={"image": image, **more})
    assert asked.status_code == 202, asked.text
    return ended(client, asked.json()["job"])


def ended(client, job, seconds=60):
    """What a job tells when it has ended."""
    end = time.monotonic() + seconds
    while (told := client.get(f"/libra/drafts/{job}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < end, told
        time.sleep(0.02)
    return told
