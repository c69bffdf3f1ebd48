# SPDX-License-Identifier: Apache-2.0
"""Sex, age, race and insurance of MIMIC-CXR's patients, from the tables of MIMIC-IV.

MIMIC-CXR says nothing of its patients; MIMIC-IV describes most of them under the same numbers and the same shifted
dates. Age is the anchor age plus the years since the anchor year; ages above 89 are 91 there.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from pathlib import Path

from libra_monai.data.corpora.tables import find_table, moment, need_table, number, rows

_SILENT = {"", "unknown", "unable to obtain", "patient declined to answer"}


class People:
    """What MIMIC-IV says of a patient at a time.

    Args:
        folder: of MIMIC-IV, or its folder `hosp`.
        sources: gets the paths of the tables read.

    Raises:
        ConfigError: the table `patients` is missing or broken.
    """

    def __init__(self, folder: Path, sources: list[Path]) -> None:
        places = [folder, folder / "hosp"]
        path = need_table(places, "patients", "Give the folder of MIMIC-IV, or leave --mimic-iv out.")
        sources.append(path)
        columns = ("subject_id", "gender", "anchor_age", "anchor_year")
        self._patients = {row[0]: row[1:] for row in rows(path, columns)}
        self._admissions: dict[str, list[tuple[datetime, str, str]]] = {}
        path = find_table(places, "admissions")
        if path is not None:
            sources.append(path)
            self._read_admissions(path)

    def about(self, patient: str, when: datetime | None) -> dict[str, object]:
        """Age in years, sex, race and insurance; what is unknown is missing.

        Args:
            patient: number of the subject.
            when: time of the study. Race and insurance are those of the last admission until then, else of the first.
        """
        sex, age, year = self._patients.get(patient, ("", "", ""))
        known: dict[str, object] = {"sex": sex} if sex in ("F", "M") else {}
        base, anchor = number(age), number(year)
        if when is not None and base is not None and anchor is not None and base + when.year - anchor >= 0:
            known["age"] = int(base + when.year - anchor)
        admissions = self._admissions.get(patient)
        if admissions:
            last = bisect_right(admissions, when, key=lambda row: row[0]) - 1 if when else 0
            for name, value in zip(("race", "insurance"), admissions[max(last, 0)][1:], strict=True):
                if value.strip().lower() not in _SILENT:
                    known[name] = value.strip()
        return known

    def _read_admissions(self, path: Path) -> None:
        for patient, admitted, race, insurance in rows(path, ("subject_id", "admittime"), ("race", "insurance")):
            day, _, time = admitted.partition(" ")
            when = moment(day, time)
            if when is not None:
                self._admissions.setdefault(patient, []).append((when, race, insurance))
        for admissions in self._admissions.values():
            admissions.sort()
