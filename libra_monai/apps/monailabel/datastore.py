# SPDX-License-Identifier: Apache-2.0
"""The app's studies and reports, as MONAI Label's own routes ask for them.

Its local datastore lists the files of one folder only and takes each as a study; its DICOMweb datastore converts pictures. Here both are
the app's: images are studies, labels are reports with the tags `original` and `reader_corrected`, and nothing is
ever overwritten or taken away.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore

from libra_monai import paths
from libra_monai.apps.monailabel.learning.reports import CORRECTED, TAGS, ReportStore
from libra_monai.apps.monailabel.server.security import READ_ONLY, checked_id
from libra_monai.apps.monailabel.sources.studies import Studies
from libra_monai.errors import LibraError
from libra_monai.files import write_json
from libra_monai.outputs.names import file_name

_IMAGES = "images"  # folder of what MONAI Label notes of images


class LabelDatastore(Datastore):
    """Studies and reports.

    Args:
        studies: of the app.
        reports: of the app.
        notes: folder of what MONAI Label's routes note of images and labels.
    """

    def __init__(self, studies: Studies, reports: ReportStore, notes: Path) -> None:
        self._studies, self._reports, self._notes = studies, reports, notes

    def name(self) -> str:
        """Of the store."""
        return "Libra-MONAI"

    def set_name(self, name: str) -> None:
        """Stays as it is."""

    def description(self) -> str:
        """Of the store."""
        return "Chest X-ray studies with drafted and corrected reports"

    def set_description(self, description: str) -> None:
        """Stays as it is."""

    def list_images(self) -> list[str]:
        """All image ids."""
        return self._studies.ids()

    def get_labeled_images(self, label_tag: str | None = None, labels: Any = None) -> list[str]:
        """Studies with a correction, or with a report of another tag."""
        wanted = set(self._reports.ids(_tag(label_tag or CORRECTED)))
        return [image for image in self._studies.ids() if image in wanted]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Any = None) -> list[str]:
        """Studies without a correction, or without a report of another tag."""
        there = set(self.get_labeled_images(label_tag))
        return [image for image in self._studies.ids() if image not in there]

    def datalist(self) -> list[dict[str, Any]]:
        """Pictures and corrections, for training."""
        images = self.get_labeled_images()
        return [{"image": self.get_image_uri(image), "label": self.get_label_uri(image, CORRECTED)} for image in images]

    def get_image(self, image_id: str, params: Any = None) -> Any:
        """The file of the current picture."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """Path of the current picture."""
        record = self._asked(lambda: self._studies.record(checked_id(image_id), None))
        return paths.inside(self._studies.root, record["current"])

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a study, and what was noted of it."""
        about = self._asked(lambda: self._studies.about(checked_id(image_id)))
        return {**about, **self._noted(_IMAGES, image_id)}

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag -> label id of the reports of a study."""
        return {tag: image_id for tag in TAGS if self._reports.latest(image_id, tag) is not None}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Label id of a report of a study."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> Any:
        """The newest report, as a file of JSON; None if there is none."""
        report = self._reports.latest(checked_id(label_id), _tag(label_tag))
        return None if report is None else io.BytesIO(json.dumps(report, ensure_ascii=False).encode())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of the newest report; empty if there is none."""
        report = self._asked(lambda: self._reports.latest(checked_id(label_id), _tag(label_tag)))
        if report is None:
            return ""
        return str(self._reports.root / label_tag / file_name(label_id) / f"{report['version']:06d}.json")

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What was noted of a report, such as its scores."""
        return self._noted(_tag(label_tag), checked_id(label_id))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a report, a file of JSON, as a new version."""
        self._asked(lambda: self._studies.about(checked_id(image_id)))
        try:
            report = json.loads(Path(label_filename).read_text(encoding="utf-8"))
        except (ValueError, OSError):
            report = None
        if not isinstance(report, dict):
            raise HTTPException(422, 'The label is no JSON object. Send a file such as {"findings": "...", "impression": null}.')
        self._asked(lambda: self._reports.save(image_id, _tag(label_tag), report))
        return image_id

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something of a study."""
        self._asked(lambda: self._studies.about(checked_id(image_id)))
        self._note(_IMAGES, image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Note something of a report."""
        if not self.get_label_uri(label_id, label_tag):
            raise HTTPException(404, "There is no such report. GET /libra/reports/{id} lists those of a study.")
        self._note(label_tag, label_id, info)

    def status(self) -> dict[str, Any]:
        """Numbers of studies, corrected ones, and reports by tag."""
        tags = {}
        for tag in TAGS:
            folder = self._reports.root / tag
            tags[tag] = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
        told = {"completed": tags[CORRECTED], "label_tags": tags}
        try:
            return {"total": len(self._studies.ids()), **told}
        except LibraError as error:  # an archive that does not answer is no reason for `/info/` to fail
            return {"total": 0, **told, "error": str(error)}

    def json(self) -> dict[str, Any]:
        """All studies with their reports' tags."""
        objects = {image: {"image": self._studies.about(image), "labels": self.get_labels_by_image_id(image)} for image in self._studies.ids()}
        return {"name": self.name(), "description": self.description(), "objects": objects}

    def refresh(self) -> None:
        """Nothing to do: studies are looked through as time goes by."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refused."""
        raise HTTPException(403, READ_ONLY)

    def remove_image(self, image_id: str) -> None:
        """Refused."""
        raise HTTPException(403, READ_ONLY)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Refused: versions are kept."""
        raise HTTPException(403, "Reports are never taken away. Save a newer version.")

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Refused."""
        raise HTTPException(403, "Studies do not leave as an archive. Use libra-monai prepare on the studies folder.")

    def _noted(self, kind: str, name: str) -> dict[str, Any]:
        path = self._notes / kind / f"{file_name(name)}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _note(self, kind: str, name: str, info: dict[str, Any]) -> None:
        write_json(self._notes / kind / f"{file_name(name)}.json", {**self._noted(kind, name), **info})

    @staticmethod
    def _asked(ask: Any) -> Any:
        from libra_monai.apps.monailabel.server.routes import http_error

        try:
            return ask()
        except LibraError as error:
            raise http_error(error) from error


def _tag(tag: str) -> str:
    if tag not in TAGS:
        raise HTTPException(422, f"There is no tag '{str(tag)[:40]}'. Use {' or '.join(TAGS)}; this app signs nothing as final.")
    return tag
