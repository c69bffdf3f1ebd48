# SPDX-License-Identifier: Apache-2.0
"""What a reader study says: preferences, errors, time, and how far the readers agree. Everything here names the systems."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import combinations
from statistics import median
from typing import Any

from libra_monai.apps.monailabel.readers.reader_study import EQUAL, ERRORS, ReaderStudy
from libra_monai.metrics.agreement import Agreement, cohen_kappa, fleiss_kappa

Answers = Mapping[str, Mapping[str, Any]]  # case -> answer
Rated = dict[Hashable, Hashable]  # what was judged -> category


def results(study: ReaderStudy) -> dict[str, Any]:
    """Preferences by system, errors by system and type, seconds by reader, and agreement.

    Args:
        study: with its answers.
    """
    given = {reader: study.answers(reader) for reader in study.readers()}
    every = [answer for answers in given.values() for answer in answers.values()]
    preferred = Counter(answer["preferred"] for answer in every)
    errors = {
        system: Counter(name for answer in every for name in answer["errors"].get(system, ())) for system in study.systems
    }
    return {
        "study": study.name,
        "cases": len(study.cases),
        "answers": len(every),
        "readers": [_reader(study, reader, answers) for reader, answers in given.items()],
        "preferred": {name: preferred[name] for name in (*study.systems, EQUAL)},
        "errors": {system: {name: found[name] for name in ERRORS} for system, found in errors.items()},
        "agreement": agreement(given),
    }


def agreement(given: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """Kappa of the preference and of each error type: Cohen's for each two readers, Fleiss' for three and more.

    Only what all readers of a row have judged counts. A preference is judged once a case, an error once a draft.

    Args:
        given: reader -> answers.
    """
    rows = []
    for measure, rate in _MEASURES.items():
        rated = {reader: rate(answers) for reader, answers in given.items()}
        for one, other in combinations(sorted(rated), 2):
            shared = [unit for unit in rated[one] if unit in rated[other]]
            told = cohen_kappa([rated[one][unit] for unit in shared], [rated[other][unit] for unit in shared])
            rows.append(_row(measure, "cohen", (one, other), told))
        if len(rated) > 2:
            first, *rest = rated.values()
            shared = [unit for unit in first if all(unit in other for other in rest)]
            told = fleiss_kappa([[one[unit] for one in rated.values()] for unit in shared])
            rows.append(_row(measure, "fleiss", sorted(rated), told))
    return rows


def answers_csv(study: ReaderStudy) -> str:
    """One row for each answer, readers sorted, cases in the order each reader saw them.

    Args:
        study: with its answers.
    """
    rows = []
    for reader in study.readers():
        answers = study.answers(reader)
        for place, case in enumerate(study.order(reader), 1):
            if (answer := answers.get(case.case)) is None:
                continue
            row = {"study": study.name, "reader": reader, "place": place, "case": case.case, "image": case.image}
            row |= {name: answer[name] for name in ("left", "right", "preferred", "seconds", "revisions", "time", "comment")}
            for side in ("left", "right"):
                row |= {f"{side}_{name}": int(name in answer["errors"][answer[side]]) for name in ERRORS}
            rows.append(row)
    columns = ["study", "reader", "place", "case", "image", "left", "right", "preferred", "seconds", "revisions", "time"]
    return _csv([*columns, *(f"{side}_{name}" for side in ("left", "right") for name in ERRORS), "comment"], rows)


def agreement_csv(study: ReaderStudy) -> str:
    """One row for each kappa.

    Args:
        study: with its answers.
    """
    rows = agreement({reader: study.answers(reader) for reader in study.readers()})
    return _csv(["measure", "kind", "readers", "n", "observed", "kappa"], rows)


def _reader(study: ReaderStudy, reader: str, answers: Answers) -> dict[str, Any]:
    seconds = [answer["seconds"] for answer in answers.values()]
    preferred = Counter(answer["preferred"] for answer in answers.values())
    return {
        "reader": reader,
        "answered": len(answers),
        "seconds_median": round(median(seconds), 1) if seconds else None,
        "seconds_total": round(sum(seconds), 1),
        "preferred": {name: preferred[name] for name in (*study.systems, EQUAL)},
    }


def _preference(answers: Answers) -> Rated:
    return {case: answer["preferred"] for case, answer in answers.items()}


def _error(name: str) -> Callable[[Answers], Rated]:
    def rate(answers: Answers) -> Rated:
        marked = ((case, system, found) for case, answer in answers.items() for system, found in answer["errors"].items())
        return {(case, system): name in found for case, system, found in marked}

    return rate


_MEASURES = {"preference": _preference, **{name: _error(name) for name in ERRORS}}


def _row(measure: str, kind: str, readers: Iterable[str], told: Agreement) -> dict[str, Any]:
    observed, kappa = (None if value is None else round(value, 4) for value in (told.observed, told.kappa))
    readers = " ".join(readers)
    return {"measure": measure, "kind": kind, "readers": readers, "n": told.cases, "observed": observed, "kappa": kappa}


def _csv(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table for a spreadsheet; a text that would be taken for a formula there gets an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
