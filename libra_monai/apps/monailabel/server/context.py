# SPDX-License-Identifier: Apache-2.0
"""What the routes of the label app share: service, studies, reports, uploads, and who may do what."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_monai.apps.monailabel.learning.reports import ORIGINAL, ReportStore
from libra_monai.apps.monailabel.server.service import DraftService
from libra_monai.apps.monailabel.server.uploads import PREFIX, Uploads
from libra_monai.apps.monailabel.sources.studies import EVERY, Studies
from libra_monai.errors import LibraError
from libra_monai.transforms.levels import WideLevels
from libra_monai.types import Record

MODEL = "chest_xray_report"  # what MONAI Label's clients call the model
_PATHS = ("current", "prior", "lateral")


def anyone() -> None:
    """May ask: where authentication is off."""


@dataclass
class Context:
    """The parts of a running app.

    Args:
        service: drafts.
        studies: of the worklist, and uploaded ones.
        reports: drafts and corrections.
        home: folder of the app's own files.
        uploads: sessions; None takes none.
        reader: dependency of routes that read; raises if the user may not.
        writer: dependency of routes that keep something.
        admin: dependency of routes that keep the server busy for long.
        session: path of a session of MONAI Label by its id; None where there is none.
        stores_back: drafts may be stored in the archive they came from.
    """

    service: DraftService
    studies: Studies
    reports: ReportStore
    home: Path | None = None
    uploads: Uploads | None = None
    reader: Callable[..., Any] = anyone
    writer: Callable[..., Any] = anyone
    admin: Callable[..., Any] = anyone
    session: Callable[[str], Path | None] = field(default=lambda session_id: None)
    stores_back: bool = False


class StudiesAndUploads:
    """The studies of a source, and uploaded ones by their id.

    Args:
        studies: of the worklist.
        uploads: sessions.
    """

    def __init__(self, studies: Studies, uploads: Uploads) -> None:
        self.studies, self.uploads = studies, uploads
        self.root = os.path.commonpath([studies.root, uploads.root])

    def ids(self) -> list[str]:
        """Those of the worklist; uploads are in none."""
        return [*self.studies.ids(), *self.uploads.ids()]

    def about(self, image_id: str) -> dict[str, Any]:
        """See `Studies`."""
        return self._of(image_id).about(image_id)

    def record(self, image_id: str, prior: str | None = EVERY) -> Record:
        """See `Studies`; paths are relative to the folder that holds both."""
        source = self._of(image_id)
        record, prefix = source.record(image_id, prior), os.path.relpath(source.root, self.root)
        if prefix == ".":
            return record
        moved = {view: f"{prefix}/{record[view]}" if record.get(view) else None for view in _PATHS}
        earlier = [{**one, "image": f"{prefix}/{one['image']}"} for one in record.get("earlier") or ()]
        return {**record, **moved, "earlier": earlier}

    def priors(self, image_id: str) -> list[dict[str, Any]]:
        """See `Studies`."""
        return self._of(image_id).priors(image_id)

    def pixels(self, image_id: str) -> WideLevels:
        """See `Studies`."""
        return self._of(image_id).pixels(image_id)

    def _of(self, image_id: str) -> Studies:
        return self.uploads if image_id.startswith(PREFIX) else self.studies


def keeping(reports: ReportStore) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Keeps drafts as versions of `original`; one that says what the last one says is not kept again.

    Args:
        reports: where.
    """

    def keep(image_id: str, draft: dict[str, Any]) -> dict[str, Any]:
        """The draft to show: with its version, or the one before if that says the same."""
        try:
            before = reports.latest(image_id, ORIGINAL)
            if before is not None and before.get("uid") == draft["uid"]:
                return {**before, "latencies": draft["latencies"]}
            draft = {**draft, "supersedes": before.get("uid") if before else None}
            return {**draft, "version": reports.save(image_id, ORIGINAL, draft)}
        except OSError as error:
            raise LibraError(f"the draft could not be kept ({error.strerror})", "Make room on the disk, and ask again.") from error

    return keep


def state_of(draft: Mapping[str, Any] | None, corrected: Mapping[str, Any] | None) -> str:
    """Where a study stands: `new`, `drafted` or `corrected`."""
    return "corrected" if corrected else "drafted" if draft else "new"
