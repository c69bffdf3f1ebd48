# SPDX-License-Identifier: Apache-2.0
"""The other side: a DICOM application entity or a DICOMweb address, as named on the command line.

What is asked of an address stands in `libra_monai.apps.web_archive`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydicom import Dataset

from libra_monai.errors import ConfigError, LibraError

RADIOGRAPHS = ("CR", "DX", "RG", "DR")  # modalities of studies worth fetching; what is read of them, the gate decides
USER, PASSWORD = "LIBRA_WEB_USER", "LIBRA_WEB_PASSWORD"  # environment: a command line is seen by everyone on a machine
SECONDS = 30  # to wait for an answer


class PeerError(LibraError):
    """The other side did not do what it was asked; tried again later."""


@dataclass(frozen=True)
class Candidate:
    """A study an archive has.

    Args:
        study_uid: of the study.
        date, time: of it, as DICOM writes them.
        patient_id: whose it is, empty if the archive does not say.
        objects: how many it has, 0 if the archive does not say.
    """

    study_uid: str
    date: str
    time: str
    patient_id: str = ""
    objects: int = 0


@dataclass(frozen=True)
class Peer:
    """One other side.

    Args:
        title, host, port: of an application entity.
        url: of DICOMweb; the others are empty then.
    """

    title: str = ""
    host: str = ""
    port: int = 0
    url: str = ""

    def __str__(self) -> str:
        return self.url or f"{self.title}@{self.host}:{self.port}"


def parse_peer(text: str, option: str) -> Peer:
    """`TITLE@HOST:PORT`, or a DICOMweb address.

    Args:
        text: from the command line.
        option: its name, for the message.

    Raises:
        ConfigError: it is neither.
    """
    if text.startswith(("http://", "https://")):
        if urlsplit(text).username:
            raise ConfigError(f"{option} holds a user name", f"Set {USER} and {PASSWORD} in the environment instead.")
        return Peer(url=text.rstrip("/"))
    found = re.fullmatch(r"([^@\\]{1,16})@([^@:\s]+):(\d{1,5})", text)
    if found is None:
        raise ConfigError(f"{option} '{text}' is no peer", "Write TITLE@HOST:PORT, or the address of a DICOMweb server.")
    return Peer(found.group(1), found.group(2), int(found.group(3)))


def candidate_of(row: Dataset, patient_id: str = "") -> Candidate | None:
    """A study from the answer to a query.

    Args:
        row: the answer, of C-FIND or QIDO-RS.
        patient_id: who was asked for.

    Returns:
        None if it is of another patient, or tells that there is no radiograph in the study.
    """
    modalities = row.get("ModalitiesInStudy") or []
    modalities = {modalities} if isinstance(modalities, str) else set(modalities)
    whose = str(row.get("PatientID") or patient_id).strip()
    if (patient_id and whose != patient_id) or not row.get("StudyInstanceUID") or (modalities and not modalities & set(RADIOGRAPHS)):
        return None
    objects = row.get("NumberOfStudyRelatedInstances")
    uid, date, time = (str(row.get(name) or "") for name in ("StudyInstanceUID", "StudyDate", "StudyTime"))
    return Candidate(uid, date, time, whose, int(objects) if objects else 0)


def is_one_patient(patient_id: str) -> bool:
    """Whether a query by a patient identifier asks for one patient: wildcards ask for several, nothing for all."""
    return bool(patient_id) and re.search(r"[*?\\]", patient_id) is None


def associate(peer: Peer, title: str, contexts: list[tuple[str, list[str] | None]]) -> Any:
    """An association with an application entity; the caller releases it.

    Args:
        peer: whom to call.
        title: who calls.
        contexts: abstract syntax, and its transfer syntaxes or None for the usual ones.

    Raises:
        PeerError: nobody answers, or the call is refused.
    """
    from pynetdicom import AE

    entity = AE(ae_title=title)
    entity.acse_timeout = entity.connection_timeout = SECONDS
    entity.dimse_timeout = 4 * SECONDS
    for abstract, transfers in contexts:
        entity.add_requested_context(abstract, transfers) if transfers else entity.add_requested_context(abstract)
    association = entity.associate(peer.host, peer.port, ae_title=peer.title)
    if not association.is_established:
        reason = "refused the association" if association.is_rejected else "does not answer"
        raise PeerError(f"{peer} {reason}", "Check its address, and that it knows the AE title of this side.")
    return association
