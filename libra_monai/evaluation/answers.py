# SPDX-License-Identifier: Apache-2.0
"""The two answers of the control table, each with the numbers it rests on.

The limits are those of the project's own table of aims: a model looks at its prior if most claims of improvement or
worsening turn when the pictures are exchanged, and nearly all claims say unchanged when they are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

YES, PARTLY, NO, UNKNOWN = "yes", "partly", "no", "cannot tell"
_FINDING = "finding_side_micro_f1"
_NEAR = 0.10  # finding F1 with another patient's pictures may stay this much above the constant report
_FLIPPED, _FLIPPED_SOME = 0.70, 0.25
_STABLE, _STABLE_SOME = 0.90, 0.60
_LEAST_CLAIMS = 10  # fewer directed claims say nothing
_CLEAR = 0.05  # p
_SAME = 0.05  # share of drafts that may differ where a model does not look


def answers(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """`{"picture": {answer, because}, "prior": {...}}`.

    Args:
        table: the rest of `controls.json`.
    """
    return {"picture": _picture(table), "prior": _prior(table)}


def _picture(table: Mapping[str, Any]) -> dict[str, str]:
    row = table["controls"].get("shuffled", {})
    moved = row.get("metrics", {}).get(_FINDING)
    if moved is None:
        return _say(UNKNOWN, "no study could be given another patient's pictures")
    constant = table["constant"][_FINDING]
    because = (
        f"with another patient's pictures finding F1 goes from {moved['against']:.2f} to {moved['value']:.2f} "
        f"(change {moved['low']:+.2f} to {moved['high']:+.2f}); the best constant report has {constant:.2f}; "
        f"{row['drafts_changed']:.0%} of drafts change"
    )
    if moved["high"] < 0 and moved["p"] < _CLEAR:
        return _say(YES if moved["value"] <= constant + _NEAR else PARTLY, because)
    if row["drafts_changed"] < _SAME or row["n"] >= 30:
        return _say(NO, because)
    return _say(UNKNOWN, f"{because}; too few studies ({row['n']})")


def _prior(table: Mapping[str, Any]) -> dict[str, str]:
    swapped, same = (table["controls"].get(name, {}).get("claims") for name in ("swapped", "duplicated"))
    if swapped is None or same is None:
        return _say(UNKNOWN, "the controls that exchange or duplicate pictures were not run, or no study has a prior")
    if not swapped["before"]:
        return _say(NO, f"no draft of {table['with_prior']} studies with a prior claims a change")
    changed = table["controls"]["swapped"].get("drafts_changed", 1.0)
    if changed < _SAME:
        return _say(NO, f"{changed:.0%} of drafts change when prior and current are swapped")
    stable = 1.0 if same["stable"] is None else same["stable"]  # a draft without claims says nothing false
    equal = f"{same['stable']:.0%} of {same['after']} claims say unchanged" if same["after"] else "no draft claims a change"
    turned = "none" if swapped["flipped"] is None else f"{swapped['flipped']:.0%}"
    because = (
        f"of {swapped['directed']} claims of improvement or worsening {turned} turn when prior and current are swapped; "
        f"with the current as its own prior {equal}{_other(table)}"
    )
    if swapped["directed"] < _LEAST_CLAIMS:
        return _say(UNKNOWN, f"{because}; too few claims")
    if swapped["flipped"] >= _FLIPPED and stable >= _STABLE:
        return _say(YES, because)
    if swapped["flipped"] >= _FLIPPED_SOME or (stable >= _STABLE_SOME and _falls(table)):
        return _say(PARTLY, because)
    return _say(NO, because)


def _falls(table: Mapping[str, Any]) -> bool:
    """Whether claims get clearly worse with another patient's prior."""
    moved = table["controls"].get("other_prior", {}).get("metrics", {}).get("change_micro_f1")
    return moved is not None and moved["high"] < 0 and moved["p"] < _CLEAR


def _other(table: Mapping[str, Any]) -> str:
    moved = table["controls"].get("other_prior", {}).get("metrics", {}).get("change_micro_f1")
    if moved is None:
        return ""
    return f"; with another patient's prior change F1 goes from {moved['against']:.2f} to {moved['value']:.2f}"


def _say(answer: str, because: str) -> dict[str, str]:
    return {"answer": answer, "because": because}
