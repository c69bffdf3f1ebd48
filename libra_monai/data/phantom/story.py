# SPDX-License-Identifier: Apache-2.0
"""What happens to a phantom patient: findings that come, grow, shrink, stay and go over 1-5 studies.

The words are those of `truth.jsonl`: `finding` is a CheXpert-14 name or a device, `side` left | right |
bilateral | None, `severity` small | moderate | large | None, `change` new | worsened | improved |
stable | resolved | removed | None (no prior).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

SEVERITIES = {"small": (0.15, 0.32), "moderate": (0.46, 0.64), "large": (0.82, 1.0)}  # word -> size range
_ORDER = list(SEVERITIES)

# finding -> chance to be drawn, sides with their chances, chances of stable | worsened | improved | resolved
_DISEASE = {
    "Pleural Effusion": (1.0, {"right": 0.38, "left": 0.38, "bilateral": 0.24}, (0.28, 0.27, 0.27, 0.18)),
    "Pneumothorax": (0.7, {"right": 0.5, "left": 0.5}, (0.26, 0.24, 0.28, 0.22)),
    "Consolidation": (0.9, {"right": 0.42, "left": 0.42, "bilateral": 0.16}, (0.26, 0.26, 0.28, 0.20)),
    "Cardiomegaly": (0.7, {None: 1.0}, (0.34, 0.30, 0.24, 0.12)),
    "Edema": (0.7, {"bilateral": 1.0}, (0.26, 0.27, 0.27, 0.20)),
    "Atelectasis": (0.7, {"right": 0.4, "left": 0.4, "bilateral": 0.2}, (0.28, 0.26, 0.26, 0.20)),
    "Lung Lesion": (0.6, {"right": 0.5, "left": 0.5}, (0.32, 0.36, 0.24, 0.08)),
}
# device -> chance to be drawn, sides, chance to be removed before the next study
_DEVICES = {
    "Endotracheal Tube": (0.5, {None: 1.0}, 0.58),
    "Gastric Tube": (0.5, {None: 1.0}, 0.58),
    "Central Line": (0.8, {"right": 0.65, "left": 0.35}, 0.55),
    "Chest Drain": (0.4, {"right": 0.5, "left": 0.5}, 0.62),
    "Pacemaker": (0.25, {"left": 0.85, "right": 0.15}, 0.08),
}
DEVICES = tuple(_DEVICES)
FINDINGS = (*_DISEASE, *_DEVICES)
# Hidden behind the fluid, so not drawn together on one side.
_HIDDEN_BY_EFFUSION = {"Atelectasis", "Consolidation"}


@dataclass(frozen=True)
class Condition:
    """One finding of one patient while it lasts.

    Args:
        finding, side: words of `truth.jsonl`.
        size: extent in 0..1; 0 for devices.
        seed: fixes place and shape over the studies.
    """

    finding: str
    side: str | None
    size: float
    seed: int

    @property
    def severity(self) -> str | None:
        """The word for the size; None for devices."""
        if self.finding in DEVICES:
            return None
        return next((word for word, (_, high) in SEVERITIES.items() if self.size <= high), "large")


@dataclass(frozen=True)
class Statement:
    """One line of ground truth: a finding of a study and what became of it since the prior."""

    finding: str
    side: str | None
    severity: str | None
    change: str | None

    def as_json(self) -> dict[str, str | None]:
        """The dictionary of `truth.jsonl`."""
        return {"finding": self.finding, "side": self.side, "severity": self.severity, "change": self.change}


@dataclass(frozen=True)
class Visit:
    """One study of a patient: when, what is there, and what is to be said."""

    time: datetime
    conditions: list[Condition]
    statements: list[Statement]


def draw_story(rng: np.random.Generator) -> list[Visit]:
    """Draw the 1-5 studies of a patient in order of time.

    Args:
        rng: source of randomness.
    """
    time = datetime(2010, 1, 1) + timedelta(days=int(rng.integers(0, 3300)), seconds=int(rng.integers(0, 86400)))
    conditions = _first_conditions(rng)
    visits = [Visit(time, conditions, [Statement(c.finding, c.side, c.severity, None) for c in conditions])]
    for _ in range(int(rng.choice(5, p=[0.20, 0.28, 0.24, 0.16, 0.12]))):
        time += timedelta(hours=float(np.clip(rng.lognormal(3.9, 1.3), 5, 6000)))
        time = time.replace(microsecond=0)
        conditions, statements = _next_conditions(conditions, rng)
        visits.append(Visit(time, conditions, statements))
    return visits


def _first_conditions(rng: np.random.Generator) -> list[Condition]:
    conditions: list[Condition] = []
    for _ in range(int(rng.choice(4, p=[0.16, 0.34, 0.32, 0.18]))):
        _add(conditions, _DISEASE, rng)
    for _ in range(int(rng.choice(3, p=[0.50, 0.32, 0.18]))):
        _add(conditions, _DEVICES, rng)
    return conditions


def _next_conditions(before: list[Condition], rng: np.random.Generator) -> tuple[list[Condition], list[Statement]]:
    conditions, statements, gone = [], [], []
    for old in before:
        change, now = _fate(old, rng)
        if now is None:
            gone.append(old)
        else:
            conditions.append(now)
        statements.append(Statement(old.finding, old.side, now.severity if now else None, change))
    taken = {old.finding for old in gone}
    diseases = sum(c.finding not in DEVICES for c in conditions)
    for _ in range(int(rng.choice(3, p=[0.38, 0.44, 0.18])) if diseases < 3 else 0):
        _add(conditions, _DISEASE, rng, statements, taken)
    if len(conditions) - diseases < 2 and rng.random() < 0.36:
        _add(conditions, _DEVICES, rng, statements, taken)
    return conditions, statements


def _fate(old: Condition, rng: np.random.Generator) -> tuple[str, Condition | None]:
    if old.finding in DEVICES:
        return ("removed", None) if rng.random() < _DEVICES[old.finding][2] else ("stable", old)
    change = str(rng.choice(["stable", "worsened", "improved", "resolved"], p=_DISEASE[old.finding][2]))
    level = _ORDER.index(old.severity or "small")
    if change == "worsened" and level == len(_ORDER) - 1:
        change = "improved"
    if change == "improved" and level == 0:
        change = "resolved"
    if change == "resolved":
        return change, None
    if change == "stable":
        return change, old
    step = 1 if rng.random() < 0.8 else 2
    level = min(level + step, len(_ORDER) - 1) if change == "worsened" else max(level - step, 0)
    return change, replace(old, size=_draw_size(_ORDER[level], rng))


def _add(
    conditions: list[Condition],
    table: dict,
    rng: np.random.Generator,
    statements: list[Statement] | None = None,
    taken: set[str] = frozenset(),
) -> None:
    """Draw one more condition that fits the present ones; note it as new if there are statements."""
    present = {c.finding for c in conditions} | set(taken)
    names = [name for name in table if name not in present]
    weights = np.array([table[name][0] for name in names])
    finding = str(rng.choice(names, p=weights / weights.sum()))
    sides = table[finding][1]
    side = list(sides)[int(rng.choice(len(sides), p=list(sides.values())))]
    if finding == "Chest Drain":
        side = next((c.side for c in conditions if c.finding == "Pneumothorax"), side)
    if _hidden(finding, side, conditions):
        return
    size = 0.0 if finding in DEVICES else _draw_size(str(rng.choice(_ORDER, p=[0.42, 0.36, 0.22])), rng)
    new = Condition(finding, side, size, int(rng.integers(2**31)))
    conditions.append(new)
    if statements is not None:
        statements.append(Statement(new.finding, new.side, new.severity, "new"))


def _hidden(finding: str, side: str | None, conditions: list[Condition]) -> bool:
    def overlap(a: str | None, b: str | None) -> bool:
        return a == b or "bilateral" in (a, b)

    pairs = [(finding, c.finding, c.side) for c in conditions] + [(c.finding, finding, c.side) for c in conditions]
    return any(
        top == "Pleural Effusion" and below in _HIDDEN_BY_EFFUSION and overlap(side, other)
        for below, top, other in pairs
    )


def _draw_size(severity: str, rng: np.random.Generator) -> float:
    return float(rng.uniform(*SEVERITIES[severity]))
