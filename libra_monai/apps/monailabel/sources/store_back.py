# SPDX-License-Identifier: Apache-2.0
"""Drafts back to the archive, as DICOM Enhanced SR by STOW-RS: only where the server was started so, and only when asked to.

What is stored is PARTIAL, PRELIMINARY and UNVERIFIED, and says in its first line that nobody has reviewed it. It names the
drafts of this software in the archive whose place it takes. A correction is not stored: whoever verifies a report writes it in
the system that signs it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from libra_monai import paths
from libra_monai.apps.monailabel.learning.reports import ORIGINAL
from libra_monai.apps.monailabel.server.security import checked_id
from libra_monai.apps.monailabel.server.uploads import PREFIX
from libra_monai.apps.monailabel.sources.studies import with_prior
from libra_monai.apps.web_archive import WebArchive
from libra_monai.errors import ConfigError, LibraError
from libra_monai.outputs import check_formats, write_draft
from libra_monai.outputs.draft import sources_of
from libra_monai.outputs.headers import require_headers
from libra_monai.outputs.identity import MANUFACTURER, PRODUCT
from libra_monai.outputs.sr import enhanced_sr_uid
from libra_monai.types import DocumentReference, Record, ReportDraft

if TYPE_CHECKING:
    from fastapi import FastAPI

    from libra_monai.apps.monailabel.server.context import Context

HOW = "Start the server with --store-back to allow it."
_DOCUMENT = (
    "SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID Manufacturer ManufacturerModelName VerificationFlag "
    "PredecessorDocumentsSequence"
).split()


class NotStored(LibraError):
    """The server was not started to store drafts."""


class NotNewest(LibraError):
    """The draft that was seen has been followed by another."""


@dataclass(frozen=True)
class _Document:
    """A report in the archive.

    Args:
        reference: of it.
        predecessors: of the documents it names as its predecessors.
        ours: it is a draft of this software.
    """

    reference: DocumentReference
    predecessors: tuple[DocumentReference, ...]
    ours: bool


class StoreBack:
    """Stores drafts in the archive they came from.

    Args:
        archive: the archive.
        allowed: whether the server was started so.

    Raises:
        ConfigError: it was, and the package that writes SR is missing.
    """

    def __init__(self, archive: WebArchive, allowed: bool = False) -> None:
        if allowed:
            check_formats(["sr"])
        self.archive, self.allowed = archive, allowed
        self._one_at_a_time = threading.Lock()  # each looks for those before it

    def store(self, draft: ReportDraft) -> dict[str, Any]:
        """Store a draft, unless it is what the archive has as the newest.

        Args:
            draft: of a study of the archive.

        Returns:
            `uid` of the object, `supersedes` (UIDs of those whose place it takes), `stored` (False if it was there).

        Raises:
            NotStored: the server was not started so.
            StudyError: the pictures lack what an SR has to name.
            ConfigError: they are not those the draft was written from.
            PeerError: the archive did not answer as it should, or did not take the object.
        """
        if not self.allowed:
            raise NotStored("drafts are not stored in the archive", HOW)
        headers = require_headers(draft, "DICOM SR")
        if draft.input_uids and not {header.sop_uid for header in headers.values()} <= set(draft.input_uids):
            raise ConfigError("the pictures of the study have changed since it was drafted", "Draft it again.")
        with self._one_at_a_time:
            newest = self._newest(headers["current"].study_uid)
            for one in newest:
                uid = enhanced_sr_uid(replace(draft, supersedes=one.predecessors), headers)
                if uid == one.reference.sop_uid:
                    return {"uid": uid, "supersedes": [named.sop_uid for named in one.predecessors], "stored": False}
            draft = replace(draft, supersedes=tuple(one.reference for one in newest))
            with tempfile.TemporaryDirectory() as place:
                self.archive.store(write_draft(draft, place, ["sr"]))
        return {"uid": enhanced_sr_uid(draft, headers), "supersedes": [one.reference.sop_uid for one in newest], "stored": True}

    def _newest(self, study_uid: str) -> list[_Document]:
        """Drafts of this software in a study that no other document takes the place of."""
        found = [
            _document(dataset)
            for series_uid, modality in self.archive.series(study_uid).items() if modality == "SR"
            for dataset in self.archive.metadata(study_uid, series_uid, _DOCUMENT)
        ]
        replaced = {named.sop_uid for one in found for named in one.predecessors}
        newest = [one for one in found if one.ours and one.reference.sop_uid not in replaced]
        return sorted(newest, key=lambda one: one.reference.sop_uid)


def attach(app: FastAPI, context: Context, store_back: StoreBack) -> None:
    """Put `POST /libra/stored/{image id}` before the routes that are there: the newest draft of a study goes to the archive.

    Args:
        app: the server.
        context: parts of the app.
        store_back: stores, or says that it may not.
    """
    from fastapi import APIRouter, Depends, HTTPException

    from libra_monai.apps.monailabel.server.routes import SentenceRoute

    router = APIRouter(prefix="/libra", tags=["Libra"], route_class=SentenceRoute)

    @router.post("/stored/{image_id:path}", dependencies=[Depends(context.writer)])
    def store(image_id: str, draft: str | None = None) -> dict[str, Any]:
        try:
            return store_newest(context, store_back, checked_id(image_id), draft)
        except NotStored as error:
            raise HTTPException(403, str(error)) from None
        except NotNewest as error:
            raise HTTPException(409, str(error)) from None

    context.stores_back = store_back.allowed
    there = list(app.router.routes)
    app.include_router(router)
    app.router.routes[:] = [*app.router.routes[len(there) :], *there]


def store_newest(context: Context, store_back: StoreBack, image_id: str, seen: str | None = None) -> dict[str, Any]:
    """Store the newest draft of a study in the archive; see `StoreBack.store`.

    Args:
        context: parts of the app.
        store_back: stores.
        image_id: of the study.
        seen: uid of the draft that somebody looked at and wants to be stored; None is the newest, whatever it says.

    Raises:
        ConfigError: there is no draft, or it is of an uploaded study.
        NotNewest: the draft that was seen is not the newest any more.
        NotStored, StudyError, PeerError: as `StoreBack.store`.
    """
    if not store_back.allowed:
        raise NotStored("drafts are not stored in the archive", HOW)
    if image_id.startswith(PREFIX):
        raise ConfigError("an uploaded study is in no archive", "Send it to the archive, and draft it from there.")
    content = context.reports.latest(image_id, ORIGINAL)
    if content is None:
        context.studies.about(image_id)
        raise ConfigError("there is no draft of this study", "Ask for one with POST /libra/drafts.")
    if seen is not None and content.get("uid") != seen:
        raise NotNewest("the study has been drafted again since", "Open it again, and look at its newest draft.")
    return store_back.store(draft_of(content, context.studies.record(image_id), context.studies.root))


def draft_of(content: Mapping[str, Any], record: Record, root: str | Path) -> ReportDraft:
    """A kept draft as writers take it.

    Args:
        content: as the label app keeps it.
        record: of its study, with all earlier ones.
        root: folder that the record's paths are relative to.

    Raises:
        ConfigError: the draft does not say that it is one.
        UnknownPrior: the study it was compared with is gone.
    """
    if not content.get("marks"):
        raise ConfigError("the draft does not say that nobody has reviewed it", "Draft the study again.")
    record = with_prior(record, content.get("prior_study_id"))
    used = {view: record.get(view) for view in ("current", "prior", "lateral")}
    files = {view: paths.inside(root, path) for view, path in used.items() if path}
    return ReportDraft(
        study_id=record["study_id"],
        findings=content.get("findings"),
        impression=content.get("impression"),
        prior_used=bool(content["prior_used"]),
        model=content["model"],
        marks=list(content["marks"]),
        warnings=list(content.get("warnings") or ()),
        patient_id=record.get("patient_id"),
        prior_study_id=content.get("prior_study_id"),
        input_uids=list(content.get("input_uids") or ()),
        sources=sources_of(record, files),
    )


def _document(dataset: Dataset) -> _Document:
    made_by = (str(dataset.get("Manufacturer", "")), str(dataset.get("ManufacturerModelName", "")))
    draft = made_by == (MANUFACTURER, PRODUCT) and dataset.get("VerificationFlag") == "UNVERIFIED"
    uids = (dataset.get(name) for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"))
    named = tuple(
        DocumentReference(
            str(sop.get("ReferencedSOPClassUID", "")),
            str(sop.get("ReferencedSOPInstanceUID", "")),
            str(series.get("SeriesInstanceUID", "")),
            str(study.get("StudyInstanceUID", "")),
        )
        for study in dataset.get("PredecessorDocumentsSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for sop in series.get("ReferencedSOPSequence") or ()
    )
    return _Document(DocumentReference(*(str(uid or "") for uid in uids)), named, draft)
