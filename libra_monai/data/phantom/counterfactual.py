# SPDX-License-Identifier: Apache-2.0
"""Pairs of pictures that make the prior matter: time turned round, another study of the patient, and nothing changed.

A model may guess a change from the current picture alone: a large effusion has rarely just shrunk. Where the same two pictures
also come the other way round, with the report that is then true, guessing no longer pays. Any two studies of a patient make a
pair, not only neighbours. And a picture beside itself has the report in which everything is unchanged. Phantoms allow all
three, since what was drawn is known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Randomizable, Transform

from libra_monai.data.phantom.rich import wording as rich_wording
from libra_monai.data.phantom.rich.details import RichStatement
from libra_monai.data.phantom.story import DEVICES, SEVERITIES, Statement
from libra_monai.data.phantom.wording import write_findings, write_impression
from libra_monai.types import FAILURE, VIEWS, Record

_TURNED = {"worsened": "improved", "improved": "worsened", "stable": "stable"}
_GONE = ("resolved", "removed")
_LEVELS = list(SEVERITIES)
_OF_CURRENT = ("technique", "view", "image_uids", "unread_views", "study_uid", "lateral")
_TEXTS_BEFORE = ("prior_findings", "prior_impression", "earlier")


class RandCounterfactualPrior(Randomizable, Transform):
    """Change which picture is the prior of a phantom study, and rewrite the report.

    Only studies with a prior of known `statements` are changed, and all of them get these as `prior_statements`; reports
    of rich phantoms are rewritten in the wordings of training. Belongs behind the reading of the pictures and before `RandViewsd`: a picture that stands for
    both views then gets one draw, as in a study without prior.

    Args:
        records: studies among which the priors are looked up, usually all of the training split.
        turn: chance that prior and current change places.
        same: chance that the current picture stands for the prior too.
        other: chance that yet another study of the patient, earlier or later, is the prior.
        pictures: reads the pictures of a record; needed for `other`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        turn: float = 0.4,
        same: float = 0.1,
        other: float = 0.0,
        pictures: Callable[[Record], Mapping[Hashable, Any]] | None = None,
    ) -> None:
        self.turn, self.same, self.other, self.pictures = turn, same, other if pictures else 0.0, pictures
        usable = [r for r in records if FAILURE not in r and r.get("statements") is not None]
        self.known = {r["study_id"]: r["statements"] for r in usable}
        self.of_patient: dict[str, list[Record]] = {}
        for record in usable:
            self.of_patient.setdefault(record["patient_id"], []).append(record)
        self.rich = any("zone" in said for statements in self.known.values() for said in statements)

    def __call__(self, study: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item, draw = dict(study), self.R.random()
        before = self.known.get(item.get("prior_study_id"))
        if before is None or item.get("statements") is None or item.get("prior") is None:
            return item
        item, now = _with_prior_statements(item, before), item["statements"]
        if draw < self.turn:
            said, shown = turned(now, before), {"current": "prior", "prior": "current"}
        elif draw < self.turn + self.same:
            said, shown = unchanged(now), {"current": "current", "prior": "current"}
        elif draw < self.turn + self.same + self.other:
            return self._with_another(item)
        else:
            return item
        paths = item["picture_paths"]
        item["picture_paths"] = {**paths, **{view: paths[source] for view, source in shown.items()}}
        item |= {view: study[source] for view, source in shown.items()}
        return self._retold(item | dict.fromkeys(_OF_CURRENT) | {"prior_statements": now}, said)

    def _with_another(self, item: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """The study with the picture of another study of its patient as the prior, if there is one that compares."""
        own = (item["study_id"], item["prior_study_id"])
        others = [r for r in self.of_patient.get(item["patient_id"], ()) if r["study_id"] not in own]
        if not others:
            return item
        chosen = others[self.R.randint(len(others))]
        said = compared(item["statements"], chosen["statements"])
        seen = self.pictures({**chosen, "prior": None, "lateral": None}) if said is not None else {}
        if seen.get("current") is None:
            return item
        paths = {**item["picture_paths"], "prior": seen["picture_paths"]["current"]}
        changed = {"prior": seen["current"], "picture_paths": paths, "prior_study_id": chosen["study_id"], "gap_hours": None}
        changed["prior_statements"] = chosen["statements"]
        return self._retold(item | changed, said)

    def _retold(self, item: dict[Hashable, Any], said: Sequence[Record]) -> dict[Hashable, Any]:
        """A changed study with its new report, as an item and as a record."""
        return _with_record(item | self._told(said) | dict.fromkeys(_TEXTS_BEFORE))

    def _told(self, said: Sequence[Record]) -> dict[str, Any]:
        """The fields of a record that say what is seen."""
        return told(said, self.rich, self.R.randint(2**31))


def _with_prior_statements(item: Mapping[Hashable, Any], before: Sequence[Record]) -> dict[Hashable, Any]:
    """A study that also says what its prior shows, for a network that is asked about both pictures."""
    return _with_record({**item, "prior_statements": list(before)})


def _with_record(item: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """An item whose record says what it says."""
    record = {key: value for key, value in item.items() if key not in (*VIEWS, "picture_paths", "record")}
    return {**item, "record": {**record, **{view: item["picture_paths"].get(view) for view in VIEWS}}}


def told(said: Sequence[Record], rich: bool, seed: int) -> dict[str, Any]:
    """The fields of a phantom's record that say what is seen, newly worded.

    Args:
        said: its statements.
        rich: in the wordings of rich phantoms that training may use.
        seed: chooses among the wordings.
    """
    rng = np.random.default_rng(seed)
    if rich:
        names = ("finding", "side", "severity", "change", "zone", "tip", "position")
        detailed = [RichStatement(*(s.get(name) for name in names)) for s in said]
        findings = rich_wording.write_findings(detailed, rng, "training")
        impression = rich_wording.write_impression(detailed, rng, "training")
    else:
        lines = [Statement(s["finding"], s["side"], s["severity"], s["change"]) for s in said]
        findings, impression = write_findings(lines, rng), write_impression(lines, rng)
    return {"statements": list(said), "findings": findings, "impression": impression, "finding_labels": None}


def turned(now: Sequence[Record], before: Sequence[Record]) -> list[dict[str, Any]]:
    """Statements of the prior study as if it had come after the current one.

    What is new turns into what has gone, what has gone into what is new, and growth into shrinking. Severity and `cells`
    are those of the prior study; of what has gone, those it was last seen with.

    Args:
        now: statements of the current study, against its prior.
        before: statements of the prior study, whatever they say of a change.
    """
    at_first = {(s["finding"], s["side"]): s for s in before if s["change"] not in _GONE}
    lines = []
    for said in now:
        old = at_first.get((said["finding"], said["side"]))
        if said["change"] == "new":
            gone = "removed" if said["finding"] in DEVICES else "resolved"
            lines.append({**said, "severity": None, "change": gone})
        elif old is not None:
            lines.append({**old, "change": _TURNED.get(said["change"], "new")})
    return lines


def alone(now: Sequence[Record]) -> list[dict[str, Any]]:
    """Statements of the current study as if there were no prior: what is seen, without a change.

    Args:
        now: its statements; what has gone is left out.
    """
    return [{**said, "change": None} for said in now if said["change"] not in _GONE]


def compared(now: Sequence[Record], before: Sequence[Record]) -> list[dict[str, Any]] | None:
    """Statements of a study against any other study of its patient.

    Severity decides: of a disease in both, the higher level is the worse one. None where a finding is on another side in
    the two studies, since it is then not the same one.

    Args:
        now: statements of the study, whatever they say of a change.
        before: those of the study that is to be its prior.
    """
    here, there = ({(s["finding"], s["side"]): s for s in part if s["change"] not in _GONE} for part in (now, before))
    if any(a[0] == b[0] and a[1] != b[1] for a in here for b in there):
        return None
    lines = []
    for key, said in here.items():
        old = there.get(key)
        steps = 0 if old is None or said["severity"] is None else _level(said) - _level(old)
        change = "new" if old is None else "worsened" if steps > 0 else "improved" if steps < 0 else "stable"
        lines.append({**said, "change": change})
    for key, old in there.items():
        if key not in here:
            lines.append({**old, "severity": None, "change": "removed" if key[0] in DEVICES else "resolved"})
    return lines


def _level(said: Record) -> int:
    return _LEVELS.index(said["severity"]) if said["severity"] in _LEVELS else 0


def unchanged(now: Sequence[Record]) -> list[dict[str, Any]]:
    """Statements of the current study against a prior that shows the same.

    Args:
        now: its statements; what has gone is left out.
    """
    return [{**said, "change": "stable"} for said in now if said["change"] not in _GONE]
