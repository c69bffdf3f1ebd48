# SPDX-License-Identifier: Apache-2.0
"""The label app's routes: studies and priors by the project's rule, drafts of the command line, pictures a reader can window."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the label app is not installed: run libra-monai label --install")
pytest.importorskip("multipart", reason="the label app is not installed: run libra-monai label --install")

from libra_monai.apps.main import main
from libra_monai.apps.monailabel.server.service import DraftRequest, DraftService
from libra_monai.apps.monailabel.sources.local import LocalStudies, RememberedHeaders
from libra_monai.data.chronology import choose_priors
from libra_monai.data.sources.study_folder import StudyFolder
from libra_monai.transforms.dicom import read_dicom
from tests.apps.label_server import drafted, ended, label_server
from tests.data.studies_made import at, write_dicom
from tests.transforms.dicoms import PICTURE, write


@pytest.fixture(scope="module")
def server(phantom, tiny, tmp_path_factory):
    """The app on the phantom studies."""
    with label_server(phantom, tmp_path_factory.mktemp("home"), tiny) as client:
        yield client


@pytest.fixture(scope="module")
def studies(server):
    """The worklist."""
    return server.get("/libra/worklist").json()["studies"]


def test_the_worklist_has_every_study_newest_first_with_the_prior_of_the_rule(server, studies, phantom):
    expected = {c.study.study_id: c.prior and c.prior[0].study_id for c in choose_priors(StudyFolder().read(phantom))}
    assert {one["id"]: one["prior"] for one in studies} == expected and any(expected.values())
    moments = [(one["date"], one["time"]) for one in studies]
    assert moments == sorted(moments, reverse=True)
    told = server.get("/libra/worklist").json()
    assert told["mark"].startswith("AUTOMATICALLY GENERATED") and told["model"]["synthetic"] is True
    assert told["prompts"][0] == "findings" and told["decodings"][0] == "greedy"
    assert told["stores_back"] is False  # a folder is no archive


def test_a_draft_is_the_one_of_the_command_line(server, studies, phantom, tmp_path, capsys):
    one = next(study for study in studies if study["prior"])
    folder = next(path for path in phantom.rglob("*.dcm") if server.context.studies.record(one["id"])["current"] in path.as_posix()).parents[1]
    newest = next(s["id"] for s in studies if server.context.studies.record(s["id"])["patient_id"] == folder.name)
    assert main(["report", str(folder), "--evidence", "--format", "json", "--out", str(tmp_path), "--device", "cpu"]) == 0
    line = json.loads(next(tmp_path.glob("*.json")).read_text())
    draft = drafted(server, newest)["draft"]
    assert {name: draft[name] for name in line} == line
    assert set(draft["latencies"]) == {"queued", "draft", "total"} and draft["uid"].startswith("2.25.")


def test_a_draft_is_kept_once_and_another_names_the_one_it_supersedes(server, studies):
    one = next(study for study in reversed(studies) if study["prior"])
    first = drafted(server, one["id"])["draft"]
    again = drafted(server, one["id"])["draft"]
    alone = drafted(server, one["id"], prior=None)["draft"]
    assert (first["version"], again["version"], alone["version"]) == (1, 1, 2)
    assert first["supersedes"] is None and alone["supersedes"] == first["uid"] and not alone["prior_used"]
    assert server.get(f"/libra/studies/{one['id']}").json()["versions"] == {"original": 2, "reader_corrected": 0}


def test_the_reader_chooses_another_prior(server, studies):
    told = [server.get(f"/libra/studies/{study['id']}").json() for study in studies]
    one = next(study for study in told if len(study["priors"]) > 1)
    other = one["priors"][1]
    draft = drafted(server, one["id"], prior=other["id"])["draft"]
    assert draft["prior_used"] and draft["prior_study_id"] == other["id"] != one["prior"]
    stranger = next(study["id"] for study in told if study["id"] not in {p["id"] for p in one["priors"]} | {one["id"]})
    refused = server.post("/libra/drafts", json={"image": one["id"], "prior": stranger})
    assert refused.status_code == 422 and "no earlier study of the same patient" in refused.json()["detail"]


def test_a_correction_is_a_version_and_changes_the_state(server, studies):
    image = studies[0]["id"]
    draft = drafted(server, image)["draft"]
    told = server.put(f"/libra/reports/{image}", json={"findings": draft["findings"] + " <b>Clear.</b>", "draft": draft["uid"], "seconds": 4.5})
    assert told.json() == {"version": 1, "edit_distance": {"characters": 14, "words": 1}}
    reports = server.get(f"/libra/reports/{image}").json()
    assert reports["reader_corrected"][0]["findings"].endswith("<b>Clear.</b>") and reports["original"][-1]["uid"] == draft["uid"]
    states = {one["id"]: one["state"] for one in server.get("/libra/worklist").json()["studies"]}
    assert states[image] == "corrected" and {"corrected", "new"} <= set(states.values())
    assert server.get(f"/libra/studies/{image}").json()["corrected"]["seconds"] == 4.5


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 2000, "WindowWidth": 3000},
        {},
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1500, "WindowWidth": 2000},
        {"PatientOrientation": ["R", "H"], "WindowCenter": 2000, "WindowWidth": 4000},
        {"RescaleSlope": 0.5, "RescaleIntercept": -100, "WindowCenter": 800, "WindowWidth": 1500},
        {"PixelPaddingValue": 0},
    ],
    ids=["window", "range", "inverted", "turned", "rescaled", "padded"],
)
def test_a_picture_in_its_window_is_what_the_model_would_be_shown(tmp_path, tiny, tags):
    write(tmp_path / "in.dcm", PICTURE * 4095, 12, **tags)
    shown, _ = read_dicom(str(tmp_path / "in.dcm"))
    with label_server(tmp_path, tmp_path / "home", tiny) as client:
        (one,) = client.get("/libra/worklist").json()["studies"]
        answer = client.get(f"/libra/pictures/{one['id']}")
    number = {name: float(answer.headers[f"X-{name}"]) for name in ("Rows", "Columns", "Low", "High", "Bits")}
    values = np.frombuffer(answer.content, "<u2").reshape(int(number["Rows"]), int(number["Columns"])).astype(float)
    windowed = np.clip((values - number["Low"]) / (number["High"] - number["Low"]), 0, 1) * 255
    assert values.shape == shown.shape and np.abs(windowed - shown).max() <= 1.01
    assert number["Bits"] == 12 and len(np.unique(values)) > 500  # more than the eight bits of `shown` tell apart


def test_a_picture_is_no_longer_than_asked(server, studies):
    answer = server.get(f"/libra/pictures/{studies[0]['id']}?side=64")
    assert max(int(answer.headers["X-Rows"]), int(answer.headers["X-Columns"])) == 64
    assert len(answer.content) == 2 * int(answer.headers["X-Rows"]) * int(answer.headers["X-Columns"])
    assert server.get(f"/libra/pictures/{studies[0]['id']}?side=1").status_code == 422


def test_png_and_jpeg_are_studies_and_a_datalist_tells_their_priors(tmp_path, tiny):
    grey = (np.clip(np.kron(PICTURE, np.ones((3, 3))), 0, 1) * 255).astype(np.uint8)
    for name in ("now.png", "then.png", "sub/alone.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(grey).save(tmp_path / name)
    Image.fromarray((grey.astype(np.uint16) * 100)).save(tmp_path / "deep.png")
    record = {"study_id": "B 1", "patient_id": "p", "current": "now.png", "prior": "then.png", "prior_study_id": "A", "gap_hours": 24.0}
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [record, {"study_id": "out", "current": "../now.png"}]}))
    with label_server(tmp_path, tmp_path / "home", tiny) as client:
        told = {one["id"]: one for one in client.get("/libra/worklist").json()["studies"]}
        listed = next(one for one in told if one.startswith("B_1"))
        assert set(told) == {listed, "sub_alone", "deep"} or len(told) == 3
        priors = client.get(f"/libra/studies/{listed}").json()["priors"]
        assert told[listed]["prior"] == "A" and priors[0]["gap_hours"] == 24.0
        assert client.get("/libra/pictures/A").headers["X-Bits"] == "8"
        assert int(client.get("/libra/pictures/deep").headers["X-Bits"]) > 8
        assert client.context.studies.studies.left_out["in datalist.json: path leaves the data root"] == 1
        assert drafted(client, listed)["draft"]["prior_used"]


def test_new_files_are_found_and_old_ones_not_opened_again(tmp_path):
    write_dicom(tmp_path / "a.dcm", name="a")
    studies = LocalStudies(tmp_path, dated=False)
    opened = []
    studies._headers = RememberedHeaders(lambda path: opened.append(path) or read(path))
    studies.scan()
    write_dicom(tmp_path / "b.dcm", name="b", time=at(5))
    studies.scan()
    assert len(opened) == 2 and len(studies.ids()) == 2
    assert studies.about(studies.ids()[0])["prior"] == studies.ids()[1]


def read(path):
    from libra_monai.data.sources.headers import read_header

    return read_header(path)


@pytest.fixture
def busy(tiny, phantom):
    """A service whose worker waits at the first block of the model until `.go` is set, and a request for it."""
    studies = LocalStudies(phantom, dated=False)
    image = studies.ids()[0]
    gate, reached = threading.Event(), threading.Event()

    def keep(image, draft):
        reached.set()
        gate.wait(30)
        return draft

    service = DraftService(tiny, keep, size=2, remember=2)
    service.go, service.reached = gate, reached
    service.request = DraftRequest(image, studies.record(image), studies.root)
    yield service
    gate.set()
    service.close()


def test_a_queued_job_is_cancelled_a_full_queue_refuses_and_positions_count(busy):
    from libra_monai.apps.monailabel.server.service import QueueFull

    first = busy.submit(busy.request)
    assert busy.reached.wait(30)
    second, third = busy.submit(busy.request), busy.submit(busy.request)
    assert [busy.position(job) for job in (first, second, third)] == [0, 1, 2]
    with pytest.raises(QueueFull, match="2 drafts are waiting"):
        busy.submit(busy.request)
    assert busy.cancel(second.id).state == "cancelled" and busy.position(third) == 1
    busy.go.set()
    assert third.over.wait(30) and (first.state, second.state, third.state) == ("done", "cancelled", "done")


def test_a_running_job_stops_between_two_passes_by_cancel_and_by_its_limit(busy):
    busy.go.set()
    passes = []
    hook = busy._loaded.model.language.model.register_forward_pre_hook(lambda *_: passes.append(1), with_kwargs=False)
    try:
        job = busy.submit(busy.request)
        while len(passes) < 2:
            threading.Event().wait(0.002)
        busy.cancel(job.id)
        assert job.over.wait(30) and job.state == "cancelled" and job.draft is None
        late = busy.submit(DraftRequest(**{**vars(busy.request), "decoding": "published", "seconds": 0.05}))
        assert late.over.wait(30) and late.state == "timed_out" and "longer than 0.05 seconds" in late.error
    finally:
        hook.remove()
    fine = busy.submit(busy.request)
    assert fine.over.wait(30) and fine.state == "done"


def test_ended_jobs_are_forgotten_and_what_is_unknown_says_so(busy):
    from libra_monai.errors import LibraError

    busy.go.set()
    jobs = []
    for _ in range(4):
        jobs.append(busy.submit(busy.request))
        assert jobs[-1].over.wait(30)
    with pytest.raises(LibraError, match="ask for the draft again"):
        busy.job(jobs[0].id)
    assert busy.job(jobs[-1].id) is jobs[-1] and len(busy._jobs) <= 3


def test_other_weights_serve_from_the_next_job_on_and_a_folder_that_cannot_be_loaded_changes_nothing(busy, tmp_path, tiny):
    import shutil

    from libra_monai import paths
    from libra_monai.errors import ModelError

    shutil.copytree(paths.tiny_model(), tmp_path / "other")
    card = tmp_path / "other" / "report_model.json"
    content = json.loads(card.read_text())
    content["card"]["version"] = "9.9"
    card.write_text(json.dumps(content))
    first = busy.submit(busy.request)
    assert busy.reached.wait(30)
    exchange = threading.Thread(target=busy.swap, args=(tmp_path / "other",))
    exchange.start()
    busy.go.set()
    exchange.join(60)
    second = busy.submit(busy.request)
    assert second.over.wait(30)
    assert first.draft["model"].endswith("0.4.0") and second.draft["model"].endswith("9.9") and busy.model["version"] == "9.9"
    with pytest.raises(ModelError):
        busy.swap(tmp_path)
    assert busy.model["version"] == "9.9"


def test_many_at_once_get_their_own_drafts(server, studies):
    images = [one["id"] for one in studies][:2] * 2
    jobs = [server.post("/libra/drafts", json={"image": image}).json()["job"] for image in images]
    drafts = [ended(server, job)["draft"] for job in jobs]
    assert [draft["study_id"] for draft in drafts] == images
    alone = {image: drafted(server, image)["draft"]["findings"] for image in set(images)}
    assert [draft["findings"] for draft in drafts] == [alone[image] for image in images]


def test_a_service_that_ends_cancels_what_waits_and_takes_no_more(busy):
    from libra_monai.apps.monailabel.server.service import QueueFull

    first = busy.submit(busy.request)
    assert busy.reached.wait(30)
    second = busy.submit(busy.request)
    busy.go.set()
    busy.close()
    assert first.over.is_set() and (second.state, second.over.is_set()) == ("cancelled", True) and "server ended" in second.error
    with pytest.raises(QueueFull, match="the server is ending"):
        busy.submit(busy.request)
