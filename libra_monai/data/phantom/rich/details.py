# SPDX-License-Identifier: Apache-2.0
"""Where the findings of a rich phantom lie: lung zone, end of a tube or line, and whether that is where it should be.

All follows from the seed of a condition, so it stays the same over the studies of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_monai.data.phantom.story import DEVICES, Condition, Statement, Visit

ZONES = ("upper", "middle", "lower")
SATISFACTORY, MALPOSITIONED = "satisfactory", "malpositioned"
ZONED = ("Consolidation", "Lung Lesion")
_MALPOSITIONED = 0.28  # share of devices; of hospital films far fewer, but a model must see enough of them
# device -> (place, where the tip is in words); the first word of a place is what the painters know
_GOOD = {
    "Gastric Tube": (("stomach", "in the stomach"), ("antrum", "in the gastric antrum")),
    "Central Line": (("svc", "in the lower superior vena cava"), ("junction", "at the cavoatrial junction")),
    "Chest Drain": (("apex", "at the apex"), ("hilum", "at the level of the hilum")),
    "Pacemaker": (("ventricle", "in the apex of the right ventricle"),),
}
_BAD = {
    "Endotracheal Tube": (("bronchus", "in the right main bronchus"), ("high", "{cm} cm above the carina")),
    "Gastric Tube": (
        ("coiled", "coiled in the esophagus"), ("esophagus", "in the distal esophagus"), ("airway", "in the right main bronchus"),
    ),
    "Central Line": (("atrium", "in the right atrium"), ("neck", "pointing upward in the neck")),
    "Chest Drain": (("wall", "in the soft tissues of the chest wall"), ("abdomen", "below the diaphragm")),
    "Pacemaker": (("cava", "in the superior vena cava"), ("right", "in the right atrium")),
}  # fmt: skip


@dataclass(frozen=True)
class Detail:
    """Where one condition lies.

    Args:
        zone: `upper`, `middle`, `lower`, or None for what is not said by zone.
        place: what the painters of devices know; empty for diseases.
        tip: the end of a tube or line in the words of the report.
        position: `satisfactory`, `malpositioned`, or None for diseases.
        distance: centimetres from the carina up to the tip of an endotracheal tube.
    """

    zone: str | None = None
    place: str = ""
    tip: str | None = None
    position: str | None = None
    distance: int = 0


@dataclass(frozen=True)
class RichStatement(Statement):
    """A line of ground truth with what the datalist says beyond `truth.jsonl`."""

    zone: str | None = None
    tip: str | None = None
    position: str | None = None

    def as_record(self) -> dict[str, str | None]:
        """The dictionary of the datalist's `statements`."""
        return self.as_json() | {"zone": self.zone, "tip": self.tip, "position": self.position}


def detail_of(finding: str, seed: int) -> Detail:
    """Zone, tip and position of a condition.

    Args:
        finding: its name.
        seed: its seed.
    """
    rng = np.random.default_rng([seed, 7])
    if finding in ZONED:
        return Detail(zone=ZONES[int(rng.integers(3))])
    if finding not in DEVICES:
        return Detail()
    bad = rng.random() < _MALPOSITIONED
    distance = int(rng.integers(3, 7))
    if finding == "Endotracheal Tube" and not bad:
        return Detail(None, "trachea", f"{distance} cm above the carina", SATISFACTORY, distance)
    places = (_BAD if bad else _GOOD)[finding]
    place, tip = places[int(rng.integers(len(places)))]
    distance = int(rng.integers(8, 11))
    return Detail(None, place, tip.format(cm=distance), MALPOSITIONED if bad else SATISFACTORY, distance)


def retell(visits: list[Visit]) -> list[Visit]:
    """The same visits with rich statements; what is gone lies where it lay on the study before.

    Args:
        visits: a patient's studies in order of time.
    """
    told, before = [], {}
    for visit in visits:
        seeds = before | {c.finding: c for c in visit.conditions}
        lines = [_rich(statement, seeds[statement.finding]) for statement in visit.statements]
        told.append(Visit(visit.time, visit.conditions, lines))
        before = {c.finding: c for c in visit.conditions}
    return told


def _rich(said: Statement, condition: Condition) -> RichStatement:
    detail = detail_of(said.finding, condition.seed)
    return RichStatement(said.finding, said.side, said.severity, said.change, detail.zone, detail.tip, detail.position)
