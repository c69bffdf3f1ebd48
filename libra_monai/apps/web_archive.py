# SPDX-License-Identifier: Apache-2.0
"""What this program asks of a DICOMweb server: QIDO-RS, WADO-RS and STOW-RS, and what its refusals mean for a user.

Nothing here says which patient was asked for: texts of errors and logs of the libraries below quote whole addresses.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword

from libra_monai.apps.peers import PASSWORD, RADIOGRAPHS, SECONDS, USER, Candidate, Peer, PeerError, candidate_of
from libra_monai.files import replacing
from libra_monai.transforms.tags import quiet

CONNECT = 10.0  # seconds until a machine must have answered at all
MOST = 10_000  # rows of an answer
CAP = 100  # servers that give fewer rows than they were asked for give at least so many at once
_LOGGERS = ("dicomweb_client", "urllib3", "retrying")
_ROW = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "PatientID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances",
)  # fmt: skip


class NotThere(PeerError):
    """The archive has no such study or object."""


class WebArchive:
    """A DICOMweb server; its methods may be called from several threads.

    Args:
        peer: with an address.
        seconds: to wait for an answer.
    """

    def __init__(self, peer: Peer, seconds: float = SECONDS) -> None:
        self.peer, self.seconds = peer, seconds
        self._own = threading.local()

    def studies(self, patient_id: str = "", modality: str = "", since: str = "", most: int = MOST) -> list[Candidate]:
        """Studies that may hold radiographs, by QIDO-RS; in no order.

        Args:
            patient_id: of one patient; empty is anyone.
            modality: one that is in the study; empty is any.
            since: date of the oldest, YYYYMMDD; empty is no limit.
            most: no more than so many; an answer of so many may not be whole.

        Raises:
            PeerError: the archive did not answer as it should.
        """
        filters = {"PatientID": patient_id, "ModalitiesInStudy": modality, "StudyDate": since and f"{since}-"}
        filters = {name: value for name, value in filters.items() if value}
        fields = ["ModalitiesInStudy", "NumberOfStudyRelatedInstances"]
        found: dict[str, Candidate] = {}
        rows = 0
        while rows < most:
            # all at once: Orthanc 1.10 gives nothing after an offset when it is asked for a modality
            with self._asking("QIDO-RS") as client:
                page = client.search_for_studies(search_filters=filters, fields=fields, limit=most - rows, offset=rows or None)
                candidates = [candidate_of(_dataset(row, _ROW), patient_id) for row in page]
            new = {one.study_uid: one for one in candidates if one is not None and one.study_uid not in found}
            found |= new
            rows += len(page)
            if len(page) < CAP or not new:  # a server that does not know offsets gives the same rows again
                break
        return list(found.values())

    def series(self, study_uid: str) -> dict[str, str]:
        """UID -> modality of the series of a study, by QIDO-RS; empty where the archive does not say.

        Raises:
            NotThere: the archive has no such study; others say that it has no series.
            PeerError: the archive did not answer as it should.
        """
        with self._asking("QIDO-RS", "has no such study") as client:
            rows = [_dataset(row, ("SeriesInstanceUID", "Modality")) for row in client.search_for_series(study_uid)]
        return {str(row.SeriesInstanceUID): str(row.get("Modality") or "") for row in rows if row.get("SeriesInstanceUID")}

    def metadata(self, study_uid: str, series_uid: str, keywords: Sequence[str]) -> list[Dataset]:
        """Some attributes of every object of a series or a study, by WADO-RS; what is malformed counts as absent.

        Args:
            study_uid, series_uid: which; an empty series is all of them.
            keywords: of the attributes.

        Raises:
            NotThere: the archive has no such study or series.
            PeerError: the archive did not answer as it should.
        """
        with self._asking("WADO-RS", "has no such study or series") as client:
            if series_uid:
                rows = client.retrieve_series_metadata(study_uid, series_uid)
            else:
                rows = client.retrieve_study_metadata(study_uid)
            return [_dataset(row, keywords) for row in rows]

    def fetch(self, study_uid: str, series_uid: str, sop_uid: str, path: Path) -> None:
        """One object, in the encoding the archive keeps it in, by WADO-RS.

        Args:
            study_uid, series_uid, sop_uid: which.
            path: file to write, atomically.

        Raises:
            NotThere: the archive has no such object.
            PeerError: the archive did not answer as it should, or gave another object.
        """
        with self._asking("WADO-RS", "lists a picture that it does not have") as client:
            dataset = client.retrieve_instance(study_uid, series_uid, sop_uid, media_types=(("application/dicom", "*"),))
            if str(dataset.get("SOPInstanceUID")) != sop_uid:
                raise PeerError(f"{self.peer} gave another object than was asked for", "See the log of the archive.")
            _save(dataset, path)

    def fetch_study(self, study_uid: str, folder: Path) -> None:
        """All radiographs of a study, by WADO-RS, into a folder under names that tell nothing.

        Raises:
            PeerError: the archive did not answer as it should.
        """
        with self._asking("WADO-RS", "has no such study") as client:
            for dataset in client.iter_study(study_uid, media_types=(("application/dicom", "*"),)):
                if str(dataset.get("Modality", "")) in RADIOGRAPHS:
                    _save(dataset, folder / object_name(str(dataset.SOPInstanceUID)))

    def store(self, paths: Iterable[Path]) -> None:
        """DICOM files to the archive, by STOW-RS.

        Raises:
            PeerError: one was not taken.
        """
        with self._asking("STOW-RS") as client:
            answer = client.store_instances([dcmread(path) for path in paths])
        if answer.get("FailedSOPSequence"):
            raise PeerError(f"{self.peer} did not store an object sent by STOW-RS", "Let it accept DICOM SR.")

    @contextmanager
    def _asking(self, service: str, absent: str = "") -> Iterator[Any]:
        """A client for the block; its errors become ours."""
        try:
            with quiet():
                yield self._client()
        except PeerError:
            raise
        except Exception as error:  # of requests and of the client; their texts quote what was asked and sent
            raise _explained(self.peer, service, absent, error) from None

    def _client(self) -> Any:
        """The client of this thread, with user and password of the environment where they are set."""
        client = getattr(self._own, "client", None)
        if client is None:
            from dicomweb_client.api import DICOMwebClient
            from dicomweb_client.session_utils import create_session, create_session_from_user_pass

            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            user = os.environ.get(USER)
            session = create_session_from_user_pass(user, os.environ.get(PASSWORD, "")) if user else create_session()
            client = self._own.client = DICOMwebClient(self.peer.url, session, permissive_uid=True, timeout=(min(CONNECT, self.seconds), self.seconds))
            client.set_http_retry_params(retry=False)  # who asks knows whether and when to try again
        return client


def object_name(sop_uid: str) -> str:
    """A file name for an object: it cannot be a path, and tells nothing of a patient."""
    return f"{hashlib.sha256(sop_uid.encode()).hexdigest()[:32]}.dcm"


def _save(dataset: Dataset, path: Path) -> None:
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _dataset(row: Mapping[str, Any], keywords: Iterable[str]) -> Dataset:
    """The attributes of an answer that were asked for, without those that cannot be understood."""
    if not isinstance(row, Mapping):  # such as the names that Orthanc's own interface gives for the same path
        raise TypeError("no DICOM JSON")
    dataset = Dataset()
    for keyword in keywords:
        tag = f"{tag_for_keyword(keyword):08X}"
        try:
            if tag in row:
                dataset.update(Dataset.from_json({tag: row[tag]}))
        except Exception:  # a value can be wrong in more ways than anyone foresees
            continue
    return dataset


def _explained(peer: Peer, service: str, absent: str, error: Exception) -> PeerError:
    """What a failed request means, and what to do."""
    from requests import exceptions

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return PeerError(f"{peer} refuses this side ({status})", f"Set {USER} and {PASSWORD} of a user who may use {service}.")
    if status in (404, 410) and absent:
        return NotThere(f"{peer} {absent}", f"Check the archive, and that this is the address of its DICOMweb ({service}).")
    root = "Give the address of its DICOMweb root, such as http://127.0.0.1:8042/dicom-web."
    if status is not None and status < 500:
        return PeerError(f"{peer} does not answer {service} ({status})", root)
    if status is not None:
        return PeerError(f"{peer} failed to answer {service} ({status})", "See the log of the archive.")
    if isinstance(error, exceptions.SSLError):
        return PeerError(f"the certificate of {peer} is not trusted", "Name that of its authority in REQUESTS_CA_BUNDLE.")
    if isinstance(error, exceptions.Timeout):
        return PeerError(f"{peer} did not answer {service} in time", "Check that it is not overloaded, and try again.")
    if isinstance(error, exceptions.ConnectionError):
        return PeerError(f"{peer} does not answer", "Check that the archive runs, and its address.")
    return PeerError(f"{peer} does not speak {service} ({type(error).__name__})", root)
