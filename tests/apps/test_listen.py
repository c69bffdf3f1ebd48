# SPDX-License-Identifier: Apache-2.0
"""`libra-monai listen`: real associations on loopback, the small model, nothing lost and nothing twice."""

from __future__ import annotations

import logging
import time

import pytest

pytest.importorskip("pynetdicom", reason="no pynetdicom; install libra-monai[dicom]")
pytest.importorskip("highdicom", reason="no highdicom; install libra-monai[dicom]")

from pydicom import dcmread

from libra_monai.apps.peers import Peer, PeerError, parse_peer
from libra_monai.apps.listen.queue import ANSWERED, DRAFTED, FAILED, RECEIVING, StudyQueue
from libra_monai.apps.listen.receiver import Receiver
from libra_monai.apps.listen.worker import NOT_ASKED, Worker
from libra_monai.apps.main import main
from libra_monai.errors import ConfigError
from tests.apps.wire import Archive, call, send
from tests.data.studies_made import at, write_dicom


class Clock:
    """Time that passes when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Side:
    """A listener in this process, whose worker runs when told."""

    def __init__(self, folder, tiny, target=None, archive=None):
        self.clock, self.folder, self.tiny, self.target, self.archive = Clock(), folder, tiny, target, archive
        self.begin()

    def begin(self):
        self.queue = StudyQueue(self.folder, 30, self.clock)
        self.worker = Worker(self.queue, self.tiny, "LIBRA", self.target, self.archive, dated=False)
        self.receiver = Receiver(self.queue, "LIBRA", ["MODALITY", "PACS"], port=0)
        self.receiver.start()

    def restart(self):
        self.receiver.stop()
        self.begin()

    def later(self, seconds):
        self.clock.now += seconds
        return self.worker.step()


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Name -> dataset: a frontal and a lateral picture, an earlier study, the same study of another patient."""
    folder = tmp_path_factory.mktemp("objects")
    ways = {
        "frontal": {"time": at(0)}, "lateral": {"time": at(0), "view": "LL"}, "prior": {"time": at(-48), "name": "s0"},
        "other": {"time": at(0), "PatientID": "q"},
    }  # fmt: skip
    return {name: dcmread(write_dicom(folder / f"{name}.dcm", **way)) for name, way in ways.items()}


@pytest.fixture
def side(tmp_path, tiny):
    made = []

    def make(**more):
        made.append(Side(tmp_path / "work", tiny, **more))
        return made[-1]

    yield make
    for one in made:
        one.receiver.stop()


@pytest.fixture
def archive():
    made = []

    def make(*datasets):
        made.append(Archive(datasets))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()


def _peer(archive):
    return Peer("PACS", "127.0.0.1", archive.port)


def test_a_study_comes_back_as_one_sr_that_names_the_prior_of_the_archive(side, archive, objects):
    pacs = archive(objects["prior"], objects["frontal"])
    one = side(target=_peer(pacs), archive=_peer(pacs))
    pacs.destination = one.receiver.port
    assert send(one.receiver.port, objects["frontal"], objects["lateral"]) == [0, 0]
    assert one.later(29) == 0 and one.later(2) == 1
    (report,) = pacs.stored
    assert report.Modality == "SR" and report.StudyInstanceUID == objects["frontal"].StudyInstanceUID
    named = [str(s.StudyInstanceUID) for s in report.get("PertinentOtherEvidenceSequence", [])]
    assert str(objects["prior"].StudyInstanceUID) in named and pacs.moves == 1
    assert one.queue.state(objects["prior"].StudyInstanceUID) is None  # fetched, not sent to be drafted
    assert send(one.receiver.port, objects["frontal"], objects["lateral"]) == [0, 0]
    one.restart()
    send(one.receiver.port, objects["frontal"])
    assert one.later(100) == 0 and len(pacs.stored) == 1


def test_a_prior_whose_study_holds_our_own_report_is_fetched(side, archive, objects):
    pacs = archive(objects["prior"], objects["frontal"])
    one = side(target=_peer(pacs), archive=_peer(pacs))
    pacs.destination = one.receiver.port
    send(one.receiver.port, objects["prior"])
    assert one.later(31) == 1
    pacs.datasets += pacs.stored  # the report on the prior stands in the archive
    send(one.receiver.port, objects["frontal"])
    assert one.later(31) == 1
    report = pacs.stored[-1]
    named = [str(s.StudyInstanceUID) for s in report.get("PertinentOtherEvidenceSequence", [])]
    assert len(pacs.stored) == 2 and str(objects["prior"].StudyInstanceUID) in named


def test_what_was_acknowledged_is_drafted_after_a_restart(side, archive, objects):
    pacs = archive()
    one = side(target=_peer(pacs))
    send(one.receiver.port, objects["frontal"])
    one.restart()
    assert one.later(31) == 1 and len(pacs.stored) == 1


def test_an_object_whose_state_was_never_written_is_counted_again(tmp_path, objects):
    queue = StudyQueue(tmp_path, 30, Clock())
    study = objects["frontal"].StudyInstanceUID
    queue.add(study, "1.2.3", b"x")
    (queue.place(study) / "objects" / "more.dcm").write_bytes(b"y")
    assert StudyQueue(tmp_path, 30, Clock()).state(study).objects == 2


def test_a_refused_report_is_sent_again_after_longer_and_longer_waits(side, archive, objects):
    pacs = archive()
    pacs.refusals = 2
    one = side(target=_peer(pacs))
    send(one.receiver.port, objects["frontal"])
    uid = objects["frontal"].StudyInstanceUID
    assert one.later(31) == 1 and one.queue.state(uid).status == DRAFTED
    assert one.later(9) == 0 and one.later(2) == 1 and not pacs.stored
    one.restart()  # the wait outlives the process
    assert one.later(18) == 0 and one.later(3) == 1
    assert len(pacs.stored) == 1 and one.queue.state(uid).status == ANSWERED


def test_an_archive_that_does_not_answer_is_asked_again_and_then_told_in_the_draft(side, objects):
    one = side(archive=Peer("PACS", "127.0.0.1", 1))
    send(one.receiver.port, objects["frontal"])
    for wait in (31, 11, 21, 41):
        assert one.later(wait) == 1 and one.queue.state(objects["frontal"].StudyInstanceUID).status == RECEIVING
    assert one.later(81) == 1
    (path,) = (one.queue.place(objects["frontal"].StudyInstanceUID) / "out").glob("*.dcm")
    assert any(NOT_ASKED in str(element.value) for element in dcmread(path).iterall() if element.VR == "UT")


@pytest.mark.parametrize(
    ("names", "says"),
    [(["frontal", "other"], "objects of 2 patients in one study"), (["lateral"], "no usable frontal picture (views: LL)")],
)
def test_a_study_that_cannot_be_drafted_fails_by_name(side, archive, objects, names, says):
    pacs = archive()
    one = side(target=_peer(pacs))
    send(one.receiver.port, *(objects[name] for name in names))
    assert one.later(31) == 1 and one.later(1000) == 0 and not pacs.stored
    state = one.queue.state(objects[names[0]].StudyInstanceUID)
    assert (state.status, state.reason) == (FAILED, says) and says in (one.folder / "failed.jsonl").read_text()


def test_a_frontal_picture_that_comes_late_mends_a_failed_study(side, archive, objects):
    pacs = archive()
    one = side(target=_peer(pacs))
    for name in ("lateral", "frontal"):
        send(one.receiver.port, objects[name])
        one.later(31)
    assert len(pacs.stored) == 1


@pytest.mark.parametrize("names", [{"called": "OTHER"}, {"calling": "STRANGER"}])
def test_a_wrong_title_is_refused_and_logged_without_a_patient(side, objects, names, caplog):
    one = side()
    with caplog.at_level(logging.INFO):
        association = call(one.receiver.port, **names)
        assert association.is_rejected
        _until(lambda: "association refused" in caplog.text)
    assert not list(one.queue.studies.iterdir())


def test_a_sender_that_goes_away_in_the_middle_is_waited_for(side, archive, objects):
    pacs = archive()
    one = side(target=_peer(pacs))
    association = call(one.receiver.port)
    association.send_c_store(objects["lateral"])
    association.abort()
    uid = objects["lateral"].StudyInstanceUID
    _until(lambda: one.queue.state(uid).broken)
    assert one.later(31) == 0  # a study left to itself would be due
    send(one.receiver.port, objects["lateral"], objects["frontal"])
    assert one.later(31) == 1 and len(pacs.stored) == 1


def test_no_log_and_no_name_of_a_file_tells_who_the_patient_is(side, archive, objects, caplog):
    with caplog.at_level(logging.DEBUG, logger="libra_monai"):
        one = side(target=_peer(archive()))
        send(one.receiver.port, objects["frontal"])
        one.later(31)
    names = " ".join(str(path) for path in one.folder.rglob("*") if "out" not in path.parts)
    for value in (objects["frontal"].PatientID, str(objects["frontal"].PatientName), str(objects["frontal"].StudyInstanceUID)):
        assert len(value) < 3 or value not in caplog.text + names
    assert "answered" in caplog.text and (one.folder.stat().st_mode & 0o077) == 0


def test_finished_studies_are_deleted_and_still_known(side, archive, objects):
    pacs = archive()
    one = side(target=_peer(pacs))
    send(one.receiver.port, objects["frontal"])
    one.later(31)
    one.queue.clean(10)
    place = one.queue.place(objects["frontal"].StudyInstanceUID)
    assert not (place / "out").exists() and sum(p.stat().st_size for p in (place / "objects").iterdir()) == 0
    send(one.receiver.port, objects["frontal"])
    assert one.later(100) == 0 and len(pacs.stored) == 1


def test_objects_moved_by_us_but_no_longer_expected_are_not_drafted(tmp_path):
    queue = StudyQueue(tmp_path, 30, Clock())
    assert not queue.add("1.2", "1.2.3", b"x", fetched=True) and queue.state("1.2") is None


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "PACS@host:x", "ftp://host", "http://me:secret@host/"])
def test_a_peer_that_is_none_is_refused(text):
    with pytest.raises(ConfigError) as error:
        parse_peer(text, "--send-to")
    assert "secret" not in str(error.value)


def test_the_command_refuses_before_it_listens(tmp_path, capsys):
    words = ["listen", "--work", str(tmp_path), "--allow", "A"]
    assert main([*words, "--send-to", "PACS"]) == 2 and "is no peer" in capsys.readouterr().err
    assert main(["listen", "--work", str(tmp_path)]) == 2 and "--allow" in capsys.readouterr().err


def test_a_peer_that_is_not_there_is_told():
    from libra_monai.apps.peers import associate

    with pytest.raises(PeerError, match="does not answer"):
        associate(Peer("PACS", "127.0.0.1", 1), "LIBRA", [("1.2.840.10008.1.1", None)])


def _until(done, seconds=5.0):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)
