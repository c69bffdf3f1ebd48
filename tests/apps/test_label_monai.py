# SPDX-License-Identifier: Apache-2.0
"""The app inside MONAI Label 0.8.5's own server: what its clients ask for, and that it answers while a report is written."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")

from libra_monai.apps.monailabel.install import check_installed
from tests.apps.label_server import drafted
from tests.data.studies_made import at, write_dicom

MODEL = "chest_xray_report"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MONAI Label's server with the app, in this process; two studies of one patient in nested folders, and one of another."""
    from pathlib import Path

    from fastapi.testclient import TestClient
    from monailabel.config import settings

    from libra_monai.apps import monailabel as app_package

    root = tmp_path_factory.mktemp("studies")
    write_dicom(root / "p" / "1" / "a.dcm", "p", "s1", at(0))
    write_dicom(root / "p" / "2" / "b.dcm", "p", "s2", at(30))
    write_dicom(root / "q" / "c.dcm", "q", "s3", at(10))
    settings.MONAI_LABEL_APP_DIR = str(Path(app_package.__file__).parent)
    settings.MONAI_LABEL_STUDIES = str(root)
    settings.MONAI_LABEL_APP_CONF = {"device": "cpu", "dated": "false"}
    from monailabel.app import app
    from monailabel.interfaces.utils.app import app_instance, clear_cache

    clear_cache()
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        client.instance, client.studies = app_instance(), root
        client.images = [one["id"] for one in client.get("/libra/worklist").json()["studies"]]
        yield client
        client.instance.close()
    clear_cache()


def test_the_installation_is_complete():
    check_installed()


def test_monai_label_lists_model_training_orders_and_scores(server):
    told = server.get("/info/").json()
    assert told["models"][MODEL]["type"] == "others" and told["models"][MODEL]["config"]["decoding"][0] == "greedy"
    assert set(told["strategies"]) == {"least_confident", "most_changed"} and all("not triage" in s["description"] for s in told["strategies"].values())
    assert set(told["trainers"]) == set(told["scoring"]) == {"reports"}
    assert told["datastore"]["total"] == 3


def test_info_answers_while_a_report_is_written(server):
    asked = {"image": server.images[0], "decoding": "published"}
    job = server.post("/libra/drafts", json=asked).json()["job"]
    while server.get(f"/libra/drafts/{job}").json()["state"] == "queued":
        pass
    assert server.get("/info/").status_code == 200
    told = server.delete(f"/libra/drafts/{job}").json()
    assert told["state"] == "running" or told["state"] == "cancelled"  # it had not ended when /info/ had answered


def test_infer_takes_an_id_from_any_folder_and_keeps_the_draft(server):
    image = server.images[0]
    draft = server.post(f"/infer/{MODEL}", params={"image": image}, data={"params": '{"prior": null}'}).json()
    assert draft["study_id"] == image and not draft["prior_used"] and draft["findings"]
    assert server.get("/datastore/label", params={"label": image, "tag": "original"}).json()["uid"] == draft["uid"]
    assert server.get("/datastore/image", params={"image": image}).content == (server.studies / "p/2/b.dcm").read_bytes()
    assert server.post(f"/infer/{MODEL}", params={"image": image}, data={"params": "[1]"}).status_code == 422


def test_a_session_of_two_files_is_drafted_with_its_prior(server):
    files = [("files", (f"{name}.dcm", (server.studies / path).read_bytes())) for name, path in (("x", "p/1/a.dcm"), ("y", "p/2/b.dcm"))]
    session = server.put("/session/", files=files).json()["session_id"]
    draft = server.post(f"/infer/{MODEL}", params={"session_id": session}).json()
    assert draft["prior_used"]
    files[0] = ("files", ("x.dcm", (server.studies / "q/c.dcm").read_bytes()))
    session = server.put("/session/", files=files).json()["session_id"]
    refused = server.post(f"/infer/{MODEL}", params={"session_id": session})
    assert refused.status_code == 422 and "of two patients" in refused.json()["detail"]


def test_labels_are_reports_and_nothing_is_signed_as_final(server):
    image = server.images[1]
    draft = drafted(server, image)["draft"]
    content = json.dumps({"findings": "Clear.", "impression": None, "draft": draft["uid"], "seconds": 2}).encode()

    def put(tag, content=content):
        return server.put("/datastore/label", params={"image": image, "tag": tag}, files={"label": ("r.json", content)})

    assert put("reader_corrected").json()["image"] == image
    assert server.get("/datastore/label", params={"label": image, "tag": "reader_corrected"}).json()["findings"] == "Clear."
    refused = put("final")
    assert refused.status_code == 422 and "signs nothing as final" in refused.json()["detail"]
    assert put("reader_corrected", b"<html>").status_code == 422
    for method, path in (("DELETE", f"/datastore/image?id={image}"), ("DELETE", f"/datastore/label?id={image}&tag=original"), ("GET", "/datastore/dataset")):
        assert server.request(method, path).status_code == 403
    assert server.get("/datastore/").json()["completed"] == 1
    assert (server.studies / "p/1/a.dcm").exists()


def test_monai_labels_own_routes_hold_up_nobody_while_an_archive_is_asked(server, monkeypatch):
    import threading

    held = []
    monkeypatch.setattr(server.instance.all_studies.studies, "ids", lambda: held.append(threading.current_thread().name) or [])
    for method, path in (("GET", "/datastore/"), ("POST", "/activelearning/most_changed"), ("GET", "/info/")):
        assert server.request(method, path).status_code == 200
    assert len(held) >= 3 and all(name.startswith("AnyIO worker") for name in held)
    assert server.get("/openapi.json").json()["paths"]["/datastore/"]["get"]["summary"].endswith("Get All Images/Labels from datastore")


def test_what_is_refused_leaves_nothing_in_a_folder_that_others_read(server):
    import stat
    import tempfile
    from pathlib import Path

    place = Path(tempfile.gettempdir())
    assert place.parent == server.studies / ".libra" and stat.S_IMODE(place.stat().st_mode) == 0o700
    before, picture = sorted(place.iterdir()), (server.studies / "q/c.dcm").read_bytes()
    assert server.put("/datastore/image", params={"image": "x"}, files={"file": ("c.dcm", picture)}).status_code == 403
    assert sorted(place.iterdir()) == before


def test_orders_and_scores_come_by_monai_labels_routes(server):
    drafted(server, server.images[0])
    next_one = server.post("/activelearning/least_confident").json()
    assert next_one["id"] == server.images[0] and next_one["order"] == "Training order, not triage"
    scored = server.instance.scoring({"method": "reports", "metrics": ["bleu"]})
    assert scored["studies"] == 1 and scored["effort"]["seconds"]["mean"] == 2


def test_what_monai_labels_own_routes_cannot_do_is_a_sentence_too(server, monkeypatch):
    for path, status, words in (
        ("/activelearning/newest", 422, "no such strategy 'newest'"),
        ("/scoring/reports?run_sync=true", 422, "would hold up the server"),
    ):
        answer = server.post(path)
        assert answer.status_code == status and words in answer.json()["detail"], answer.text
    wrong = server.put("/datastore/image/info", params={"image": server.images[0]}, data={"info": "{"})
    assert wrong.status_code == 422 and "should hold JSON" in wrong.json()["detail"]
    assert server.put("/datastore/image/info", params={"image": "nobody"}, data={"info": "{}"}).status_code == 404
    monkeypatch.setattr(server.instance, "next_sample", lambda request: 1 / 0)
    answer = server.post("/activelearning/least_confident")
    assert answer.status_code == 500 and "ZeroDivisionError" in answer.json()["detail"]


def test_a_batch_drafts_all_and_says_what_failed(server):
    (server.studies / "p/1/a.dcm").rename(server.studies / "gone")
    try:
        found = server.instance.batch_infer({"model": MODEL, "images": "all"})
    finally:
        (server.studies / "gone").rename(server.studies / "p/1/a.dcm")
    assert set(found) == set(server.images)
    failed = [image for image, draft in found.items() if "error" in draft]
    assert len(failed) >= 1 and "does not exist" in found[failed[-1]]["error"] and any("findings" in draft for draft in found.values())


def _batch(server, **params):
    """The end of a batch, and how many processes MONAI Label's own tasks had meanwhile."""
    import time

    import psutil

    there = set(psutil.Process().children())  # of tests before, such as the one that decodes
    begun = server.post(f"/batch/infer/{MODEL}", json=params)
    assert begun.status_code == 200, begun.text
    children, end = 0, time.monotonic() + 120
    while (told := server.get("/batch/infer").json())["status"] not in ("DONE", "ERROR", "STOPPED"):
        children = max(children, len(set(psutil.Process().children()) - there))
        assert time.monotonic() < end, told
        time.sleep(0.05)
    assert told["id"] == begun.json()["id"]
    return told, children


def test_a_batch_over_http_drafts_with_the_model_that_serves_and_loads_none(server, monkeypatch):
    loads, reports = [], server.instance.reports
    monkeypatch.setattr("libra_monai.apps.monailabel.app.load_pretrained", lambda *given: loads.append(given))
    before = {image: len(reports.versions(image, "original")) for image in server.images}
    (server.studies / "q/c.dcm").rename(server.studies / "gone")
    try:
        told, children = _batch(server, prompt="impression")
    finally:
        (server.studies / "gone").rename(server.studies / "q/c.dcm")
    assert told["status"] == "DONE" and told["details"][-1] == "3 of 3, 1 failed", told
    assert (loads, children) == ([], 0)
    drafted_now = [image for image in server.images if len(reports.versions(image, "original")) > before[image]]
    assert sorted([*told["failed"], *drafted_now]) == sorted(server.images)
    assert server.get("/batch/infer", params={"all": True}).json()[-1] == told
    assert server.get("/batch/infer", params={"check_if_running": True}).status_code == 404
    assert server.post("/batch/infer/chest_xray").status_code == 404


def test_a_batch_is_stopped_in_the_middle_of_a_draft_and_there_is_one_at_a_time(server):
    begun = server.post(f"/batch/infer/{MODEL}", json={"decoding": "published"}).json()
    second = server.post(f"/batch/infer/{MODEL}")
    assert second.status_code == 429 and "A batch is running" in second.json()["detail"]
    stopped = server.delete("/batch/infer").json()
    assert (stopped["id"], stopped["status"]) == (begun["id"], "STOPPED") and "3 of 3" not in str(stopped["details"])
    assert server.delete("/batch/infer").json() is None
    assert server.get("/batch/infer").json()["status"] == "STOPPED"


def test_sessions_of_monai_label_share_the_room_of_uploads_and_leave_nothing_when_refused(server, monkeypatch):
    import tempfile
    from pathlib import Path

    quota, picture = server.instance.uploads.quota, (server.studies / "q/c.dcm").read_bytes()
    used = quota.used
    kept = server.put("/session/", files={"files": ("c.dcm", picture)}).json()["session_id"]
    assert quota.used == used + len(picture)
    monkeypatch.setattr(quota, "most_bytes", quota.used + len(picture) - 1)
    refused = server.put("/session/", files={"files": ("c.dcm", picture)})
    assert refused.status_code == 507 and "does not fit" in refused.json()["detail"] and "--max-uploads" in refused.json()["detail"]
    assert not [path for path in Path(tempfile.gettempdir()).rglob("*.dcm")]
    assert server.delete(f"/session/{kept}").status_code == 200 and quota.used == used
