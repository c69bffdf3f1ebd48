# SPDX-License-Identifier: Apache-2.0
"""Small peers for the tests of `listen`: one that sends, one that archives."""

from __future__ import annotations

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
    StudyRootQueryRetrieveInformationModelMove as Move,
)

DX, SR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.88.22"


def call(port, calling="MODALITY", called="LIBRA"):
    """An association with the listener, as a modality makes it."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(DX, ALL_TRANSFER_SYNTAXES[:4])
    return entity.associate("127.0.0.1", port, ae_title=called)


def send(port, *datasets, **names):
    """Send objects and say goodbye; the statuses."""
    association = call(port, **names)
    assert association.is_established
    statuses = [association.send_c_store(dataset).Status for dataset in datasets]
    association.release()
    return statuses


class Archive:
    """A real archive in small: C-FIND, C-MOVE and C-STORE over datasets in memory.

    Args:
        datasets: what it has.
    """

    def __init__(self, datasets=()):
        self.datasets, self.stored, self.refusals, self.moves, self.destination = list(datasets), [], 0, 0, None
        entity = AE(ae_title="PACS")
        entity.add_supported_context(SR)
        entity.add_supported_context(Find)
        entity.add_supported_context(Move)
        entity.add_requested_context(DX)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move), (evt.EVT_C_STORE, self._store)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.socket.getsockname()[1]

    def _find(self, event):
        from pydicom import Dataset

        if event.identifier.QueryRetrieveLevel == "SERIES":
            for one in {d.SeriesInstanceUID: d for d in self.datasets if d.StudyInstanceUID == event.identifier.StudyInstanceUID}.values():
                row = Dataset()
                row.QueryRetrieveLevel, row.SeriesInstanceUID, row.Modality = "SERIES", one.SeriesInstanceUID, one.Modality
                yield 0xFF00, row
            return
        for uid in {d.StudyInstanceUID for d in self.datasets if d.PatientID == event.identifier.PatientID}:
            first = next(d for d in self.datasets if d.StudyInstanceUID == uid)
            row = Dataset()
            row.QueryRetrieveLevel, row.StudyInstanceUID, row.PatientID = "STUDY", uid, first.PatientID
            row.StudyDate, row.StudyTime = first.StudyDate, first.StudyTime
            yield 0xFF00, row

    def _move(self, event):
        self.moves += 1
        found = [d for d in self.datasets if d.SeriesInstanceUID == event.identifier.SeriesInstanceUID]
        if any(d.Modality == "SR" for d in found):  # as Orthanc, which moves nothing if one object is not taken
            yield "127.0.0.1", self.destination
            yield 0
            yield 0xC000, None
            return
        yield "127.0.0.1", self.destination
        yield len(found)
        for dataset in found:
            yield 0xFF00, dataset

    def _store(self, event):
        if self.refusals:
            self.refusals -= 1
            return 0xA700
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.stored.append(dataset)
        return 0
