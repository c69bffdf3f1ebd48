# SPDX-License-Identifier: Apache-2.0
"""`libra-monai verify-published FOLDER`: do published weights give the published texts and figures here?

Smoke cases are studies with the text the original prints for them; you bring them as a datalist, since pictures
and texts are yours to hold. With a MIMIC-CXR datalist the published setting is run over its test split. Published
weights want a GPU; the tests run this on tiny weights of the same layout.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai verify-published`."""
    parser.add_argument("folder", metavar="FOLDER", help="published checkpoint, or a model folder made of one")
    parser.add_argument("--smoke", metavar="FILE", help="datalist whose `findings` are the texts of the original")
    parser.add_argument("--readme", metavar="FILE", help="your copy of the original's README, searched for those texts")
    parser.add_argument("--datalist", metavar="FILE", help="MIMIC-CXR datalist; its split `test` is drafted and scored")
    parser.add_argument("--data-root", metavar="DIR", help="folder of the pictures (the datalist's)")
    parser.add_argument("--encoder", metavar="DIR", help="encoder folder or hub name (what config.json names)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="where to run (auto)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="studies a batch (8)")
    parser.add_argument("--limit", type=int, metavar="N", help="first N studies of the split only")
    parser.add_argument("--out", metavar="DIR", default="runs/verify_published", help="where drafts and scores go")


def run(args: argparse.Namespace) -> int:
    """Run what was asked for, print verdicts, and return 1 if one of them is a miss."""
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.engines import pick_device
    from libra_monai.errors import ConfigError
    from libra_monai.files import check_writable

    if not (args.smoke or args.datalist):
        raise ConfigError("nothing to verify", "Give --smoke, --datalist, or both; see docs/published-weights.md.")
    out = Path(args.out)
    check_writable(out, "--out")
    loaded = load_pretrained(args.folder, encoder=args.encoder, device=pick_device(args.device))
    missed = 0
    if args.smoke:
        missed += _smoke(loaded, args, out)
    if args.datalist:
        missed += _published(loaded, args, out)
    print("the same" if not missed else f"{missed} missed: not the same")
    return int(missed > 0)


def _smoke(loaded: Any, args: argparse.Namespace, out: Path) -> int:
    """Greedy drafts of the smoke cases, word for word."""
    from libra_monai.checkpoints.published.figures import SMOKE_DECODING
    from libra_monai.data import load_records

    records = load_records(args.smoke, "test")
    readme = " ".join(Path(args.readme).read_text(encoding="utf-8").split()) if args.readme else None
    drafts = _draft(loaded, records, args.smoke, args, SMOKE_DECODING, out / "smoke.jsonl")
    missed = 0
    for record, draft in zip(records, drafts, strict=True):
        said = " ".join((draft or "").split())
        wanted = " ".join((record.get("findings") or "").split())
        equal = said == wanted if wanted else bool(readme and said and said in readme)
        missed += not equal
        print(f"{'equal' if equal else 'MISS '}  smoke case {record['study_id']}")
    return missed


def _published(loaded: Any, args: argparse.Namespace, out: Path) -> int:
    """The published setting over the test split, every figure with interval and verdict."""
    from libra_monai import registry
    from libra_monai.checkpoints.published.figures import FIGURES, METRICS, PUBLISHED_DECODING
    from libra_monai.data import load_records
    from libra_monai.files import write_json
    from libra_monai.metrics import score_reports

    records = load_records(args.datalist, "test", args.limit)
    drafts = _draft(loaded, records, args.datalist, args, PUBLISHED_DECODING, out / "predictions.jsonl")
    pairs = [(d, r) for d, r in zip(drafts, records, strict=True) if d is not None and r.get("findings")]
    metrics = [registry.build("metric", name, **options) for name, options in METRICS.items()]
    scores = score_reports([d for d, _ in pairs], [r["findings"] for _, r in pairs], metrics, [r for _, r in pairs])
    write_json(out / "metrics.json", scores)
    figures = FIGURES.get(loaded.processor.settings["template"], {})
    print(f"{len(pairs)} of {len(records)} studies; published against measured [95 %]")
    missed = 0
    for name, score in scores.items():
        missed += _verdict(name, figures.get(name), score)
    return missed


def _verdict(name: str, published: float | None, score: Mapping[str, float]) -> bool:
    measured = f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
    if published is None:
        print(f"-      {name}: not published, measured {measured}")
        return False
    miss = not score["low"] <= published <= score["high"]
    print(f"{'MISS ' if miss else 'equal'}  {name}: published {published:.4f}, measured {measured}")
    return miss


def _draft(
    loaded: Any, records: Sequence[Mapping[str, Any]], datalist: str, args: argparse.Namespace, options: dict, file: Path
) -> list[str | None]:
    """Drafts in the order of the records, None where a study failed; those of an earlier run are kept."""
    from tqdm import tqdm

    from libra_monai.data import StudyDataset
    from libra_monai.data.datalist import default_root
    from libra_monai.inferers import ReportInferer

    done = {}
    if file.is_file():
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        done = {line["study_id"]: line["prediction"] for line in lines}
    todo = [r for r in records if r["study_id"] not in done]
    dataset = StudyDataset(todo, loaded.processor.pictures(args.data_root or default_root(datalist)))
    infer = ReportInferer(options, loaded.processor)
    with file.open("a", encoding="utf-8") as out:
        for start in tqdm(range(0, len(todo), args.batch_size), desc="drafting", unit="batch", delay=2):
            batch = loaded.processor.collate([dataset[i] for i in range(start, min(start + args.batch_size, len(todo)))])
            for failure in batch.failures:
                print(f"MISS   {failure.study_id}: {failure.file}: {failure.reason}. {failure.remedy}")
            for study, generation in zip(batch.study_ids, infer(batch.to(loaded.device), loaded.model), strict=True):
                done[study] = loaded.processor.decode(generation)
                out.write(json.dumps({"study_id": study, "prediction": done[study]}) + "\n")
            out.flush()
    return [done.get(r["study_id"]) for r in records]
