# SPDX-License-Identifier: Apache-2.0
"""The account of a prepared datalist: flow of studies, checks of leakage, gaps, and what fell out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_monai.data.chronology import Choice, PriorRule, mismatch
from libra_monai.data.sources.content import Content
from libra_monai.data.studies import Study
from libra_monai.files import write_json, write_text

# upper bounds in hours -> name in the histogram
_GAPS = ((24, "under 1 day"), (168, "1-7 days"), (720, "7-30 days"), (2160, "30-90 days"), (8760, "90-365 days"))
_COLUMNS = ("what", "study_id", "patient_id", "split", "item", "step", "reason")


@dataclass(frozen=True)
class Dropped:
    """One line of `dropped.csv`.

    Args:
        what: `study`, `image` or `file`.
        study: the study it belongs to, or None.
        item: identifier or path of what was dropped.
        step: name of the filter.
        reason: why.
    """

    what: str
    study: Study | None
    item: str
    step: str
    reason: str

    def row(self) -> list[str]:
        """The line, in the order of the columns."""
        ids = [self.study.study_id, self.study.patient_id, self.study.split or ""] if self.study else ["", "", ""]
        return [self.what, *ids, self.item, self.step, self.reason]


@dataclass
class Manifest:
    """What was prepared.

    Args:
        content: of `manifest.json`.
        datalist: of `datalist.json`.
        dropped: of `dropped.csv`.
        choices: study identifier -> choice, of all studies that were paired.
    """

    content: dict[str, Any]
    datalist: dict[str, Any]
    dropped: list[Dropped] = field(default_factory=list)
    choices: dict[str, Choice] = field(default_factory=dict)

    def write(self, out: str | Path) -> Path:
        """Write the three files, the datalist last, and give its path."""
        folder = Path(out)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([_harmless(cell) for cell in row.row()] for row in self.dropped)
        write_text(folder / "dropped.csv", text.getvalue())
        write_json(folder / "manifest.json", self.content)
        write_json(folder / "datalist.json", self.datalist)
        return folder / "datalist.json"

    def summary(self) -> str:
        """Flow table, priors, gaps and checks for a person; it names no one."""
        rows = [("step", "studies", "patients", "pictures", "dropped")]
        rows += [tuple(str(step[name]) for name in rows[0]) for step in self.content["flow"]]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(r, widths, strict=True))) for r in rows]
        lines += ["", "splits: " + ", ".join(f"{name} {count}" for name, count in self.content["splits"].items())]
        priors = self.content["priors"]
        lines.append(f"priors: {priors['with_prior']} with, {priors['without_prior']} without ({priors['without_prior_share']:.1%})")
        lines += [f"  {count:>6}  {name}" for name, count in self.content["gap_hours"].items() if count]
        lines += [f"skipped as priors: {count} x {reason}" for reason, count in priors["skipped"].items()]
        lines += [f"note: {count} x {reason}" for reason, count in self.content["notes"].items()]
        lines += [f"count: {count} x {name.replace('_', ' ')}" for name, count in self.content["counts"].items()]
        for name, failures in self.content["checks"].items():
            lines.append(f"check {name.replace('_', ' ')}: {'ok' if not failures else f'{failures} violations'}")
        return "\n".join(lines)


def gap_histogram(choices: Sequence[Choice]) -> dict[str, int]:
    """How far back priors are."""
    counts = {name: 0 for _, name in _GAPS} | {"over 365 days": 0, "unknown": 0}
    for choice in choices:
        if choice.prior is None:
            continue
        gap = choice.prior[2]
        name = "unknown" if gap is None else next((name for bound, name in _GAPS if gap < bound), "over 365 days")
        counts[name] += 1
    return counts


def failed_checks(choices: Sequence[Choice], rule: PriorRule) -> dict[str, int]:
    """Violations of what must hold in the finished datalist: name -> how many studies; all are 0 by the default rule.

    `previous_study` allows priors of the same moment, as published.
    """
    splits: dict[str, set[str | None]] = {}
    for choice in choices:
        splits.setdefault(choice.study.patient_id or choice.study.study_id, set()).add(choice.study.split)
    priors = [(choice.study, earlier) for choice in choices for earlier, _, _ in choice.earlier]
    return {
        "patients_disjoint_across_splits": sum(len(found) > 1 for found in splits.values()),
        "no_study_its_own_prior": sum(one.study_id == other.study_id for one, other in priors),
        "prior_of_the_same_patient": sum(one.patient_id != other.patient_id or bool(mismatch(one, other)) for one, other in priors),
        "prior_in_the_same_split": sum(one.split != other.split for one, other in priors) if rule.same_split else 0,
        "prior_strictly_before_current": sum(not _before(other, one, rule) for one, other in priors),
        "no_picture_its_own_prior": sum(
            choice.current is not None and any(image.path == choice.current.path for _, image, _ in choice.earlier)
            for choice in choices
        ),
    }


def group_hash(found: Mapping[str, Content]) -> dict[str, Any]:
    """One hash of all pictures: of the sorted lines `path<tab>sha256`; the hash is empty where bytes were not read."""
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(f"{path}\t{found[path].sha256 or ''}\n".encode("utf-8", "surrogateescape"))
    return {"files": len(found), "sha256": digest.hexdigest(), "bytes_read": any(one.sha256 for one in found.values())}


def _before(earlier: Study, current: Study, rule: PriorRule) -> bool:
    one, other = (earlier.time, current.time) if earlier.time and current.time else (earlier.order, current.order)
    if one is None or other is None:
        return False
    return one <= other if rule.name == "previous_study" else one < other


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell
