# SPDX-License-Identifier: Apache-2.0
"""The label server as a process of its own: killed and started again, with a realm's tokens, and by MONAI Label's own command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")

import httpx

from tests.apps.label_realm import realm
from tests.apps.label_server import drafted
from tests.data.studies_made import at, write_dicom

pytestmark = pytest.mark.slow
MODEL = "/infer/chest_xray_report"


def _free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(words, log, port, **env):
    """A server's process and a client, when it answers; ended by SIGTERM, and gone with it."""
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1", **env}, cwd=log.parent)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        end = time.monotonic() + 120
        while True:
            try:
                client.get("/libra/")
                break
            except httpx.ConnectError:
                assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.2)
        client.process = process
        try:
            yield client
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()[-2000:]  # uvicorn sends itself the signal again


def _label(studies, port, *words):
    return [sys.executable, "-m", "libra_monai", "label", "--studies", str(studies), "--port", str(port), "--device", "cpu", "--undated", *words]


@pytest.fixture
def studies(tmp_path):
    """Two studies of a patient."""
    write_dicom(tmp_path / "studies" / "a.dcm", "p", "s1", at(0))
    write_dicom(tmp_path / "studies" / "b.dcm", "p", "s2", at(30))
    return tmp_path / "studies"


def _raw(port, head, wait=True):
    """The answer to a request of which only the head is sent; the server closes the line."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(head.encode())
        return line.makefile("rb").read().decode() if wait else ""


def test_a_killed_server_starts_again_with_all_reports_and_then_wants_tokens(studies, tmp_path):
    port, log = _free(), tmp_path / "log"
    host = f"Host: 127.0.0.1:{port}\r\n"
    with started(_label(studies, port), log, port) as client:
        image = client.get("/libra/worklist").json()["studies"][0]["id"]
        draft = client.post(f"{MODEL}?image={image}").json()
        assert draft["study_id"] == image and draft["prior_used"]
        told = client.put(f"/libra/reports/{image}", json={"findings": "Clear.", "draft": draft["uid"], "seconds": 3})
        assert told.json()["version"] == 1
        answer = _raw(port, f"POST /libra/uploads HTTP/1.1\r\n{host}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {2 << 30}\r\n\r\n")
        assert answer.startswith("HTTP/1.1 413") and "larger than the 256 MB" in answer
        _raw(port, f"POST {MODEL}?image={image} HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n", wait=False)  # gone at once
        job = client.post("/libra/drafts", json={"image": image, "decoding": "published"}).json()["job"]
        client.process.kill()
        client.process.wait(30)
    with realm() as (address, sign, strange), started(_label(studies, port, "--realm", address), log, port) as client:
        reader, user, stranger = sign("monailabel-user", "monailabel-annotator"), sign("monailabel-user"), sign("monailabel-user", key=strange)
        for headers, status, words in (
            ({}, 401, "A token is missing"),
            ({"Authorization": "Bearer nonsense"}, 401, "not one of this server's realm"),
            (stranger, 401, "not one of this server's realm"),
            (sign("monailabel-user", lasts=-60), 401, "too old"),
            (sign("monailabel-user", azp="another"), 401, "given to another application"),
            (sign("visitor"), 403, "monailabel-user"),
            (user, 200, image),
        ):
            answer = client.get("/libra/worklist", headers=headers)
            assert answer.status_code == status and words in answer.text, answer.text
            assert client.get("/info/", headers=headers).status_code == client.get("/datastore/", headers=headers).status_code == status
            assert client.get("/libra/reader-study", headers=headers).status_code == status
        for method, path in (("POST", "/train/reports"), ("DELETE", "/train/"), ("POST", "/batch/infer/chest_xray_report")):
            assert client.request(method, path, headers=reader).status_code == 403
            assert client.request(method, path).status_code == 401
        given = client.post("/auth/token", data={"username": "reader", "password": "right"}).json()
        assert client.get("/libra/worklist", headers={"Authorization": f"Bearer {given['access_token']}"}).status_code == 200
        refused = client.post("/auth/token", data={"username": "reader", "password": "wrong"})
        assert refused.status_code == 401 and "does not accept this name" in refused.json()["detail"]
        told = client.get(f"/libra/studies/{image}", headers=reader).json()
        assert told["corrected"]["findings"] == "Clear." and told["draft"]["uid"] == draft["uid"]
        assert client.get(f"/libra/drafts/{job}", headers=reader).status_code == 404
        assert client.put(f"/libra/reports/{image}", json={"findings": "No."}, headers=user).status_code == 403
        assert client.put(f"/libra/reports/{image}", json={"findings": "No."}, headers=reader).json()["version"] == 2
    lines = [json.loads(line) for line in (studies / ".libra" / "audit.jsonl").read_text().splitlines()]
    assert {line["user"] for line in lines} == {None, "reader"} and 413 in {line["status"] for line in lines}
    assert image not in log.read_text() and "Clear." not in log.read_text()


def test_a_server_that_is_told_to_end_ends_before_its_queue_and_says_so(studies, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    port, log = _free(), tmp_path / "log"
    slow = {"decoding": "published"}
    with started(_label(studies, port), log, port) as client, ThreadPoolExecutor(4) as pool:
        image = client.get("/libra/worklist").json()["studies"][0]["id"]
        asked = [pool.submit(client.post, f"{MODEL}?image={image}", data={"params": json.dumps(slow)}) for _ in range(4)]
        position = 0
        while position < 4:  # until the four have come
            job = client.post("/libra/drafts", json={"image": image, **slow}).json()["job"]
            position = client.get(f"/libra/drafts/{job}").json()["position"]
            client.delete(f"/libra/drafts/{job}")
        client.process.send_signal(signal.SIGTERM)
        told = [one.result(60) for one in asked]
    assert [one.status_code for one in told].count(409) >= 3
    assert any("The server ended" in one.text for one in told)
    assert not list((studies / ".libra").glob("passing-*"))


def test_monai_labels_own_command_starts_the_app_and_a_client_that_goes_away_cancels_its_job(studies, tmp_path):
    from libra_monai.apps import monailabel as app

    port, folder = _free(), tmp_path / "app"
    folder.mkdir()  # its command makes folders beside main.py
    shutil.copy(Path(app.__file__).with_name("main.py"), folder)
    words = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(folder), "--studies", str(studies)]
    words += ["--host", "127.0.0.1", "--port", str(port), "--conf", "device", "cpu", "--conf", "dated", "false"]
    with started(words, tmp_path / "log", port) as client:
        image = client.get("/libra/worklist").json()["studies"][0]["id"]
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"{MODEL}?image={image}", data={"params": '{"decoding": "published"}'}, timeout=0.3)
        draft = drafted(client, image)["draft"]
        assert draft["decoding"] == "greedy" and client.get(f"/libra/studies/{image}").json()["versions"]["original"] == 1
    lines = [json.loads(line) for line in (studies / ".libra" / "audit.jsonl").read_text().splitlines()]
    assert 409 in {line["status"] for line in lines if line["route"] == "/infer/{model}"}
