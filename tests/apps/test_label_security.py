# SPDX-License-Identifier: Apache-2.0
"""Bad input to the label app, each with its status and sentence; who is answered; what the audit file holds."""

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="the label app is not installed: run libra-monai label --install")
pytest.importorskip("multipart", reason="the label app is not installed: run libra-monai label --install")

from libra_monai.apps.main import main
from libra_monai.apps.monailabel.server.audit import AuditFile
from libra_monai.apps.monailabel.server.security import Guard, Limits
from tests.apps.label_server import label_server
from tests.data.studies_made import at, write_dicom

MODEL = "/infer/chest_xray_report"


@pytest.fixture(scope="module")
def server(tiny, tmp_path_factory):
    """The app on one patient with two studies, and files that are none to draft from."""
    root = tmp_path_factory.mktemp("studies")
    write_dicom(root / "a.dcm", "DOE^JANE", "s1", at(0))
    write_dicom(root / "b.dcm", "DOE^JANE", "s2", at(30))
    write_dicom(root / "ct.dcm", "other", "s3", Modality="CT")
    (root / "notes.txt").write_text("nothing")
    with label_server(root, root / ".libra", tiny, upload=1 << 20) as client:
        client.studies = root
        client.image = client.get("/libra/worklist").json()["studies"][0]["id"]
        yield client


BAD = [
    ("GET", "/libra/studies/nobody", None, 404, "there is no study 'nobody'"),
    ("GET", "/libra/studies/nobody", None, 404, "1 modality 'CT', not CR or DX"),
    ("GET", "/libra/studies/..%2F..%2Fetc%2Fpasswd", None, 422, "is no id"),
    ("GET", "/libra/pictures/..%2Fa.dcm", None, 422, "is no id"),
    ("GET", "/libra/reports/.hidden", None, 422, "is no id"),
    ("GET", "/libra/page/..%2Froutes.py", None, 404, "no such file of the page"),
    ("PUT", "/libra/reports/nobody", {"findings": "Clear."}, 404, "there is no study"),
    ("PUT", "/libra/reports/{image}", {"findings": " "}, 422, "the correction is empty"),
    ("PUT", "/libra/reports/{image}", {"findings": "x" * 20_001}, 422, "longer than"),
    ("PUT", "/libra/reports/{image}", {"findings": "Clear.", "draft": "2.25.7"}, 422, "does not exist"),
    ("POST", "/libra/drafts", {"image": "nobody"}, 404, "there is no study"),
    ("POST", "/libra/drafts", {"image": "../b"}, 422, "is no id"),
    ("POST", "/libra/drafts", {"image": "{image}", "prompt": "finding"}, 422, "Did you mean 'findings'?"),
    ("POST", "/libra/drafts", {"image": "{image}", "decoding": "greed"}, 422, "Did you mean 'greedy'?"),
    ("POST", "/libra/drafts", {"image": "{image}", "seconds": 1e9}, 422, "the server's limit"),
    ("POST", "/libra/drafts", {"image": "{image}", "prior": "../x"}, 422, "no earlier study"),
    ("GET", "/libra/drafts/0123", None, 404, "there is no job"),
    ("POST", f"{MODEL}?image=nobody", None, 404, "there is no study"),
    ("POST", f"{MODEL}?image=../../etc/passwd", None, 422, "is no id"),
    ("POST", f"{MODEL}?image=/etc/passwd", None, 422, "is no id"),
    ("POST", f"{MODEL}?image={{image}}&output=image", None, 422, "writes text"),
    ("POST", MODEL, None, 422, "No study was named"),
    ("POST", f"{MODEL}?session_id=nobody", None, 404, "no such session"),
    ("POST", f"{MODEL}?session_id=../x", None, 422, "is no id"),
    ("POST", "/infer/chest_xray?image=x", None, 404, "Did you mean 'chest_xray_report'?"),
    ("POST", "/reload", None, 403, "closed in this app"),
    ("GET", "/proxy/dicom/qido/studies", None, 403, "closed in this app"),
    ("PUT", "/model/chest_xray_report", None, 403, "closed in this app"),
    ("PUT", "/session/?uncompress=true", None, 422, "Archives are not unpacked"),
    ("PUT", "/datastore/image?image=x", None, 403, "studies are not changed"),
    ("PUT", "/datastore/", None, 403, "studies are not changed"),
    ("POST", "/infer/wsi/chest_xray_report", None, 403, "closed in this app"),
    ("POST", "/train/reports?run_sync=true", None, 422, "would hold up the server"),
    ("DELETE", "/model/chest_xray_report", None, 403, "label rollback --studies"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), BAD, ids=[f"{m} {p[:40]} {n}" for n, (m, p, *_) in enumerate(BAD)])
def test_what_cannot_be_has_a_status_and_a_sentence(server, method, path, body, status, words):
    fill = lambda text: text.replace("{image}", server.image) if isinstance(text, str) else text  # noqa: E731
    sent = None if body is None else {name: fill(value) for name, value in body.items()}
    answer = server.request(method, fill(path), json=sent)
    assert answer.status_code == status and words in answer.json()["detail"], answer.text
    assert str(server.studies) not in answer.text


def _sent(server, *paths, **named):
    files = [("files", path.read_bytes()) for path in paths] + [(name, path.read_bytes()) for name, path in named.items()]
    return server.post("/libra/uploads", files=files)


def test_an_upload_is_a_study_and_is_not_in_the_worklist(server):
    one = _sent(server, server.studies / "b.dcm").json()
    two = _sent(server, current=server.studies / "b.dcm", prior=server.studies / "a.dcm").json()
    assert one["prior"] is None and two["prior"] == f"{two['image']}-prior"
    alone, compared = (server.post(f"{MODEL}?image={image}").json() for image in (one["image"], two["image"]))
    assert not alone["prior_used"] and compared["prior_used"] and compared["study_id"] == two["image"]
    assert server.get(f"/libra/studies/{two['image']}").json()["priors"][0]["gap_hours"] == 30.0
    assert server.get(f"/libra/pictures/{two['prior']}").status_code == 200
    assert len(server.get("/libra/worklist").json()["studies"]) == 2
    again = server.post(MODEL, files={"file": (server.studies / "b.dcm").read_bytes()}).json()
    assert again["findings"] == alone["findings"] and again["study_id"].startswith("upload-")


def test_uploads_are_there_after_a_restart_and_gone_after_a_day(server, tmp_path):
    import os

    from libra_monai.apps.monailabel.server.uploads import Uploads

    first = Uploads(tmp_path)
    with (server.studies / "a.dcm").open("rb") as file:
        name, _ = first.add([file])
    assert Uploads(tmp_path).record(name)["current"] == f"{name}/current.dcm"
    os.utime(tmp_path / name, (0, 0))
    assert Uploads(tmp_path)._entries == {} and not (tmp_path / name).exists()


def test_a_session_of_monai_label_becomes_an_upload_whichever_way_round(server, tmp_path):
    from libra_monai.errors import ConfigError

    uploads = server.context.uploads
    for name in ("a", "b"):
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / f"{name}.dcm").write_bytes((server.studies / f"{name}.dcm").read_bytes())
    image = uploads.adopt(tmp_path / "x")
    assert uploads.about(image)["date"] == "2150-03-02" and uploads.adopt(tmp_path / "x") == image
    write_dicom(tmp_path / "y" / "1.dcm", name="1")
    write_dicom(tmp_path / "y" / "2.dcm", name="2")
    with pytest.raises(ConfigError, match="Name the files current and prior"):
        uploads.adopt(tmp_path / "y")


def test_uploads_that_cannot_be_drafted_are_refused_and_leave_nothing(server, tmp_path):
    before = sorted((server.studies / ".libra" / "uploads").iterdir())
    stranger = write_dicom(tmp_path / "stranger.dcm", "ROE^RICHARD", "s9", at(-50))
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(stranger.read_bytes()[:2500])
    junk = tmp_path / "junk"
    junk.write_bytes(b"PK\3\4" + b"0" * 400)
    a, b, ct = (server.studies / f"{name}.dcm" for name in ("a", "b", "ct"))
    for paths, words in (
        ((b, stranger), "of two patients (another patient identifier)"),
        ((ct,), "its modality is 'CT'"),
        ((b, ct), "the prior picture: the picture is no radiograph"),
        ((cut,), "the current picture: "),
        ((junk,), "no DICOM, PNG or JPEG file"),
        ((a, b, a), "3 files were sent"),
        ((), "0 files were sent"),
    ):
        answer = _sent(server, *paths)
        assert answer.status_code == 422 and words in answer.json()["detail"], answer.text
        assert "DOE" not in answer.text and "ROE" not in answer.text
    wrong = _sent(server, current=a, prior=b)
    assert wrong.status_code == 422 and "dated after the current picture" in wrong.json()["detail"]
    assert sorted((server.studies / ".libra" / "uploads").iterdir()) == before


def test_of_two_files_without_names_the_later_one_is_the_current_one(server):
    ways = [_sent(server, *(server.studies / f"{name}.dcm" for name in order)).json()["image"] for order in ("ab", "ba")]
    for image in ways:
        told = server.get(f"/libra/studies/{image}").json()
        assert told["date"] == "2150-03-02" and told["priors"][0]["date"] == "2150-03-01"


def _asked(app, headers, chunks=()):
    """Status, body, and how many messages the application read of a raw request."""
    taken, sent = [], []
    messages = [{"type": "http.request", "body": chunk, "more_body": n < len(chunks) - 1} for n, chunk in enumerate(chunks)]

    async def receive():
        taken.append(1)
        return messages[len(taken) - 1] if len(taken) <= len(messages) else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/libra/uploads", "raw_path": b"/libra/uploads", "query_string": b"", "http_version": "1.1",
        "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), *((k.encode(), v.encode()) for k, v in headers.items())],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent), len(taken)


def test_two_gigabytes_are_refused_before_a_byte_is_read_and_more_than_announced_in_the_middle(server):
    app, kind = server.app, {"content-type": "multipart/form-data; boundary=x"}
    status, body, taken = _asked(app, {**kind, "content-length": str(2 << 30)})
    assert (status, taken) == (413, 0) and b"larger than the 1 MB" in body
    head = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    status, body, taken = _asked(app, kind, [head] + [b"0" * (256 << 10)] * 64)
    assert status == 413 and taken == 5 and b"larger than the 1 MB" in body


def test_a_text_of_more_than_a_megabyte_is_refused(server):
    answer = server.put(f"/libra/reports/{server.image}", json={"findings": "x" * (2 << 20)})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("client", "headers", "words"),
    [
        (("192.168.1.7", 5), {}, "only this machine is answered"),
        (("127.0.0.1", 5), {"host": "attacker.example"}, "only the names of this machine"),
        (("127.0.0.1", 5), {"origin": "https://attacker.example"}, "Pages of another origin"),
        (("127.0.0.1", 5), {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "Pages of another origin"),
        (("127.0.0.1", 5), {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, "Pages of another origin"),
        (("127.0.0.1", 5), {"host": "["}, "only the names of this machine"),
        (("127.0.0.1", 5), {"origin": "http://["}, "Pages of another origin"),
    ],
    ids=["client", "host", "origin", "fetch", "port", "broken host", "broken origin"],
)
def test_without_authentication_only_this_machine_is_answered_and_no_foreign_page(server, client, headers, words):
    from fastapi.testclient import TestClient

    asking = TestClient(server.app, base_url="http://127.0.0.1:8000", client=client)
    answer = asking.get("/libra/worklist", headers=headers)
    assert answer.status_code == 403 and words in answer.json()["detail"]
    assert server.get("/libra/worklist", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_with_authentication_other_machines_are_answered(server):
    from fastapi.testclient import TestClient

    open_to_all = Guard(server.app.app, Limits(authenticated=True))
    asking = TestClient(open_to_all, base_url="http://reading.hospital.example", client=("192.168.1.7", 5))
    assert asking.get("/libra/worklist").status_code == 200


def test_the_audit_lines_of_a_job_and_of_an_upload_tell_the_study(server):
    from tests.apps.label_server import drafted

    audit = server.studies / ".libra" / "audit.jsonl"
    before = len(audit.read_text().splitlines())
    drafted(server, server.image)
    image = _sent(server, server.studies / "a.dcm").json()["image"]
    lines = [json.loads(line) for line in audit.read_text().splitlines()[before:]]
    named = AuditFile(audit.parent).name_of
    assert {line["study"] for line in lines[:-1]} == {named(server.image)} and lines[-1]["study"] == named(image)


def test_many_uploads_at_once_are_all_kept(server, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from libra_monai.apps.monailabel.server.uploads import Uploads

    uploads = Uploads(tmp_path)
    session = tmp_path / "session.dcm"
    session.write_bytes((server.studies / "a.dcm").read_bytes())

    def one(number):
        if number % 2:
            return uploads.adopt(session)
        with session.open("rb") as file:
            return uploads.add([file])[0]

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(one, range(32)))
    assert len(set(names)) == 17 and all(uploads.about(name)["id"] == name for name in names)


def test_every_request_has_an_audit_line_and_none_names_a_patient(server):
    audit = server.studies / ".libra" / "audit.jsonl"
    before = len(audit.read_text().splitlines())
    server.get(f"/libra/studies/{server.image}")
    server.post(f"{MODEL}?image={server.image}")
    server.get("/libra/worklist", headers={"host": "attacker.example"})
    lines = [json.loads(line) for line in audit.read_text().splitlines()[before:]]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/libra/studies/{image_id:path}", 200), ("/infer/{model}", 200), (None, 403),
    ]  # fmt: skip
    assert [line["study"] for line in lines] == [AuditFile(audit.parent).name_of(server.image)] * 2 + [None]
    text = audit.read_text()
    assert "DOE" not in text and server.image not in text and "lungs" not in text.lower()


def test_a_client_that_goes_away_cancels_its_job(server):
    from libra_monai.apps.monailabel.server.infer_route import _over

    class Gone:
        async def is_disconnected(self):
            return True

    from libra_monai.apps.monailabel.server.routes import request_for

    service = server.context.service
    job = service.submit(request_for(server.context, server.image, decoding="published"))
    asyncio.run(_over(server.context, job, Gone()))
    assert job.state == "cancelled"


def test_the_page_answers_with_headers_that_keep_strangers_scripts_out(server):
    answer = server.get("/libra/")
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    draft = server.post(f"{MODEL}?image={server.image}")
    assert draft.headers["cache-control"] == "no-store" and "frame-ancestors 'none'" in draft.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "Add --expose and --realm"),
        (["--host", "0.0.0.0", "--expose"], "--expose needs authentication"),
        (["--realm", "sign-in.example"], "--realm sign-in.example is no address"),
        (["--host", "0.0.0.0", "--realm", "http://sign-in.example"], "key and passwords cross the network unencrypted"),
        (["--certificate", "x"], "only one of --certificate and --key"),
        (["--seconds", "0"], "seconds is 0"),
        (["--privacy", "private"], "privacy 'private' does not exist"),
    ],
)
def test_the_command_refuses_what_would_open_the_server_to_others(tmp_path, capsys, monkeypatch, words, said):
    from libra_monai.apps.monailabel import install

    monkeypatch.setattr(install, "check_installed", lambda: None)
    assert main(["label", "--studies", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    import socket

    from libra_monai.apps import label
    from libra_monai.apps.monailabel import install

    monkeypatch.setattr(install, "check_installed", lambda: None)
    monkeypatch.setattr(label, "_set_environment", lambda args: pytest.fail("went on"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["label", "--studies", str(tmp_path), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_the_command_wants_studies(capsys):
    assert main(["label"]) == 2
    assert "Give --studies" in capsys.readouterr().err
