# SPDX-License-Identifier: Apache-2.0
"""The label app on a real archive: what it lists, drafts and stores back, and what it says when the archive does not play along."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="no fastapi; run libra-monai label --install")
pytest.importorskip("dicomweb_client", reason="no dicomweb-client; install libra-monai[dicom]")
pytest.importorskip("highdicom", reason="no highdicom; install libra-monai[dicom]")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom import dcmread

from libra_monai.apps.main import main
from libra_monai.apps.monailabel.learning.reports import ReportStore
from libra_monai.apps.monailabel.server import routes
from libra_monai.apps.monailabel.server.context import Context, keeping
from libra_monai.apps.monailabel.server.service import DraftService
from libra_monai.apps.monailabel.sources import store_back
from libra_monai.apps.monailabel.sources.dicomweb import MISSING, OTHER, WebStudies, open_archive
from libra_monai.apps.monailabel.sources.local import LocalStudies
from libra_monai.apps.monailabel.sources.studies import AUTO
from libra_monai.apps.peers import PASSWORD, USER, Peer, PeerError
from libra_monai.apps.web_archive import CAP, WebArchive
from libra_monai.errors import StudyError
from tests.data.studies_made import START, write_dicom
from tests.slow.orthanc import ABSENT, REASON, Orthanc, free_port

pytestmark = [pytest.mark.slow, pytest.mark.skipif(ABSENT, reason=REASON)]
ELSEWHERE = {"ct": {"Modality": "CT"}, "hand": {"BodyPartExamined": "HAND"}, "side": {"view": "LL"}}


class App:
    """The app's routes over an archive, asked as a browser asks them."""

    def __init__(self, archive, folder, tiny, allowed=False):
        reports = ReportStore(folder / "reports")
        self.studies = WebStudies(archive, folder, refresh=0.0)
        self.context = Context(DraftService(tiny, keep=keeping(reports)), self.studies, reports, folder)
        app = FastAPI()
        routes.attach(app, self.context)
        store_back.attach(app, self.context, store_back.StoreBack(archive, allowed))
        self.client = TestClient(app)

    def draft(self, image, **more):
        job = self.client.post("/libra/drafts", json={"image": image, **more}).json()["job"]
        while (told := self.client.get(f"/libra/drafts/{job}").json())["state"] in ("queued", "running"):
            time.sleep(0.05)
        assert told["state"] == "done", told
        return told["draft"]

    def store(self, image):
        answer = self.client.post(f"/libra/stored/{image}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, phantom):
    """An archive with the phantom studies, one more study of each kind that is no chest radiograph, and a bare report."""
    folder = tmp_path_factory.mktemp("orthanc")
    server = Orthanc(folder)
    for path in sorted(phantom.rglob("*.dcm")):
        server.ask("/instances", path.read_bytes())
    server.elsewhere = {}
    for name, tags in ELSEWHERE.items():
        path = write_dicom(folder / f"{name}.dcm", "elsewhere", name, **tags)
        server.ask("/instances", path.read_bytes())
        server.elsewhere[name] = str(dcmread(path).StudyInstanceUID)
    report = write_dicom(folder / "sr.dcm", "elsewhere", "sr", START + timedelta(days=1), Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    server.ask("/instances", report.read_bytes())
    server.elsewhere["sr"] = str(dcmread(report).StudyInstanceUID)
    yield server
    server.stop()


@pytest.fixture
def app(orthanc, tmp_path, tiny):
    made = []

    def make(allowed=False, archive=None, name="app"):
        made.append(App(archive or WebArchive(Peer(url=orthanc.url)), tmp_path / name, tiny, allowed))
        return made[-1]

    yield make
    for one in made:
        one.context.service.close()


@pytest.fixture(scope="module")
def local(phantom, tmp_path_factory):
    """The same studies as a folder of files."""
    return LocalStudies(phantom, tmp_path_factory.mktemp("work"))


def _patient(orthanc, local, number):
    """The identifier of a phantom patient, and its studies, the newest first."""
    patients = sorted({local.record(image)["patient_id"] for image in local.ids() if local.about(image)["prior"]})
    return patients[number], [image for image in local.ids() if local.record(image)["patient_id"] == patients[number]]


def _instances(orthanc, study):
    found = orthanc.ask("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": study}})
    return [dcmread(BytesIO(orthanc.ask(f"/instances/{one}/file"))) for one in found]


def test_the_worklist_is_that_of_the_same_files_in_a_folder_and_of_chest_radiographs_only(app, local, orthanc):
    one = app()
    worklist = one.client.get("/libra/worklist").json()["studies"]
    assert [{**row, "state": None} for row in worklist] == [{**local.about(image), "state": None} for image in local.ids()]
    assert sum(row["prior"] is not None for row in worklist) > 10
    assert not set(orthanc.elsewhere.values()) & {row["id"] for row in worklist}
    assert not list(Path(one.studies.root).glob("*.dcm"))  # a list fetches no picture
    for row in worklist[:5]:
        assert one.client.get(f"/libra/studies/{row['id']}").json()["priors"] == local.priors(row["id"])


def test_priors_further_back_than_the_worklist_are_found(orthanc, local, tmp_path):
    studies = WebStudies(WebArchive(Peer(url=orthanc.url)), tmp_path, most=6)
    assert len(studies.ids()) <= 6
    assert all(studies.about(image) == local.about(image) for image in studies.ids())
    assert any(local.about(image)["prior"] not in (None, *studies.ids()) for image in studies.ids())  # so the test can fail


def test_a_draft_equals_that_of_the_command_line_for_the_same_files(app, local, phantom, orthanc, tmp_path):
    patient, images = _patient(orthanc, local, 0)
    one = app()
    draft = one.draft(images[0])
    assert main(["report", str(phantom / "images" / patient), "--out", str(tmp_path / "out"), "--format", "json", "--device", "cpu"]) == 0
    (written,) = (tmp_path / "out").glob("*.json")
    expected = json.loads(written.read_text())
    assert draft["prior_used"] and draft["prior_study_id"] == images[1]
    same = set(expected) - {"evidence", "evidence_note"}
    assert {name: draft[name] for name in same} == {name: expected[name] for name in same}
    assert len(list(Path(one.studies.root).iterdir())) == 2  # other earlier studies are not fetched
    alone = one.draft(images[0], prior=None)
    assert not alone["prior_used"] and alone["comparison"] != draft["comparison"]
    assert one.draft(images[0], prior=images[-1])["prior_study_id"] == images[-1]


def _fetched(app, image, prior):
    """How many pictures it takes to open a study."""
    for path in Path(app.studies.root).iterdir():
        path.unlink()
    app.studies.record(image, prior)
    return len(list(Path(app.studies.root).iterdir()))


def test_pictures_come_as_the_archive_keeps_them_and_stay_within_the_folder_of_the_app(app, local, phantom, tmp_path):
    one, image = app(), next(image for image in local.ids() if len(local.priors(image)) > 1)
    shown, theirs = one.studies.pixels(image), local.pixels(image)
    assert (shown.values == theirs.values).all() and (shown.low, shown.high, shown.bits) == (theirs.low, theirs.high, theirs.bits)
    (path,) = Path(one.studies.root).iterdir()
    fetched = {prior: _fetched(one, image, prior) for prior in (None, AUTO, local.priors(image)[-1]["id"])}
    assert list(fetched.values()) == [1, 2, 2] and len(local.priors(image)) > 1
    assert path.parent.stat().st_mode & 0o077 == 0 and path.resolve().is_relative_to((tmp_path / "app").resolve())
    one.studies.pixels(image)
    kept, sent = dcmread(path), dcmread(phantom / local.record(image)["current"])
    assert kept.PixelData == sent.PixelData and kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID


def test_nothing_is_stored_unless_the_server_was_started_so(app, local, orthanc):
    one, image = app(), local.ids()[0]
    one.draft(image)
    answer = one.client.post(f"/libra/stored/{image}")
    assert answer.status_code == 403 and "--store-back" in answer.json()["detail"]
    assert all(dataset.Modality != "SR" for dataset in _instances(orthanc, image))


def test_a_new_draft_names_the_one_it_supersedes_and_none_is_ever_verified(app, local, orthanc, tmp_path):
    patient, (image, prior, *_) = _patient(orthanc, local, 1)
    one = app(allowed=True)
    assert one.client.post(f"/libra/stored/{image}").json()["detail"].startswith("there is no draft of this study")
    one.draft(image)
    first = one.store(image)
    assert first["stored"] and first["supersedes"] == []
    again = one.store(image)
    assert again == {**first, "stored": False} and len(orthanc.reports(patient)) == 1
    one.draft(image, prior=None)
    second = one.store(image)
    one.draft(image)  # as the first one, and yet it takes the place of the second
    third = one.store(image)
    assert second["supersedes"] == [first["uid"]] and third["supersedes"] == [second["uid"]]
    assert len({first["uid"], second["uid"], third["uid"]}) == 3 and not one.store(image)["stored"]
    reports = {str(dataset.SOPInstanceUID): dataset for dataset in _instances(orthanc, image) if dataset.Modality == "SR"}
    assert set(reports) == {first["uid"], second["uid"], third["uid"]}
    for number, (uid, report) in enumerate(reports.items()):
        assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == ("PARTIAL", "PRELIMINARY", "UNVERIFIED")
        assert report.PatientID == patient and report.StudyInstanceUID == image and "VerifyingObserverSequence" not in report
        assert ("PertinentOtherEvidenceSequence" in report) == (uid != second["uid"])
        named = [o.ReferencedSOPInstanceUID for s in report.get("PredecessorDocumentsSequence", ()) for r in s.ReferencedSeriesSequence for o in r.ReferencedSOPSequence]  # fmt: skip
        assert named == {first["uid"]: [], second["uid"]: [first["uid"]], third["uid"]: [second["uid"]]}[uid]
        report.save_as(tmp_path / f"{number}.dcm")
        if shutil.which("dciodvfy"):
            said = subprocess.run(["dciodvfy", "-new", str(tmp_path / f"{number}.dcm")], capture_output=True, text=True, timeout=60)
            assert said.returncode == 0 and "Error" not in said.stdout + said.stderr, said
    assert [row["id"] for row in one.client.get("/libra/worklist").json()["studies"]] == local.ids()  # reports are no pictures
    assert prior == one.client.get(f"/libra/studies/{image}").json()["prior"]


def test_what_cannot_be_drafted_is_said_by_name(app, orthanc):
    one = app()
    for name, says in {"ct": "modality 'CT', not CR or DX", "hand": "body part 'HAND', not CHEST", "side": "views: LL", "sr": "modality 'SR'"}.items():
        answer = one.client.post("/libra/drafts", json={"image": orthanc.elsewhere[name]})
        assert answer.status_code == 422 and says in answer.json()["detail"], answer.text
    for unknown in ("1.2.3", "abc", "upload-1"):
        answer = one.client.post("/libra/drafts", json={"image": unknown})
        assert answer.status_code == 404 and "there is no study" in answer.json()["detail"], answer.text
    assert one.client.post("/libra/drafts", json={"image": "../../etc/passwd"}).status_code == 422


class Forgetful(WebArchive):
    """A client whose archive loses studies after it has told of them, and goes on telling."""

    def __init__(self, orthanc, losing):
        super().__init__(Peer(url=orthanc.url))
        self.orthanc, self.losing, self.told = orthanc, losing, {}

    def series(self, study_uid):
        return self._told(study_uid, super().series)

    def metadata(self, study_uid, series_uid, keywords):
        return self._told((study_uid, series_uid), lambda uids: super(Forgetful, self).metadata(*uids, keywords))

    def _told(self, what, ask):
        if what not in self.told:
            self.told[what] = ask(what)
        return self.told[what]

    def fetch(self, study_uid, series_uid, sop_uid, path):
        if study_uid in self.losing:
            for one in self.orthanc.ask("/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}):
                self.orthanc.ask(f"/studies/{one}", method="DELETE")
        super().fetch(study_uid, series_uid, sop_uid, path)


def test_a_picture_that_is_listed_and_not_there(app, local, orthanc, phantom):
    _, (image, prior, before, *_) = _patient(orthanc, local, -1)
    draft = app(archive=Forgetful(orthanc, [prior])).draft(image)
    assert draft["prior_study_id"] == before  # the study before it, by the rule
    one = app(archive=Forgetful(orthanc, [prior, before]), name="other")
    answer = one.client.post("/libra/drafts", json={"image": before})
    assert answer.status_code == 422 and MISSING in answer.json()["detail"]
    for study in (prior, before):
        orthanc.ask("/instances", (phantom / local.record(study)["current"]).read_bytes())


def test_an_archive_that_is_down_elsewhere_or_closed_is_told_with_its_remedy(orthanc, tmp_path, monkeypatch):
    cases = {
        f"http://127.0.0.1:{free_port()}/dicom-web": "does not answer.*Check that the archive runs",
        orthanc.url.replace("dicom-web", "elsewhere"): "does not answer QIDO-RS .404.*DICOMweb root",
        f"http://127.0.0.1:{orthanc.web}": "does not answer QIDO-RS .400.*DICOMweb root",  # its own interface, not DICOMweb
    }
    for url, says in cases.items():
        with pytest.raises(PeerError, match=says):
            open_archive(url, tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir()
    closed = Orthanc(folder, {"reader": "secret"})
    try:
        with pytest.raises(PeerError, match=rf"refuses this side \(401\).*{USER} and {PASSWORD}") as error:
            open_archive(closed.url, tmp_path)
        assert "secret" not in str(error.value)
        monkeypatch.setenv(USER, "reader")
        monkeypatch.setenv(PASSWORD, "secret")
        assert open_archive(closed.url, tmp_path).ids() == []
        for number in range(CAP + 5):
            closed.ask("/instances", write_dicom(tmp_path / "one.dcm", "many", f"s{number}", START - timedelta(days=number)).read_bytes())
        assert len(open_archive(closed.url, tmp_path, dated=False).ids()) == CAP + 5  # more than some servers give at once
    finally:
        closed.stop()


def test_reports_can_be_read_and_corrected_while_the_archive_is_down(app, local, orthanc):
    one, image = app(), local.ids()[0]
    draft = one.draft(image)
    one.client.get("/libra/worklist")
    one.studies.archive.peer = Peer(url=f"http://127.0.0.1:{free_port()}/dicom-web")
    one.studies.archive._own = threading.local()  # as if it had just ended
    answer = one.client.get("/libra/worklist")
    assert answer.status_code == 502 and "Check that the archive runs" in answer.json()["detail"]
    shown = one.client.get(f"/libra/studies/{image}").json()
    assert shown["draft"]["uid"] == draft["uid"] and shown["priors"] == local.priors(image)
    assert one.client.put(f"/libra/reports/{image}", json={"findings": "Clear.", "draft": draft["uid"]}).json()["version"] == 1


def test_a_study_that_was_corrected_in_the_archive_is_not_drafted_from_the_old_file(app, local, orthanc, tmp_path):
    one, image = app(), local.ids()[-1]
    record = one.studies.record(image)
    path = Path(one.studies.root, record["current"])
    dataset = dcmread(path)
    dataset.PatientID = "somebody else"
    dataset.save_as(path)
    assert dcmread(Path(one.studies.root, one.studies.record(image)["current"])).PatientID == record["patient_id"]
    with pytest.raises(StudyError, match=OTHER):
        WebStudies(Renaming(Peer(url=orthanc.url)), tmp_path).record(image)


class Renaming(WebArchive):
    """A client whose archive has corrected its tables, and not its files."""

    def metadata(self, study_uid, series_uid, keywords):
        rows = super().metadata(study_uid, series_uid, keywords)
        for row in rows:
            row.PatientID = "somebody else"
        return rows
