# SPDX-License-Identifier: Apache-2.0
"""Where the studies of the label app come from: what a source of studies must answer, and what all of them share.

An image id is the identifier of a study with everything unusual replaced, so that it can stand in an address and names no path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from libra_monai import paths
from libra_monai.apps.monailabel.server.pictures import read_picture
from libra_monai.data.chronology import Choice, to_record
from libra_monai.errors import ConfigError
from libra_monai.outputs.names import file_name
from libra_monai.transforms.levels import WideLevels
from libra_monai.types import Record

AUTO = "auto"  # the prior by the project's rule
EVERY = "every"  # of the earlier studies may be looked at


class UnknownStudy(ConfigError):
    """There is no study of this id."""


class UnknownPrior(ConfigError):
    """The study chosen as a prior is none of the earlier ones of the same patient."""


class Studies(Protocol):
    """A source of studies.

    Attributes:
        root: folder that the paths of all records are relative to.
    """

    root: str

    def ids(self) -> list[str]:
        """All image ids, newest study first."""
        ...

    def about(self, image_id: str) -> dict[str, Any]:
        """`id`, `date` (YYYY-MM-DD), `time` (HH:MM), `view`, `prior` (id by the project's rule); None where unknown.

        Raises:
            UnknownStudy: there is none.
        """
        ...

    def record(self, image_id: str, prior: str | None = EVERY) -> Record:
        """The datalist record with its prior by the project's rule, and all earlier studies; its own report too, if it has one.

        Args:
            image_id: of the study.
            prior: which earlier study will be looked at, as `with_prior` takes it; an archive fetches no other.

        Raises:
            UnknownStudy: there is none.
        """
        ...

    def priors(self, image_id: str) -> list[dict[str, Any]]:
        """Earlier studies of the same patient, newest first: `id`, `date`, `time`, `view`, `gap_hours`.

        Raises:
            UnknownStudy: there is none.
        """
        ...

    def pixels(self, image_id: str) -> WideLevels:
        """The frontal picture of a study, or of one that is a prior.

        Raises:
            UnknownStudy: there is none.
            StudyError: the picture cannot be read.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """What is known of one study.

    Args:
        record: see `Studies.record`.
        about: see `Studies.about`.
        priors: see `Studies.priors`.
        time: of the study, for the order.
    """

    record: Record
    about: Mapping[str, Any]
    priors: tuple[Mapping[str, Any], ...] = ()
    time: datetime | None = None


class EntryStudies:
    """Studies from entries that lie ready; sources fill `_entries`.

    Args:
        root: see `Studies`.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()  # reason -> files and studies that cannot be drafted
        self._entries: Mapping[str, Entry] = {}

    def ids(self) -> list[str]:
        """All image ids, newest study first."""
        return list(self._entries)

    def about(self, image_id: str) -> dict[str, Any]:
        """See `Studies`."""
        return dict(self._entry(image_id).about)

    def record(self, image_id: str, prior: str | None = EVERY) -> Record:
        """See `Studies`; all pictures are there."""
        return dict(self._entry(image_id).record)

    def priors(self, image_id: str) -> list[dict[str, Any]]:
        """See `Studies`."""
        return [dict(one) for one in self._entry(image_id).priors]

    def pixels(self, image_id: str) -> WideLevels:
        """See `Studies`."""
        return read_picture(paths.inside(self.root, self._path(image_id)))

    def _path(self, image_id: str) -> str:
        """Of the picture that stands for a study."""
        entry = self._entries.get(image_id)
        if entry is not None:
            return entry.record["current"]
        for other in self._entries.values():  # a prior that could not be drafted itself, such as an upload's
            for earlier in other.record.get("earlier") or ():
                if earlier["study_id"] == image_id:
                    return earlier["image"]
        return self._entry(image_id).record["current"]

    def _entry(self, image_id: str) -> Entry:
        entry = self._entries.get(image_id)
        if entry is None:
            raise unknown(image_id, self.left_out)
        return entry


def unknown(image_id: str, left_out: Mapping[str, int]) -> UnknownStudy:
    """The error of an id that is not there, with what was left out and why.

    Args:
        image_id: as asked for.
        left_out: reason -> count.
    """
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items(), key=lambda one: -one[1])[:5])
    more = f" Left out: {reasons}." if reasons else ""
    return UnknownStudy(f"there is no study '{image_id[:200]}'", f"GET /libra/worklist lists the studies.{more}")


def newest_first(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries in the order of a worklist; those without a date last."""
    ordered = sorted(entries.items(), key=lambda one: one[0])
    ordered.sort(key=lambda one: one[1].time or datetime.min, reverse=True)
    return dict(ordered)


def entry_of(choice: Choice) -> Entry:
    """What is known of a study that has a picture to report on.

    Args:
        choice: with its current picture, by `choose_priors`.
    """
    record = with_safe_ids(to_record(choice))
    priors = tuple(
        {**moment_of(study.time), "id": file_name(study.study_id), "view": image.view, "gap_hours": gap}
        for study, image, gap in choice.earlier
    )
    about = {"id": record["study_id"], **moment_of(choice.study.time), "view": record["view"], "prior": record["prior_study_id"]}
    return Entry(record, about, priors, choice.study.time)


def with_safe_ids(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose study ids are image ids.

    Args:
        record: of a datalist.
    """
    earlier = [{**one, "study_id": file_name(one["study_id"])} for one in record.get("earlier") or ()]
    prior = record.get("prior_study_id")
    names = {"study_id": file_name(record["study_id"]), "prior_study_id": file_name(prior) if prior else None}
    return {**record, **names, "earlier": earlier}


def moment_of(time: datetime | None) -> dict[str, str | None]:
    """`date` and `time` of a study for people; midnight is a time nobody knows."""
    if time is None:
        return {"date": None, "time": None}
    return {"date": f"{time:%Y-%m-%d}", "time": f"{time:%H:%M}" if (time.hour, time.minute, time.second) != (0, 0, 0) else None}


def with_prior(record: Record, prior: str | None) -> Record:
    """A record compared with a study of the reader's choice.

    Args:
        record: with its prior by the rule, and all earlier studies.
        prior: `auto` leaves the rule's, None takes none, else the id of an earlier study.

    Raises:
        UnknownPrior: it is none of the earlier studies.
    """
    if prior == AUTO:
        return record
    chosen = next((one for one in record.get("earlier") or () if one["study_id"] == prior), None)
    if prior is not None and chosen is None:
        remedy = "Choose one of the priors that GET /libra/studies/{id} lists, 'auto', or null for none."
        raise UnknownPrior(f"'{str(prior)[:200]}' is no earlier study of the same patient", remedy)
    found = chosen or {}
    return {
        **record,
        "prior": found.get("image"),
        "prior_study_id": found.get("study_id"),
        "gap_hours": found.get("gap_hours"),
        "prior_findings": found.get("findings"),
        "prior_impression": found.get("impression"),
    }
