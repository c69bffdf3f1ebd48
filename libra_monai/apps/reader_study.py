# SPDX-License-Identifier: Apache-2.0
"""Make a blinded reader study of two systems' drafts, and tell its results.

`make` pairs two files of drafts by study; readers then answer in the browser, on a server started by `libra-monai label`.
`results` shows preferences, errors and kappa, and writes answers.csv and agreement.csv beside the answers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai reader-study`."""
    commands = parser.add_subparsers(dest="action", required=True)
    make = commands.add_parser("make", help="pair two files of drafts")
    make.add_argument("--first", required=True, metavar="FILE", help="predictions.jsonl of one system")
    make.add_argument("--second", required=True, metavar="FILE", help="predictions.jsonl of the other")
    make.add_argument("--names", nargs=2, metavar="NAME", help="names of the systems (the models named in the files)")
    make.add_argument("--cases", type=int, metavar="N", help="draw this many of the studies both have (all)")
    make.add_argument("--seed", type=int, default=0, help="of the drawing and of each reader's order (0)")
    make.add_argument("--out", required=True, metavar="DIR", help="folder of the study: <studies>/.libra/reader_studies/NAME")
    told = commands.add_parser("results", help="preferences, errors, agreement")
    told.add_argument("folder", metavar="DIR", help="folder of the study")


def run(args: argparse.Namespace) -> int:
    """Make a study, or tell its results."""
    return _make(args) if args.action == "make" else _results(args)


def _make(args: argparse.Namespace) -> int:
    from libra_monai.apps.monailabel.readers.reader_study import CASES, HEADER, check_name
    from libra_monai.errors import ConfigError
    from libra_monai.files import write_json, write_jsonl

    folder = Path(args.out)
    check_name(folder.name, "study")
    if (folder / CASES).exists():
        raise ConfigError(f"{folder} has a reader study already", "Choose another --out.")
    first, second = (_drafts(path) for path in (args.first, args.second))
    shared = [study for study in first if study in second]
    if not shared:
        raise ConfigError(f"{args.first} and {args.second} have no study in common", "Draft the same studies with both.")
    if args.cases is not None and not 0 < args.cases <= len(shared):
        raise ConfigError(f"--cases {args.cases} of {len(shared)} studies that both have", "Ask for fewer.")
    drawn = shared if args.cases is None else sorted(random.Random(args.seed).sample(shared, args.cases), key=shared.index)
    names = args.names or _models(first[shared[0]], second[shared[0]])
    write_json(folder / HEADER, {"seed": args.seed, "systems": list(names)})
    write_jsonl(folder / CASES, [_case(study, names, first[study], second[study]) for study in drawn])
    only = len(first) + len(second) - 2 * len(shared)
    print(f"{len(drawn)} cases in {folder}" + (f"; {only} studies that only one file has are left out" if only else ""))
    return 0


def _drafts(path: str) -> dict[str, dict[str, Any]]:
    from libra_monai.errors import ConfigError

    remedy = "Give a predictions.jsonl as `evaluate` or `inference` write it."
    try:
        lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", remedy) from error
    if not lines or not all(isinstance(line, dict) and line.get("study_id") for line in lines):
        raise ConfigError(f"{path} has lines without study_id", remedy)
    return {str(line["study_id"]): line for line in lines}


def _models(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    from libra_monai.errors import ConfigError

    names = [str(draft.get("model") or "") for draft in (one, other)]
    if not all(names) or names[0] == names[1]:
        raise ConfigError(f"both files name the model '{names[0]}'", "Tell the systems apart with --names ONE OTHER.")
    return names


def _case(study: str, names: list[str], one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A case: two drafts with what heads them, and the prior that one of them used."""
    from libra_monai.outputs.names import file_name  # ids of the label app

    drafts = []
    for name, draft in zip(names, (one, other), strict=True):
        texts = {key: draft.get(key) for key in ("findings", "impression")}
        if not any(texts.values()):
            texts["findings"] = draft.get("prediction") or ""
        drafts.append({"system": name, **texts, "marks": draft.get("marks") or []})
    prior = one.get("prior_study_id") or other.get("prior_study_id")
    prior = file_name(str(prior)) if prior else None
    return {"case": study, "image": file_name(study), "prior": prior, "drafts": drafts}


def _results(args: argparse.Namespace) -> int:
    from libra_monai.apps.monailabel.readers.reader_results import agreement_csv, answers_csv, results
    from libra_monai.apps.monailabel.readers.reader_study import ReaderStudy
    from libra_monai.files import write_text

    study = ReaderStudy(args.folder)
    told = results(study)
    print(f"{told['study']}: {told['cases']} cases, {told['answers']} answers")
    for one in told["readers"]:
        print(f"  {one['reader']}: {one['answered']} answered, {one['seconds_median']} s each (median)")
    print("preferred: " + ", ".join(f"{name} {count}" for name, count in told["preferred"].items()))
    for system, errors in told["errors"].items():
        print(f"errors of {system}: " + (", ".join(f"{name} {count}" for name, count in errors.items() if count) or "none"))
    for row in told["agreement"]:
        if row["measure"] == "preference" and row["kappa"] is not None:
            print(f"{row['kind']} kappa of {row['readers']}: {row['kappa']:.3f} ({row['n']} cases, {row['observed']:.0%} alike)")
    for name, text in (("answers.csv", answers_csv(study)), ("agreement.csv", agreement_csv(study))):
        write_text(study.folder / name, text)
        print(study.folder / name)
    return 0
