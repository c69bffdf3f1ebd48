# SPDX-License-Identifier: Apache-2.0
"""The control suite: does a model look at the picture? at the prior?

Every control is drafted for the studies it touches and compared, study by study, with the drafts of the same studies
as given: the change of every metric with interval, the share of drafts that differ, what became of the claims of
change. Beside it stands the best constant report, which is what a model that sees nothing can reach. Idea: occlusion
and swap tests of vision-language models; no peer of Libra publishes them for the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.evaluation.answers import answers
from libra_monai.evaluation.claims import compare_claims
from libra_monai.evaluation.constant import best_constant
from libra_monai.evaluation.controls import CONTROLS, Control
from libra_monai.evaluation.drafting import Drafter
from libra_monai.metrics import ChangeF1, FindingF1, ReportMetric, compare_metrics, summarise
from libra_monai.metrics.labelers.changes import change_claims
from libra_monai.metrics.statistics import RESAMPLES
from libra_monai.types import FAILURE, Record, ReportDraft


def run_controls(
    drafter: Drafter,
    records: Sequence[Record],
    metrics: Callable[[], Sequence[ReportMetric]],
    names: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    unit: str = "patient",
    seed: int = 0,
    known: Mapping[str, Record] | None = None,
) -> tuple[dict[str, Any], dict[str, ReportDraft]]:
    """Run controls; the content of `controls.json`, and the drafts as given.

    Args:
        drafter: model and pictures.
        records: the studies; those without reference text are left out.
        metrics: makes fresh metrics; finding F1 and change F1 are added where they are missing.
        names: which controls; default all.
        resamples, unit: of intervals and tests.
        seed: of the choice of other patients.
        known: study -> record, to look up the studies of priors; default the records.

    Raises:
        ConfigError: a control does not exist, or no study could be drafted.
    """
    chosen = find_controls(names)
    target = drafter.loaded.processor.prompt.target
    usable = [r for r in records if FAILURE not in r and r.get(target)]
    given = drafter.drafts(usable)
    usable = [r for r in usable if r["study_id"] in given]
    if not usable:
        raise ConfigError("no study with a reference could be drafted", "See failed.jsonl, or choose another split.")
    judge = _Judge(metrics, target, resamples, unit)
    lookup = known if known is not None else {r["study_id"]: r for r in usable}
    rows = {control.name: _run(control, drafter, usable, lookup, given, judge, seed) for control in chosen}
    table = {**_as_given(usable, given, judge), "controls": rows}
    return {"answers": answers(table), **table}, given


def _as_given(records: Sequence[Record], given: Mapping[str, ReportDraft], judge: _Judge) -> dict[str, Any]:
    """What the controls are compared with."""
    return {
        "studies": len(records),
        "with_prior": sum(bool(r.get("prior")) for r in records),
        "drafts_distinct": len({given[r["study_id"]].text for r in records}),
        "baseline": summarise(judge.score(records, given), judge.resamples, judge.unit),
        "baseline_claims": judge.claims_of(records, given),
        "constant": best_constant(records, judge.target),
    }


def find_controls(names: Sequence[str] | None = None) -> list[Control]:
    """Controls by name, in the order of the table.

    Raises:
        ConfigError: a control does not exist.
    """
    known = {control.name: control for control in CONTROLS}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"control '{name}' does not exist", did_you_mean(name, known))
    return [control for control in CONTROLS if names is None or control.name in names]


class _Judge:
    """Metrics and claims of drafts of some studies."""

    def __init__(self, metrics: Callable[[], Sequence[ReportMetric]], target: str, resamples: int, unit: str) -> None:
        self.make, self.target, self.resamples, self.unit = metrics, target, resamples, unit

    def metrics(self) -> list[ReportMetric]:
        made = list(self.make())
        missing = [kind for kind in (FindingF1, ChangeF1) if not any(isinstance(metric, kind) for metric in made)]
        return [*made, *(kind() for kind in missing)]

    def score(self, records: Sequence[Record], drafts: Mapping[str, ReportDraft | str]) -> list[ReportMetric]:
        texts = [_text(drafts[r["study_id"]]) for r in records]
        metrics = self.metrics()
        for metric in metrics:
            metric.update(texts, [r[self.target] for r in records], records)
        return metrics

    def claims_of(self, records: Sequence[Record], drafts: Mapping[str, ReportDraft]) -> dict[str, Any]:
        """Share of drafts that claim a change, with and without a prior."""
        claims = {r["study_id"]: change_claims(drafts[r["study_id"]].text) for r in records}
        found: dict[str, Any] = {}
        for name, has_prior in (("with_prior", True), ("without_prior", False)):
            group = [bool(claims[r["study_id"]]) for r in records if bool(r.get("prior")) == has_prior]
            found[name] = {"n": len(group), "drafts_with_claims": sum(group) / len(group) if group else None}
        return found


def _run(
    control: Control,
    drafter: Drafter,
    records: Sequence[Record],
    known: Mapping[str, Record],
    given: Mapping[str, ReportDraft],
    judge: _Judge,
    seed: int,
) -> dict[str, Any]:
    """One row of the table."""
    changed = [r for r in control.records(records, known, seed) if r is not None and drafter.usable(r, control)]
    drafts = drafter.drafts(changed, control) if changed else {}
    touched = [r for r in records if r["study_id"] in drafts]
    row: dict[str, Any] = {"title": control.title, "drafts": control.drafts, "n": len(touched)}
    if not touched:
        return row | {"skipped": "no study has what this control changes"}
    pairs = [(given[r["study_id"]].text, drafts[r["study_id"]].text) for r in touched]
    before, after = ([change_claims(pair[side]) for pair in pairs] for side in (0, 1))
    metrics = compare_metrics(judge.score(touched, drafts), judge.score(touched, given), judge.resamples, judge.unit)
    return row | {
        "drafts_changed": sum(old != new for old, new in pairs) / len(pairs),
        "claims": compare_claims(before, after),
        "metrics": metrics,
    }


def _text(draft: ReportDraft | str) -> str:
    return draft if isinstance(draft, str) else draft.text
