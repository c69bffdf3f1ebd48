# SPDX-License-Identifier: Apache-2.0
"""The whole loop: draft, correct, train, the server is killed in the middle, the next goes on, a person approves, and takes it back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")

from libra_monai import paths
from libra_monai.apps.monailabel.learning import approval
from libra_monai.apps.monailabel.learning.frozen import FILE
from libra_monai.apps.monailabel.learning.reports import CORRECTED, ReportStore
from libra_monai.apps.monailabel.learning.runs import OPEN, list_runs, unfinished_run
from libra_monai.apps.monailabel.learning.training import LOG, Learning, corrected_records
from libra_monai.apps.monailabel.server.context import keeping
from libra_monai.apps.monailabel.server.places import home_of
from libra_monai.apps.monailabel.server.service import DraftRequest, DraftService
from libra_monai.apps.monailabel.sources.local import LocalStudies
from libra_monai.errors import ModelError, TrainingError
from tests.slow.test_label_server import _free, _label, started

pytestmark = pytest.mark.slow
OPTIONS = {"max_epochs": 20, "batch_size": 1, "save_steps": 2, "device": "cpu"}
BASE = Path(paths.tiny_model()).resolve()


def _correct(learning, service, image):
    """What a reader does: look at the draft, and add a sentence."""
    job = service.submit(DraftRequest(image, learning.studies.record(image), learning.studies.root))
    assert job.over.wait(120) and job.state == "done", job.error
    text = f"{job.draft['findings']} No rib fracture."
    learning.reports.save(image, CORRECTED, {"findings": text, "impression": None, "draft": job.draft["uid"], "seconds": 12.5})


def _corrected(learning, service):
    """Corrections until three are of patients that do not judge; the studies are DICOM files and bring no reports."""
    for image in learning.studies.ids():
        if learning.studies.record(image)["prior"]:
            _correct(learning, service, image)
            try:
                if len(corrected_records(learning)[0]) == 3:
                    return
            except TrainingError as error:
                assert "Correct more drafts" in str(error)


def _until(what, seconds=400):
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.05)


def _beyond(home, step):
    run = unfinished_run(home)
    return run is not None and run.state().get("step", 0) > step


def test_a_training_survives_its_server_and_its_candidate_is_served_only_after_approval(phantom, tmp_path):
    studies, port = tmp_path / "studies", _free()
    shutil.copytree(phantom / "images", studies)
    home = home_of(studies)
    learning = Learning(home, LocalStudies(studies, home, dated=False), ReportStore(home / "reports"), BASE)
    service = DraftService(BASE, keeping(learning.reports))
    _corrected(learning, service)
    frozen = (home / FILE).read_text()
    corrections = {image: learning.reports.versions(image, CORRECTED) for image in learning.reports.ids(CORRECTED)}

    with started(_label(studies, port), tmp_path / "one.log", port) as client:
        assert client.post("/train/reports", json=OPTIONS).status_code == 200
        _until(lambda: _beyond(home, 1))
        client.process.kill()  # SIGKILL in the middle of it
        client.process.wait()
    run = unfinished_run(home)
    seen = run.state()["step"]
    with started(_label(studies, port), tmp_path / "two.log", port):  # goes on by itself
        _until(lambda: run.state()["state"] not in OPEN)
    ended, log = run.state(), (run.folder / LOG).read_text()
    assert ended["state"] == "finished" and ended["step"] == 3 * OPTIONS["max_epochs"], ended
    again = [int(step) for step in re.findall(r"going on from .*: step (\d+) of 60", log)]
    assert len(again) == 1 and again[0] >= seen  # it did not begin anew
    assert [one.name for one in list_runs(home)] == [run.name]
    assert {image: learning.reports.versions(image, CORRECTED) for image in corrections} == corrections
    assert (home / FILE).read_text() == frozen

    stop = threading.Event()
    approval.follow(home, BASE, service.swap, stop, every=0.1)
    assert approval.served_folder(home, BASE) == BASE and service.model["name"] == "libra_tiny"  # trained, and not served
    decide = [sys.executable, "-m", "libra_monai", "label", "approve", "--studies", str(studies), "--by", "Dr A", "--judge-on", "cpu"]
    decided = subprocess.run(decide, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if ended["passed"]:
        assert decided.returncode == 0, decided.stderr[-2000:]
        _until(lambda: service.model["name"] == run.name)
        approval.rollback(home, by="Dr B")
    else:
        assert decided.returncode == 2 and "is not served" in decided.stderr and ended["reasons"][0] in decided.stderr
        with pytest.raises(ModelError, match="beyond the tolerance"):
            approval.approve(home)
    _until(lambda: service.model["name"] == "libra_tiny")
    assert approval.served_folder(home, BASE) == BASE
    stop.set()
    service.close()
