# SPDX-License-Identifier: Apache-2.0
"""Are new weights no worse than the served ones? Both draft the frozen set, as given and under every control.

Scores may fall by a stated tolerance. So may what the control table tells: the share of drafts that change when a picture
or the prior does, the share of claims that turn with the order of the pictures, and the scores of drafts of pictures with
another exposure or place, which should be the same study to a reader. A share of n may always differ by one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from libra_monai.checkpoints import load_pretrained
from libra_monai.checkpoints.hashing import digest
from libra_monai.errors import TrainingError
from libra_monai.evaluation.answers import NO, PARTLY, YES
from libra_monai.evaluation.controls import STAYS
from libra_monai.evaluation.drafting import Drafter
from libra_monai.evaluation.suite import run_controls
from libra_monai.files import write_json
from libra_monai.registry import build
from libra_monai.types import Record

FINDINGS, CHANGED = "finding_side_micro_f1", "change_micro_f1"
_LOOKS = {NO: 0.0, PARTLY: 1.0, YES: 1.0}  # between yes and partly stands a limit of shares that are compared themselves


@dataclass(frozen=True)
class Tolerance:
    """How much worse new weights may be than the served ones; all numbers are differences of values in 0..1.

    Args:
        scores: value of a metric on the frozen set -> how far it may fall.
        shares: how far a value of the control table may move the wrong way.
        controls: which controls are run; None for all.
    """

    scores: Mapping[str, float] = field(
        default_factory=lambda: {FINDINGS: 0.02, CHANGED: 0.05, "rouge_l_coco": 0.02}  # a study has fewer claims than findings
    )
    shares: float = 0.10
    controls: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        name: what is compared.
        served, candidate: the values.
        worse_by: how much the candidate is worse; negative if it is better.
        tolerance: how much it may be.
    """

    name: str
    served: float
    candidate: float
    worse_by: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the candidate is no worse, within the tolerance."""
        return self.worse_by <= self.tolerance + 1e-9

    def sentence(self) -> str:
        """The comparison in words."""
        verdict = "within" if self.passed else "beyond"
        return f"{self.name}: {self.served:.3f} -> {self.candidate:.3f}, {verdict} the tolerance of {self.tolerance:.3f}"

    def as_json(self) -> dict[str, Any]:
        """For history and status."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Ground:
    """What weights are judged on.

    Args:
        records: of the frozen set, with references.
        root: folder their paths are relative to.
        kept: folder where measured tables stay.
        reading: arguments of `LoadRadiograph`.
        device: where the models run.
    """

    records: Sequence[Record]
    root: str
    kept: Path
    reading: Mapping[str, Any] | None = None
    device: str = "cpu"

    def measure(self, folder: str | Path, controls: Sequence[str] | None = None) -> dict[str, Any]:
        """The control table of a model on the frozen set; one that was measured before is read.

        Args:
            folder: of the model.
            controls: names; None for all.

        Raises:
            TrainingError: a study of the set cannot be drafted.
            ModelError: the folder cannot be loaded.
        """
        asked = json.dumps([identity(folder), list(self.records), self.reading, sorted(controls or ())], sort_keys=True)
        path = self.kept / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        drafter = Drafter(load_pretrained(folder, device=self.device), self.root, reading=self.reading, shown=False)
        table, _ = run_controls(drafter, self.records, lambda: [build("metric", "rouge_l")], controls)
        if drafter.failures or table["studies"] != len(self.records):
            named = drafter.failures[0].study_id if drafter.failures else "one of them"
            raise TrainingError(f"frozen study {named} cannot be drafted", "Restore its pictures; the set does not change.")
        write_json(path, table)
        return table


def identity(folder: str | Path) -> str:
    """Hash of all files of a model folder; what a candidate is known by.

    Args:
        folder: of the model. What it points at is checked by its own hash when it is loaded.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {digest([path])}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def compare_tables(served: Mapping[str, Any], candidate: Mapping[str, Any], tolerance: Tolerance) -> list[Check]:
    """All comparisons of two control tables of the same studies.

    Args:
        served, candidate: what `Ground.measure` gave.
        tolerance: how much worse the candidate may be.
    """
    checks = []
    for name, allowed in tolerance.scores.items():
        before, after = (table["baseline"].get(name, {}).get("value") for table in (served, candidate))
        if before is not None:  # a score that is no longer defined counts as lost
            checks.append(_check(name, before, after or 0.0, allowed))
    for name, row in served["controls"].items():
        checks += _control(name, row, candidate["controls"].get(name, {}), tolerance.shares)
    invented = [table["baseline_claims"]["without_prior"] for table in (served, candidate)]
    if invented[0]["n"]:
        allowed = _one_of(invented[0]["n"], tolerance.shares)
        checks.append(_check("drafts without a prior that claim a change", *(one["drafts_with_claims"] for one in invented), allowed, -1))
    return [*checks, *_answers(served["answers"], candidate["answers"])]


def not_judged(table: Mapping[str, Any]) -> list[str]:
    """Controls that no study of the frozen set could be put to, such as those of the prior where none has one.

    Args:
        table: what `Ground.measure` gave.
    """
    return [name for name, row in table["controls"].items() if "drafts_changed" not in row]


def _control(name: str, before: Mapping[str, Any], after: Mapping[str, Any], share: float) -> Iterator[Check]:
    """Comparisons of one row of the control table."""
    if "drafts_changed" not in before or "drafts_changed" not in after:
        return
    if before["drafts"] == STAYS:  # other words for the same findings are no harm
        for score in (FINDINGS, CHANGED):
            mine, other = (row["metrics"].get(score, {}).get("value") for row in (before, after))
            if mine is not None:
                yield _check(f"{name}: {score}", mine, other or 0.0, share)
        return
    yield _check(f"{name}: drafts that change", before["drafts_changed"], after["drafts_changed"], _one_of(before["n"], share))
    mine, other = before["claims"], after["claims"]
    if name == "swapped" and mine["flipped"] is not None:
        yield _check("swapped: claims that turn", mine["flipped"], other["flipped"] or 0.0, _one_of(mine["directed"], share))
    if name == "duplicated" and mine["stable"] is not None:
        said = 1.0 if other["stable"] is None else other["stable"]  # a draft without claims says nothing false
        yield _check("duplicated: claims that say unchanged", mine["stable"], said, _one_of(mine["after"], share))


def _answers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the model still looks at all; what cannot be told is not compared."""
    for name in before:
        looks = [_LOOKS.get(answers[name]["answer"]) for answers in (before, after)]
        if None not in looks:
            yield _check(f"looks at the {name}", looks[0], looks[1], 0.0)


def _check(name: str, served: float, candidate: float, tolerance: float, sign: int = 1) -> Check:
    return Check(name, served, candidate, sign * (served - candidate), tolerance)


def _one_of(n: int, share: float) -> float:
    return max(share, 1 / n) if n else share
