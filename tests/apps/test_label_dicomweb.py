# SPDX-License-Identifier: Apache-2.0
"""Around an archive: the folder of fetched pictures, what an answer that is none means, and that nothing is stored unasked."""

from __future__ import annotations

import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("dicomweb_client", reason="no dicomweb-client; install libra-monai[dicom]")

from pydicom import Dataset

from libra_monai.apps.monailabel.sources.dicomweb import WebStudies, open_archive
from libra_monai.apps.monailabel.sources.fetched import FetchedPictures
from libra_monai.apps.monailabel.sources.store_back import NotStored, StoreBack, draft_of
from libra_monai.apps.monailabel.sources.studies import UnknownStudy
from libra_monai.apps.peers import Candidate, Peer, PeerError, candidate_of, is_one_patient
from libra_monai.apps.web_archive import CAP, WebArchive, object_name
from libra_monai.errors import ConfigError

MB = 1 << 20


class Clock:
    """Time that passes when told."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Answers:
    """A server on loopback that gives one answer to everything, and counts how often."""

    def __init__(self, status=200, body=b"[]", kind="application/dicom+json"):
        self.asked, answers = [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answers.asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def _names(count):
    return [object_name(f"1.2.{number}") for number in range(count)]


def _filled(size):
    return lambda path: path.write_bytes(b"\0" * size)


def test_pictures_used_longest_ago_go_first_and_the_folder_never_holds_more_than_it_may(tmp_path):
    clock = Clock()
    pictures = FetchedPictures(tmp_path / "fetched", 3 * MB, clock=clock)
    first, second, third, fourth = _names(4)
    for name in (first, second, third, first, fourth):  # the first is used again before the fourth comes
        clock.now += 1
        pictures.get(name, _filled(MB))
    assert sorted(path.name for path in pictures.folder.iterdir()) == sorted([first, third, fourth])
    clock.now += 1
    assert pictures.get(second, _filled(5 * MB)).stat().st_size == 5 * MB  # the one asked for stays, whatever its size
    assert [path.name for path in pictures.folder.iterdir()] == [second]


def test_what_was_not_used_for_a_day_is_deleted_and_so_is_what_a_killed_process_left(tmp_path):
    clock = Clock()
    pictures = FetchedPictures(tmp_path, keep=24 * 3600, clock=clock)
    name, other = _names(2)
    pictures.get(name, _filled(10))
    left = tmp_path / f".{name}.abc"
    left.write_bytes(b"half a picture")
    os.utime(left, (clock.now, clock.now))
    clock.now += 3601
    pictures.get(other, _filled(10))
    assert not left.exists() and (tmp_path / name).exists()
    clock.now += 23 * 3600
    FetchedPictures(tmp_path, clock=clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other]


def test_a_picture_is_fetched_once_and_again_only_where_it_is_no_good(tmp_path):
    pictures, (name,), fetched = FetchedPictures(tmp_path), _names(1), []

    def fetch(path):
        fetched.append(path)
        path.write_bytes(b"x")

    threads = [threading.Thread(target=pictures.get, args=(name, fetch)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    pictures.get(name, fetch, good=lambda path: False)
    assert len(fetched) == 2 and tmp_path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../x.dcm", "/etc/passwd", "x.dcm", "a" * 32, f"{'0' * 32}.dcm/..", ""])
def test_no_name_leaves_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="no name"):
        FetchedPictures(tmp_path).get(name, _filled(1))
    assert object_name("../../etc/passwd").removesuffix(".dcm").isalnum()


def test_a_folder_too_small_for_a_picture_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no picture"):
        FetchedPictures(tmp_path, 1000)
    with pytest.raises(ConfigError, match="worklist of 0 studies"):
        WebStudies(WebArchive(Peer(url="http://127.0.0.1:1")), tmp_path, most=0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": 401}, "refuses this side .401.*LIBRA_WEB_USER"),
        ({"status": 403}, "refuses this side .403."),
        ({"status": 404}, "does not answer QIDO-RS .404.*DICOMweb root"),
        ({"status": 500}, "failed to answer QIDO-RS .500.*log of the archive"),
        ({"body": b"<html>", "kind": "text/html"}, "does not speak QIDO-RS.*DICOMweb root"),
        ({"body": b'["x"]'}, "does not speak QIDO-RS"),
    ],
)
def test_an_answer_that_is_none_is_told_with_its_remedy_and_without_the_patient(tmp_path, answer, says, caplog):
    caplog.set_level(logging.DEBUG)
    with Answers(**answer) as server:
        with pytest.raises(PeerError, match=says) as error:
            open_archive(server.url, tmp_path)
        with pytest.raises(PeerError):
            WebArchive(Peer(url=server.url)).studies("Secret-17")
        assert any("Secret-17" in path for path in server.asked)
    assert "Secret-17" not in str(error.value) + caplog.text


def test_an_archive_that_fails_is_not_asked_again_by_everyone_who_waits(tmp_path):
    with Answers(status=500) as server:
        studies = WebStudies(WebArchive(Peer(url=server.url)), tmp_path, refresh=60.0)
        for _ in range(6):
            with pytest.raises(PeerError, match="failed to answer QIDO-RS .500"):
                studies.ids()
        assert len(server.asked) <= 3  # one for each modality at most, of the first who asked


def test_an_archive_that_never_answers_is_given_up():
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PeerError, match="did not answer QIDO-RS in time"):
            WebArchive(Peer(url=url), seconds=0.2).studies()


def test_a_server_that_knows_no_offsets_is_not_asked_for_ever():
    rows = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]}} for number in range(CAP)]
    with Answers(body=json.dumps(rows).encode()) as server:
        assert len(WebArchive(Peer(url=server.url)).studies()) == CAP and len(server.asked) == 2


@pytest.mark.parametrize("image", ["../x", "1.2/../3", "", "1" * 65, "1.2%2f", "1.2?x=y", "1.2\n"])
def test_an_id_that_is_none_is_asked_of_nobody(tmp_path, image):
    with Answers() as server:
        studies = WebStudies(WebArchive(Peer(url=server.url)), tmp_path)
        for ask in (studies.record, studies.about, studies.priors, studies.pixels):
            with pytest.raises(UnknownStudy):
                ask(image)
        assert not server.asked


@pytest.mark.parametrize("url", ["ftp://host/", "http://me:secret@host/", "PACS"])
def test_an_address_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(ConfigError) as error:
        open_archive(url, tmp_path)
    assert "secret" not in str(error.value)


def test_an_answer_of_another_patient_or_without_radiographs_is_passed_over():
    row = Dataset()
    row.StudyInstanceUID, row.PatientID, row.ModalitiesInStudy = "1.2", "a", ["DX", "SR"]
    row.StudyDate, row.NumberOfStudyRelatedInstances = "20200101", 3
    assert candidate_of(row, "a") == candidate_of(row) == Candidate("1.2", "20200101", "", "a", 3)
    assert candidate_of(row, "b") is None
    row.ModalitiesInStudy = "CT"
    assert candidate_of(row, "a") is None
    assert [is_one_patient(name) for name in ("a", "", "a*", "a?", "a\\b")] == [True, False, False, False, False]


def test_nothing_is_stored_where_it_was_not_allowed(tiny, phantom, records):
    with Answers() as server:
        with pytest.raises(NotStored, match="--store-back"):
            StoreBack(WebArchive(Peer(url=server.url))).store(tiny.report_record(records[0], phantom))
        assert not server.asked


def test_a_kept_draft_without_its_mark_is_not_written_again():
    with pytest.raises(ConfigError, match="does not say that nobody has reviewed it"):
        draft_of({"marks": [], "prior_used": False, "model": "m 1"}, {}, "/")


def test_a_draft_that_was_followed_by_another_is_not_stored_in_its_place(tmp_path):
    fastapi = pytest.importorskip("fastapi", reason="the label app is not installed: run libra-monai label --install")
    from fastapi.testclient import TestClient

    from libra_monai.apps.monailabel.learning.reports import ReportStore
    from libra_monai.apps.monailabel.server.context import Context
    from libra_monai.apps.monailabel.sources.store_back import attach

    reports, app = ReportStore(tmp_path), fastapi.FastAPI()
    for uid in ("2.25.1", "2.25.2"):
        reports.save("s1", "original", {"uid": uid, "findings": "Clear.", "impression": None})
    with Answers() as server:
        context = Context(None, None, reports)
        attach(app, context, StoreBack(WebArchive(Peer(url=server.url)), allowed=True))
        answer = TestClient(app).post("/libra/stored/s1", params={"draft": "2.25.1"})
        assert answer.status_code == 409 and "has been drafted again since. Open it again" in answer.json()["detail"]
        assert context.stores_back and not server.asked
