# SPDX-License-Identifier: Apache-2.0
"""A study sent to a real archive, forwarded to `listen`, comes back into the archive as DICOM SR, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest

from tests.data.studies_made import write_dicom
from tests.slow.orthanc import ABSENT, REASON, Orthanc, until

START = datetime(2021, 3, 4, 10, 0)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(ABSENT, reason=REASON)]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


def _sent(orthanc, folder, patient):
    """A study with a prior in the archive; the archive's name of the current picture, and the prior's UID."""
    prior = write_dicom(folder / "prior.dcm", patient, "s0", START - timedelta(days=2))
    current = write_dicom(folder / "current.dcm", patient, "s1", START)
    orthanc.ask("/instances", prior.read_bytes())
    from pydicom import dcmread

    return orthanc.ask("/instances", current.read_bytes())["ID"], str(dcmread(prior).StudyInstanceUID)


def test_a_study_forwarded_by_the_archive_comes_back_as_one_sr(orthanc, tmp_path):
    """Prior by C-FIND and C-MOVE, draft by STOW-RS; the command as a user starts it."""
    instance, prior = _sent(orthanc, tmp_path, "wire-1")
    words = [
        sys.executable, "-m", "libra_monai", "listen", "--work", str(tmp_path / "work"), "--allow", "ORTHANC", "--port", str(orthanc.listener),
        "--quiet", "1", "--prior-from", f"ORTHANC@127.0.0.1:{orthanc.dicom}", "--send-to", f"http://127.0.0.1:{orthanc.web}/dicom-web",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        listener = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert "listens on 127.0.0.1" in listener.stdout.readline(), (tmp_path / "log").read_text()
        orthanc.ask("/modalities/libra/store", [instance])
        (report,) = until(lambda: orthanc.reports("wire-1"), 60)
        assert prior in orthanc.tags(report["ID"])
        orthanc.ask("/modalities/libra/store", [instance])
        time.sleep(4)
        assert len(orthanc.reports("wire-1")) == 1
        said = (tmp_path / "log").read_text()
        assert said.count("answered") == 1 and "with a prior" in said and "wire-1" not in said
    finally:
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(60) == 0


def test_the_other_way_round_qido_wado_and_c_store(orthanc, tmp_path, tiny):
    from libra_monai.apps.peers import Peer
    from libra_monai.apps.listen.queue import ANSWERED, StudyQueue
    from libra_monai.apps.listen.receiver import Receiver
    from libra_monai.apps.listen.worker import Worker

    instance, prior = _sent(orthanc, tmp_path, "wire-2")
    queue = StudyQueue(tmp_path / "work", 0.5)
    archive = Peer(url=f"http://127.0.0.1:{orthanc.web}/dicom-web")
    worker = Worker(queue, tiny, "LIBRA", Peer("ORTHANC", "127.0.0.1", orthanc.dicom), archive)
    receiver = Receiver(queue, "LIBRA", ["ORTHANC"], port=orthanc.listener)
    receiver.start()
    try:
        for _ in range(2):
            orthanc.ask("/modalities/libra/store", [instance])
            time.sleep(0.7)
            worker.step()
    finally:
        receiver.stop()
    (report,) = orthanc.reports("wire-2")
    assert prior in orthanc.tags(report["ID"])
    assert [state.status for state in queue._states.values()] == [ANSWERED]
