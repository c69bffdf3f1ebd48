# SPDX-License-Identifier: Apache-2.0
"""Earlier studies of a patient from an archive: C-FIND and C-MOVE, or QIDO-RS and WADO-RS.

Only the few newest studies that may be radiographs are fetched; which of them is the prior, the rule of
`libra_monai.data.chronology` decides from their headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from pydicom import Dataset

from libra_monai.apps.peers import RADIOGRAPHS, Candidate, Peer, PeerError, associate, candidate_of, is_one_patient
from libra_monai.apps.web_archive import WebArchive

_PENDING = (0xFF00, 0xFF01)


def fetch_earlier(
    peer: Peer,
    title: str,
    patient_id: str,
    study_uid: str,
    until: str,
    folder: Path,
    receiving: Callable[[str, Path], AbstractContextManager],
    count: int = 3,
) -> int:
    """Fetch the newest earlier studies of a patient into a folder; the number of studies.

    Args:
        peer: the archive.
        title: AE title of this side, which the archive must know to move studies to.
        patient_id: of the current study.
        study_uid: of the current study, which is not fetched.
        until: date of the current study; later ones are not fetched.
        folder: where to; each study has a folder of its own.
        receiving: opens the listener for objects of a study that come into a folder by C-MOVE.
        count: studies at most.

    Raises:
        PeerError: the archive did not answer as it should.
    """
    if not is_one_patient(patient_id):
        return 0
    archive = WebArchive(peer) if peer.url else None
    found = archive.studies(patient_id) if archive else _find(peer, title, patient_id)
    found = [one for one in found if one.study_uid != study_uid and (not until or not one.date or one.date <= until)]
    newest = sorted(set(found), key=lambda one: (one.date, one.time, one.study_uid), reverse=True)[:count]
    for one in newest:
        place = folder / hashlib.sha256(one.study_uid.encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        if archive:
            archive.fetch_study(one.study_uid, place)
        else:
            with receiving(one.study_uid, place):
                _move(peer, title, one.study_uid)
    return len(newest)


def _query(level: str, **values: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(query, keyword, value)
    return query


def _find(peer: Peer, title: str, patient_id: str) -> list[Candidate]:
    wanted = {"StudyInstanceUID": "", "StudyDate": "", "StudyTime": "", "ModalitiesInStudy": ""}
    rows = _asked(peer, title, _query("STUDY", PatientID=patient_id, **wanted))
    return [one for row in rows if (one := candidate_of(row, patient_id)) is not None]


def _series(peer: Peer, title: str, study_uid: str) -> list[str]:
    """The series of a study that may be radiographs: archives refuse to move a study whole if it also holds what is not taken here, such as the
    reports that this side has sent."""
    rows = _asked(peer, title, _query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", Modality=""))
    return [str(row.SeriesInstanceUID) for row in rows if row.get("SeriesInstanceUID") and str(row.get("Modality") or "CR") in RADIOGRAPHS]


def _asked(peer: Peer, title: str, query: Dataset) -> list[Dataset]:
    """The answers of C-FIND."""
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

    association = associate(peer, title, [(str(Find), None)])
    found = []
    try:
        for status, row in association.send_c_find(query, Find):
            if status.get("Status") in _PENDING and row is not None:
                found.append(row)
            elif status.get("Status") != 0:
                raise PeerError(f"{peer} did not answer C-FIND", "Check that it lets this AE title ask.")
    finally:
        association.release()
    return found


def _move(peer: Peer, title: str, study_uid: str) -> None:
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

    series = _series(peer, title, study_uid)
    association = associate(peer, title, [(str(Move), None)])
    try:
        for uid in series:
            last = None
            for status, _ in association.send_c_move(_query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=uid), title, Move):
                last = status.get("Status")
            if last not in (0x0000, 0xB000):  # with 0xB000 some objects were not taken
                raise PeerError(f"{peer} did not move a series here", f"Let it know where the AE title {title} is.")
    finally:
        association.release()
