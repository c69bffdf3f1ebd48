# SPDX-License-Identifier: Apache-2.0
"""Does a model see what is there and use its prior? On phantom patients of a seed it has never seen.

    python benchmarks/prior_use.py --seed 4711 [--patients 120] [--model DIR] [--work DIR]

Findings and changes are read from the drafted text by the labelers and compared with what was drawn (the records'
`statements`). Prints some drafts, the table of aims in Markdown, finding F1 by finding, and ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.claims import compare_claims
from libra_monai.evaluation.constant import best_constant
from libra_monai.evaluation.drafting import Drafter
from libra_monai.evaluation.suite import find_controls
from libra_monai.metrics import ChangeF1, FalseComparison, FindingF1, score_reports
from libra_monai.metrics.base import f1
from libra_monai.metrics.labelers import present_findings
from libra_monai.metrics.labelers.changes import OPPOSITE, change_claims
from libra_monai.types import Record

CONTROLS = ("swapped", "duplicated", "other_prior", "shuffled")
GONE = ("resolved", "removed")
DISTINCT = 300  # studies among which distinct drafts are counted


def draft_controls(drafter: Drafter, records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Control (or `given`) -> study -> drafted text."""
    drafts = {"given": drafter.drafts(records)}
    known = {r["study_id"]: r for r in records}
    for control in find_controls(CONTROLS):
        changed = [r for r in control.records(records, known, 0) if r is not None]
        drafts[control.name] = drafter.drafts(changed, control)
    assert not drafter.failures, drafter.failures
    return {name: {study: draft.text for study, draft in found.items()} for name, found in drafts.items()}


def scored(metric: FindingF1 | ChangeF1 | FalseComparison, texts: dict[str, str], records: Sequence[Record]) -> dict:
    """Values of a metric over the studies that have a text, by `statements`."""
    chosen = [r for r in records if r["study_id"] in texts]
    metric.update([texts[r["study_id"]] for r in chosen], [r["findings"] for r in chosen], chosen)
    return metric.compute()


def by_finding(texts: dict[str, str], records: Sequence[Record]) -> dict[str, float]:
    """F1 of each finding with its side."""
    said = {study: present_findings(text) for study, text in texts.items()}
    drawn = {r["study_id"]: {(s["finding"], s["side"]) for s in r["statements"] if s["change"] not in GONE} for r in records}
    values = {}
    for name in sorted({finding for pairs in drawn.values() for finding, _ in pairs}):
        ours, theirs = ({(i, p) for i in said for p in found[i] if p[0] == name} for found in (said, drawn))
        values[name] = round(f1(len(ours & theirs), len(ours - theirs), len(theirs - ours)), 3)
    return values


def table(drafts: dict[str, dict[str, str]], records: Sequence[Record]) -> list[tuple[str, float | None, str, str]]:
    """Rows of (aim, value, floor, aim) in the words of the issue."""
    with_prior = [r for r in records if r["prior"]]
    given, ids = drafts["given"], [r["study_id"] for r in with_prior]
    finding = scored(FindingF1(truth=True), given, records)
    change = scored(ChangeF1(truth=True), given, with_prior)
    other = scored(ChangeF1(truth=True), drafts["other_prior"], with_prior)
    moved = {
        name: compare_claims(*([change_claims(drafts[which][i]) for i in ids] for which in ("given", name)))
        for name in ("swapped", "duplicated")
    }
    alone = scored(FalseComparison(), given, records)
    shuffled = scored(FindingF1(truth=True), drafts["shuffled"], records)["finding_side_micro_f1"]
    texts = [given[r["study_id"]] for r in records][:DISTINCT]
    every, moving = "change_micro_f1", "change_micro_f1_without_stable"
    return [
        ("finding micro F1 with side", finding["finding_side_micro_f1"], "0.90", "0.95"),
        ("change micro F1 (finding, side, change)", change[every], "0.60", "0.80"),
        ("the same without `stable`", change[moving], "0.50", "0.70"),
        ("another patient's prior: change F1 lower by", change[every] - other[every], "0.20", "0.35"),
        ("another patient's prior, without `stable`: lower by", change[moving] - other[moving], "0.20", "0.35"),
        (f"swapped: {moved['swapped']['directed']} claims of improved/worsened that flip", moved["swapped"]["flipped"], "0.70", "0.85"),
        (f"current as its own prior: {moved['duplicated']['after']} claims, of which unchanged", moved["duplicated"]["stable"], "0.90", "0.97"),
        ("drafts without prior that claim a change", alone["false_comparison_rate"], "at most 0.01", "0.005"),
        ("shuffled pictures: finding F1 above the best constant report by", shuffled - best_constant(records, truth=True)["finding_side_micro_f1"], "at most 0.10", "0.05"),
        ("laterality swaps among matched findings", finding["laterality_swap_rate"], "at most 0.02", "0.005"),
        (f"distinct drafts among {len(texts)} studies", len(set(texts)) / len(texts), "0.80", "0.90"),
    ]  # fmt: skip


def claims_by_truth(drafts: dict[str, dict[str, str]], records: Sequence[Record]) -> list[tuple[str, int, int, int]]:
    """Claims of improved or worsened by what was drawn: how many, of which flip with swapped pictures, of which stay."""
    rows = {"the change that is claimed": [0, 0, 0], "stable": [0, 0, 0], "anything else": [0, 0, 0]}
    for record in records:
        if not record["prior"]:
            continue
        drawn = {(s["finding"], s["side"]): s["change"] for s in record["statements"]}
        after = change_claims(drafts["swapped"][record["study_id"]])
        for finding, side, change in change_claims(drafts["given"][record["study_id"]]):
            if change in OPPOSITE:
                truth = drawn.get((finding, side))
                row = rows["the change that is claimed" if truth == change else "stable" if truth == "stable" else "anything else"]
                row[0] += 1
                row[1] += (finding, side, OPPOSITE[change]) in after
                row[2] += (finding, side, change) in after
    return [(name, *counts) for name, counts in rows.items()]


def quality(drafts: dict[str, dict[str, str]], records: Sequence[Record]) -> dict[str, Any]:
    """What the table does not say: an interval, words, and how much other pictures change."""
    given, shuffled = drafts["given"], drafts["shuffled"]
    texts, references = [given[r["study_id"]] for r in records], [r["findings"] for r in records]
    scores = score_reports(texts, references, ["bleu", "rouge_l", FindingF1(truth=True)], records)
    finding = scores["finding_side_micro_f1"]
    return {
        "finding_side_micro_f1": round(finding["value"], 4),
        "interval": [round(finding[bound], 4) for bound in ("low", "high")],
        "f1_with_shuffled_pictures": round(scored(FindingF1(truth=True), shuffled, records)["finding_side_micro_f1"], 4),
        "drafts_changed_by_shuffling": round(sum(given[i] != text for i, text in shuffled.items()) / len(shuffled), 4),
        "distinct_drafts": round(len(set(texts)) / len(texts), 4),
        "bleu_4_coco": round(scores["bleu_4_coco"]["value"], 4),
        "rouge_l_coco": round(scores["rouge_l_coco"]["value"], 4),
    }


def main() -> None:
    """Draw, draft, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--model", default=None)
    parser.add_argument("--work", default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(args.work or scratch) / f"seed{args.seed}"
        records = load_records(generate(root, args.patients, args.seed, {"test": 1.0}), "test")
        loaded = load_pretrained(args.model or paths.tiny_model())
        drafts = draft_controls(Drafter(loaded, str(root)), records)
    for record in records[:10]:
        print(f"{record['study_id']}\n  draft     {drafts['given'][record['study_id']]}\n  reference {record['findings']}")
    rows = table(drafts, records)
    print("| | measured | floor | aim |\n|---|---|---|---|")
    for name, value, floor, aim in rows:
        print(f"| {name} | {'–' if value is None else f'{value:.3f}'} | {floor} | {aim} |")
    print("\n| drawn | claims of improved or worsened | flip | stay |\n|---|---|---|---|")
    for row in claims_by_truth(drafts, records):
        print("| " + " | ".join(map(str, row)) + " |")
    print(f"\n{json.dumps(by_finding(drafts['given'], records))}")
    card = {"model": loaded.card["name"], "version": loaded.card["version"], "seed": args.seed, "studies": len(records)}
    values = {name: value for name, value, _, _ in rows}
    print(json.dumps({"benchmark": "prior_use", **card, **quality(drafts, records), "rows": values}))


if __name__ == "__main__":
    main()
