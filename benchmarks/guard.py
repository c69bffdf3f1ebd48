# SPDX-License-Identifier: Apache-2.0
"""What the guard costs and what it is worth: drafts with and without it, on phantom patients of a seed the model has never seen.

    python benchmarks/guard.py --seed 4711 [--patients 120] [--model DIR] [--work DIR]

Two sets of studies. `as they are`: those without a prior are guarded, the others must not change. `prior taken away`: the studies that have a prior
without its picture, while the request still speaks of it, which is where a model likes to compare. Findings are read from the text and judged by
what was drawn; sentences that end in a word that says nothing, such as "is" or the half word "un", are counted. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from libra_monai import paths
from libra_monai.checkpoints import LoadedModel, load_pretrained
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.drafting import Drafter
from libra_monai.metrics import FindingF1
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.types import Record

F1 = "finding_side_micro_f1"
FRAGMENT = re.compile(
    r"\b(?:un|is|are|was|were|has|have|been|remains?|appears?|no|not|now|a|an|the|of|in|with|and|or|from|there|significantly)\.", re.IGNORECASE
)


def drafted(loaded: LoadedModel, root: str, records: Sequence[Record], guard: bool) -> dict[str, str]:
    """Study -> drafted text, with or without the guard."""
    drafter = Drafter(replace(loaded, decoding=replace(loaded.decoding, guard=guard)), root)
    texts = {study: draft.text for study, draft in drafter.drafts(records).items()}
    assert not drafter.failures, drafter.failures
    return texts


def compared(loaded: LoadedModel, root: str, records: Sequence[Record]) -> dict[str, Any]:
    """Finding F1 and comparisons without a prior, without and with the guard."""
    texts = {guard: drafted(loaded, root, records, guard) for guard in (False, True)}
    alone = [r["study_id"] for r in records if not r["prior"]]
    values: dict[str, Any] = {"studies": len(records), "without_prior": len(alone)}
    for guard, name in ((False, "off"), (True, "on")):
        metric = FindingF1(truth=True)
        metric.update([texts[guard][r["study_id"]] for r in records], [r["findings"] for r in records], records)
        values[f"finding_f1_{name}"] = round(metric.compute()[F1], 4)
        values[f"comparing_{name}"] = sum(claims_change(texts[guard][study]) for study in alone)
        values[f"fragments_{name}"] = sum(len(FRAGMENT.findall(text)) for text in texts[guard].values())
        values[f"words_{name}"] = round(sum(len(text.split()) for text in texts[guard].values()) / len(records), 1)
    values["fall"] = round(values["finding_f1_off"] - values["finding_f1_on"], 4)
    values["changed"] = sum(texts[True][r["study_id"]] != texts[False][r["study_id"]] for r in records)
    values["changed_with_prior"] = sum(texts[True][r["study_id"]] != texts[False][r["study_id"]] for r in records if r["prior"])
    return values


def main() -> None:
    """Draw, draft four times, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--model", default=None)
    parser.add_argument("--work", default=None, help="folder that keeps the studies")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(args.work or scratch) / f"seed{args.seed}"
        records = load_records(generate(root, args.patients, args.seed, {"test": 1.0}), "test")
        loaded = load_pretrained(args.model or paths.tiny_model())
        sets = {"as they are": records, "prior taken away": [{**r, "prior": None} for r in records if r["prior"]]}
        results = {name: compared(loaded, str(root), some) for name, some in sets.items()}
    print("| studies | without a prior | drafts the guard changed | finding F1 off, on | fall | of those without a prior, compare: off, on | fragments off, on | words off, on |")
    print("|---|---|---|---|---|---|---|---|")
    for name, v in results.items():
        comparing, words = f"{v['comparing_off']}, {v['comparing_on']}", f"{v['words_off']}, {v['words_on']}"
        broken = f"{v['fragments_off']}, {v['fragments_on']}"
        found = f"{v['finding_f1_off']:.4f}, {v['finding_f1_on']:.4f} | {v['fall']:.4f}"
        print(f"| {v['studies']}, {name} | {v['without_prior']} | {v['changed']} ({v['changed_with_prior']} with a prior) | {found} | {comparing} | {broken} | {words} |")
    print(json.dumps({"benchmark": "guard", "model": f"{loaded.card['name']} {loaded.card['version']}", "seed": args.seed, "sets": results}))


if __name__ == "__main__":
    main()
