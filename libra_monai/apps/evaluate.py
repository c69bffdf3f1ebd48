# SPDX-License-Identifier: Apache-2.0
"""Score drafted reports; with --controls, find out whether a model looks at the picture and at the prior.

Without a model: --predictions and --references, files with one study a row (predictions.jsonl, JSON lines, CSV; the
references also as a datalist). With a model: --model and --datalist draft the studies first. The folder then holds
metrics.json, per_study.csv, strata.json, coverage.json and evaluation.html, with --against also comparison.json, with
--controls also controls.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALL = "all"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai evaluate`."""
    texts = parser.add_argument_group("without a model")
    texts.add_argument("--predictions", metavar="FILE", help="drafts: JSON lines or CSV with study_id and text")
    texts.add_argument("--references", metavar="FILE", help="datalist, JSON lines or CSV (`reference` beside the drafts)")
    missing = ("leave-out", "empty")
    texts.add_argument("--missing", default=missing[0], choices=missing, help="references without a draft (leave-out)")
    model = parser.add_argument_group("with a model")
    model.add_argument("--model", metavar="DIR", help="model folder")
    model.add_argument("--datalist", metavar="FILE", help="studies to draft")
    model.add_argument("--controls", nargs="?", const=ALL, metavar="NAMES", help="the control suite, or some of it: a,b")
    model.add_argument("--limit", type=int, metavar="N", help="only the first studies")
    model.add_argument("--batch-size", type=int, default=16, metavar="N", help="studies a batch (16)")
    model.add_argument("--max-new-tokens", type=int, default=160, metavar="N", help="longest draft (160)")
    model.add_argument("--beams", type=int, default=1, metavar="N", help="beams of generation (1)")
    model.add_argument("--device", default="auto", help="auto, cpu, or a torch device")
    model.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    model.add_argument("--seed", type=int, default=0, help="of the choice of other patients (0)")
    both = parser.add_argument_group("both")
    both.add_argument("--against", metavar="FILE", help="drafts of another system, compared study by study")
    both.add_argument("--profile", metavar="NAME", help="metrics as others report them: libra (all registered metrics)")
    both.add_argument("--metrics", metavar="NAMES", help="only these registered metrics: a,b:argument=value")
    both.add_argument("--section", metavar="NAME", help="section of the datalist, or column of the text (findings)")
    both.add_argument("--split", metavar="NAME", help="split of the datalist (all; with a model test)")
    both.add_argument("--data-root", metavar="DIR", help="folder of the pictures (the datalist's)")
    both.add_argument("--unit", default="patient", choices=("patient", "study"), help="what the intervals resample (patient)")
    both.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the intervals and tests (1000)")
    both.add_argument("--key", metavar="NAME", help="value that orders the worst cases")
    both.add_argument("--out", default="runs/evaluate", metavar="DIR", help="folder to write to (runs/evaluate)")


def run(args: argparse.Namespace) -> int:
    """Read or draft, score, write, and print the values."""
    from libra_monai.errors import ConfigError
    from libra_monai.files import check_writable

    for wanted, without in (("controls", "model"), ("limit", "model"), ("datalist", "model"), ("references", "predictions")):
        if getattr(args, wanted) is not None and not getattr(args, without):
            raise ConfigError(f"--{wanted} without --{without}", f"Give --{without} as well.")
    if bool(args.predictions) == bool(args.model):
        what = "both --predictions and --model" if args.model else "nothing to score"
        raise ConfigError(what, "Give one of --predictions and --model.")
    if args.resamples < 1:
        raise ConfigError(f"--resamples is {args.resamples}", "Give 1 or more.")
    check_writable(args.out, "--out")
    return _score_model(args) if args.model else _score_texts(args)


def _score_texts(args: argparse.Namespace) -> int:
    from libra_monai.evaluation.files import write_evaluation
    from libra_monai.evaluation.pairs import pair
    from libra_monai.evaluation.texts import read_drafts, read_references, references_within

    drafts = read_drafts(args.predictions)
    if args.references:
        references = read_references(args.references, args.section, args.split)
    else:
        references = references_within(args.predictions)
    pairs = pair(drafts, references, args.missing)
    root = args.data_root or (str(Path(args.references).resolve().parent) if args.references else None)
    title = f"Evaluation of {Path(args.predictions).name}"
    scores = write_evaluation(
        args.out, title, pairs, _scoring(args), _other(args, references), None, root, references.records, drafts.marks
    )
    _tell(args, pairs.coverage, scores)
    return 0


def _score_model(args: argparse.Namespace) -> int:
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.data import load_records
    from libra_monai.data.datalist import default_root
    from libra_monai.engines import pick_device, pick_dtype
    from libra_monai.errors import ConfigError
    from libra_monai.evaluation.drafting import Drafter
    from libra_monai.evaluation.suite import find_controls
    from libra_monai.handlers import FailureLog
    from libra_monai.types import FAILURE, Decoding

    if not args.datalist:
        raise ConfigError("--model without --datalist", "Give the studies to draft as --datalist.")
    names = None if args.controls in (None, ALL) else _names(args.controls)
    find_controls(names)
    records = load_records(args.datalist, args.split or "test", args.limit)
    loaded = load_pretrained(args.model, device=pick_device(args.device), dtype=pick_dtype(args.dtype))
    loaded.decoding = Decoding(max_new_tokens=args.max_new_tokens, num_beams=args.beams)
    log = FailureLog(args.out)
    log.add(r[FAILURE] for r in records if FAILURE in r)
    root = args.data_root or default_root(args.datalist)
    drafter = Drafter(loaded, root, args.batch_size)
    _draft_and_score(args, drafter, [r for r in records if FAILURE not in r], names, log)
    log.raise_if_any()
    return 0


def _draft_and_score(args: argparse.Namespace, drafter: Any, records: Sequence[Any], names: Any, log: Any) -> None:
    from libra_monai.evaluation.files import write_evaluation
    from libra_monai.evaluation.pairs import pair
    from libra_monai.evaluation.suite import run_controls
    from libra_monai.evaluation.texts import Texts, read_references
    from libra_monai.files import write_jsonl

    known = read_references(args.datalist, args.section).records
    scoring, table = _scoring(args), None
    if args.controls:
        table, drafts = run_controls(drafter, records, scoring.metrics, names, scoring.resamples, scoring.unit, args.seed, known)
    else:
        drafts = drafter.drafts(records)
    log.add(drafter.failures)
    write_jsonl(Path(args.out) / "predictions.jsonl", [draft.as_json() for draft in drafts.values()])
    target = drafter.loaded.processor.prompt.target
    ours, references = Texts(str(Path(args.out) / "predictions.jsonl")), Texts(args.datalist)
    for record in records:
        references.add(args.datalist, record["study_id"], record.get(target) or "", record)
    for study, draft in drafts.items():
        ours.add(ours.path, study, draft.text, {})
    pairs = pair(ours, references)
    marks = next(iter(drafts.values())).marks
    title = f"Evaluation of {drafter.loaded.card.get('name', 'a model')}"
    other = _other(args, references)
    scores = write_evaluation(args.out, title, pairs, scoring, other, table, drafter.root, known, marks)
    for question, answer in (table or {}).get("answers", {}).items():
        print(f"Looks at the {question}? {answer['answer'].upper()}: {answer['because']}.")
    _tell(args, pairs.coverage, scores)


def _scoring(args: argparse.Namespace) -> Any:
    from libra_monai.errors import ConfigError
    from libra_monai.evaluation.files import Scoring
    from libra_monai.metrics import build_metrics

    if args.profile and args.metrics:
        raise ConfigError("both --profile and --metrics", "Give one of them.")

    def metrics() -> list[Any]:
        return [_metric(text) for text in _names(args.metrics)] if args.metrics else build_metrics(args.profile)

    metrics()  # a name that does not exist is told before any work
    return Scoring(metrics, args.resamples, args.unit, args.key)


def _other(args: argparse.Namespace, references: Any) -> Any:
    """Drafts of the other system, paired with the same references."""
    from libra_monai.evaluation.pairs import pair
    from libra_monai.evaluation.texts import read_drafts

    return pair(read_drafts(args.against), references, args.missing) if args.against else None


def _metric(text: str) -> Any:
    """A metric from `name` or `name:argument=value`."""
    from libra_monai import registry
    from libra_monai.errors import ConfigError

    name, *options = text.split(":")
    if not all("=" in option for option in options):
        raise ConfigError(f"--metrics {text}", "Write name, or name:argument=value.")
    return registry.build("metric", name, **dict(option.split("=", 1) for option in options))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _tell(args: argparse.Namespace, coverage: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> None:
    from libra_monai.evaluation.files import notes

    width = max((len(name) for name in scores), default=0)
    for name, score in scores.items():
        if "skipped" in score:
            print(f"{name:<{width}}  skipped: {score['skipped']}")
        else:
            print(f"{name:<{width}}  {score['value']:.3f}  [{score['low']:.3f}, {score['high']:.3f}]  n {score['n']}")
    for note in notes(coverage):
        print(f"Note: {note}")
    print(f"Written: {Path(args.out) / 'evaluation.html'} and the numbers beside it.")
