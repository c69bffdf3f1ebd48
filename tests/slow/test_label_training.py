# SPDX-License-Identifier: Apache-2.0
"""The whole loop: draft, correct, train, the server is killed in the middle, a new one goes on, a person approves, and takes it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from libra_monai import paths
from libra_monai.apps.monailabel import approval
from libra_monai.apps.monailabel.context import keeping
from libra_monai.apps.monailabel.frozen import FILE, FrozenRules
from libra_monai.apps.monailabel.local import LocalStudies
from libra_monai.apps.monailabel.reports import CORRECTED, ReportStore
from libra_monai.apps.monailabel.runs import list_runs, unfinished_run
from libra_monai.apps.monailabel.service import DraftRequest, DraftService
from libra_monai.apps.monailabel.training import Learning, corrected_records, train
from libra_monai.errors import ModelError, TrainingError

pytestmark = pytest.mark.slow
OPTIONS = {"max_epochs": 6, "batch_size": 1, "save_steps": 2, "device": "cpu"}
BASE = Path(paths.tiny_model()).resolve()
SERVER = textwrap.dedent(
    """
    import json, sys
    from libra_monai.apps.monailabel.training import train
    from tests.slow.test_label_training import app

    train(app(*sys.argv[1:3]), json.loads(sys.argv[3]))
    """
)


def app(studies, home) -> Learning:
    """The app of a folder of DICOM files, which brings no reports: three corrections judge."""
    return Learning(Path(home), LocalStudies(studies, home), ReportStore(Path(home) / "reports"), BASE, FrozenRules(least=3, most=3))


def _correct(learning, service, image):
    """What a reader does: look at the draft, and add a sentence."""
    job = service.submit(DraftRequest(image, learning.studies.record(image), learning.studies.root))
    assert job.over.wait(120) and job.state == "done", job.error
    text = f"{job.draft['findings']} No rib fracture."
    learning.reports.save(image, CORRECTED, {"findings": text, "impression": None, "draft": job.draft["uid"], "seconds": 12.5})


def _killed_in_training(home, phantom, at):
    """A server that begins a training and is killed behind a step; the process of the training ends by itself."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(phantom), str(home), json.dumps(OPTIONS)], start_new_session=True)
    until = time.monotonic() + 200
    while time.monotonic() < until and server.poll() is None:
        run = unfinished_run(home)
        if run is not None and run.state().get("step", 0) >= at:
            break
        time.sleep(0.05)
    assert server.poll() is None, "the training ended before it could be killed"
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    return run


def _until(what, seconds=60):
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_training_survives_its_server_and_its_candidate_is_served_only_after_approval(phantom, tmp_path):
    learning, stop = app(phantom, tmp_path / "home"), threading.Event()
    service = DraftService(BASE, keeping(learning.reports))
    for image in learning.studies.ids():  # until three corrected reports are of patients that do not judge
        if learning.studies.record(image)["prior"]:
            _correct(learning, service, image)
            try:
                if len(corrected_records(learning)[0]) == 3:
                    break
            except TrainingError as error:
                assert "Correct more drafts" in str(error)
    frozen = (learning.home / FILE).read_text()
    corrections = {image: learning.reports.versions(image, CORRECTED) for image in learning.reports.ids(CORRECTED)}

    run = _killed_in_training(learning.home, phantom, at=4)
    told = []
    ended = train(learning, OPTIONS, told.append)
    steps = [state["step"] for state in told if state["state"] == "training"]
    assert steps[0] > 4 and steps[-1] == 18 == 3 * OPTIONS["max_epochs"]  # it did not begin anew
    assert ended["name"] == run.name and [one.name for one in list_runs(learning.home)] == [run.name]
    assert {image: learning.reports.versions(image, CORRECTED) for image in corrections} == corrections
    assert (learning.home / FILE).read_text() == frozen

    approval.follow(learning.home, BASE, service.swap, stop, every=0.1)
    assert approval.served_folder(learning.home, BASE) == BASE and service.model["name"] == "libra_tiny"  # trained, and not served
    if ended["passed"]:
        approval.approve(learning.home, by="Dr A")
        _until(lambda: service.model["name"] == run.name)
        approval.rollback(learning.home, by="Dr B")
    else:
        with pytest.raises(ModelError, match="is not served: .* beyond the tolerance"):
            approval.approve(learning.home, by="Dr A")
    _until(lambda: service.model["name"] == "libra_tiny")
    assert approval.served_folder(learning.home, BASE) == BASE
    stop.set()
    service.close()
