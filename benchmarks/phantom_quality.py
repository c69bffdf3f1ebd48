# SPDX-License-Identifier: Apache-2.0
"""How well a model reads phantom patients of a seed it has never seen; ends in one JSON line.

    python benchmarks/phantom_quality.py --seed 4711 [--patients 120] [--model DIR] [--work DIR]

Findings with side are read from the drafted text and compared with `truth.jsonl`. Then every study is drafted
again with the current picture of another patient, to see whether the draft depends on the picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import StudyDataset, load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.inferers import ReportInferer
from libra_monai.metrics import FindingF1, score_reports
from libra_monai.metrics.labelers.findings import present_findings

GONE = ("resolved", "removed")


def draft_all(loaded, records: list[dict], root: Path, batch_size: int = 16) -> list[str]:
    """Drafted text of every record, in order."""
    dataset = StudyDataset(records, loaded.processor.pictures(str(root), remember=True))
    texts = []
    for start in range(0, len(records), batch_size):
        batch = loaded.processor.collate([dataset[i] for i in range(start, min(start + batch_size, len(records)))])
        assert not batch.failures, batch.failures
        texts += [loaded.processor.decode(g) for g in ReportInferer(loaded.decoding)(batch, loaded.model)]
    return texts


def f1_against_truth(texts: list[str], records: list[dict], truth: dict[str, list[dict]]) -> tuple[float, dict]:
    """Micro F1 of (finding, side), and the F1 of each finding."""
    counts: dict[str, Counter] = {}
    for text, record in zip(texts, records, strict=True):
        wanted = {(f["finding"], f["side"]) for f in truth[record["study_id"]] if f["change"] not in GONE}
        said = present_findings(text)
        for name, pairs in (("tp", said & wanted), ("fp", said - wanted), ("fn", wanted - said)):
            for finding, _ in pairs:
                counts.setdefault(finding, Counter())[name] += 1

    def f1(c: Counter) -> float:
        return 2 * c["tp"] / max(2 * c["tp"] + c["fp"] + c["fn"], 1)

    return f1(sum(counts.values(), Counter())), {name: round(f1(c), 3) for name, c in sorted(counts.items())}


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
        lines = [json.loads(line) for line in (root / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
        loaded = load_pretrained(args.model or paths.tiny_model())
        texts = draft_all(loaded, records, root)
        swapped = [{**r, "current": records[(i + 7) % len(records)]["current"]} for i, r in enumerate(records)]
        others = draft_all(loaded, swapped, root)
    truth = {line["study_id"]: line["findings"] for line in lines}
    total, each = f1_against_truth(texts, records, truth)
    references = [r["findings"] for r in records]
    scores = score_reports(texts, references, ["bleu", "rouge_l", FindingF1(truth=True)], records)
    for record, text in list(zip(records, texts, strict=True))[:10]:
        print(f"{record['study_id']}\n  draft     {text}\n  reference {record['findings']}")
    print(json.dumps(each))
    result = {
        "benchmark": "phantom_quality",
        "model": loaded.card["name"],
        "version": loaded.card["version"],
        "seed": args.seed,
        "studies": len(records),
        "finding_side_micro_f1": round(total, 4),
        "interval": [round(scores["finding_side_micro_f1"][k], 4) for k in ("low", "high")],
        "f1_with_swapped_current": round(f1_against_truth(others, records, truth)[0], 4),
        "drafts_changed_by_swapped_current": round(sum(a != b for a, b in zip(texts, others)) / len(texts), 4),
        "distinct_drafts": round(len(set(texts)) / len(texts), 4),
        "bleu_4_coco": round(scores["bleu_4_coco"]["value"], 4),
        "rouge_l_coco": round(scores["rouge_l_coco"]["value"], 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
