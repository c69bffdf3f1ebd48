# SPDX-License-Identifier: Apache-2.0
"""Draft reports of studies: of DICOM folders, or of single DICOM, PNG or JPEG files.

A folder may hold a study, a patient or many, in any layout: of each patient the newest study is drafted, compared with
the study before it. The draft is automatically generated and not reviewed, and says so in its first line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECTIONS = ("indication", "history", "technique", "comparison")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai report`."""
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="folders or files of DICOM; instead of --current")
    parser.add_argument("--current", metavar="FILE", help="frontal picture to report on")
    parser.add_argument("--prior", metavar="FILE", help="frontal picture of the study before")
    parser.add_argument("--lateral", metavar="FILE", help="lateral picture")
    for name in SECTIONS:
        parser.add_argument(f"--{name}", metavar="TEXT", help=f"{name} of the request")
    parser.add_argument("--prior-rule", default="default", metavar="NAME", help="default, libra-v1 or previous-study (default)")
    parser.add_argument("--max-gap", type=float, metavar="HOURS", help="priors further back are not used (no limit)")
    parser.add_argument("--unknown-views", action="store_true", help="pictures of unknown view may count as frontal")
    parser.add_argument("--explain", action="store_true", help="say how studies were chosen")
    parser.add_argument(
        "--policy", action="append", default=[], metavar="NAME=WORD",
        help="what the input gate does about a finding: refuse, warn or accept, such as missing_view=refuse; or a limit,"
        " such as min_age=16; burned_in=accept also shows pictures with writing in the page; repeatable",
    )  # fmt: skip
    parser.add_argument("--equalise", action="store_true", help="grey levels of DICOM files the way of MIMIC-CXR-JPG")
    parser.add_argument("--picture-cache", metavar="DIR", help="folder that keeps finished pictures for the next time")
    parser.add_argument("--model", metavar="DIR", help="model folder (the shipped small model)")
    parser.add_argument("--base", metavar="DIR", help="base of the model, for folders without it (where the folder says)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--format", default="text,json,html", metavar="NAMES",
        help="by comma: text, json, html, pdf, sr (DICOM Enhanced SR), basic_sr, fhir (text,json,html)",
    )  # fmt: skip
    parser.add_argument("--evidence", action="store_true", help="say how sure the model was of each sentence (docs/evidence.md)")
    parser.add_argument("--quantize", metavar="KIND", help="language model in fewer bits: int8 or nf4 (extra [quantize])")
    parser.add_argument("--interactive", action="store_true", help="then take questions about the study, answered word by word")
    parser.add_argument("--device", default="auto", help="auto, cpu, or a torch device")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16 (published sizes want 16 bits)")


def run(args: argparse.Namespace) -> int:
    """Draft, write, and print the texts."""
    from libra_monai import paths
    from libra_monai.apps.conversation import converse
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.engines import pick_device, pick_dtype
    from libra_monai.errors import ConfigError, StudiesFailed, StudyError
    from libra_monai.files import check_writable
    from libra_monai.handlers import FailureLog
    from libra_monai.types import Failure

    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    _check_formats(formats)
    _check_request(args)
    reading = _reading(args)
    check_writable(args.out, "--out")
    log = FailureLog(args.out)
    requests = list(_requests(args))
    if args.interactive and len(requests) > 1:
        raise ConfigError(f"--interactive was given for {len(requests)} studies", "Give the folder of one patient.")
    place, kind = pick_device(args.device), pick_dtype(args.dtype)
    loaded = load_pretrained(args.model or paths.tiny_model(), None, place, kind, reading, args.picture_cache, args.base, args.quantize)
    failed = []
    for study_id, record, notes in requests:
        try:
            if isinstance(record, StudyError):
                raise record
            _report(loaded, record, notes, formats, args.out, alone=len(requests) == 1, evidence=args.evidence)
        except StudyError as error:
            log.add([Failure(study_id, error.file, error.stage, error.reason, error.remedy)], logged=False)
            failed.append(error)
    if len(requests) == 1 and failed:
        raise failed[0]
    if failed:
        raise StudiesFailed(f"{len(failed)} of {len(requests)} studies failed", f"See {Path(args.out) / 'failed.jsonl'}.")
    if args.interactive:
        converse(loaded, requests[0][1])
    return 0


def _requests(args: argparse.Namespace) -> Iterator[tuple[str, Any, list[str]]]:
    """(identifier, record with absolute paths or the error, warnings) of each study to draft."""
    from libra_monai.data.request import file_record

    sections = {name: getattr(args, name) for name in SECTIONS if getattr(args, name)}
    if args.current:
        yield Path(args.current).stem, file_record(args.current, args.prior, args.lateral, sections), []
        return
    choices = _choices(args)
    if sections and len(choices) > 1:
        from libra_monai.errors import ConfigError

        raise ConfigError(f"--{next(iter(sections))} was given for {len(choices)} patients", "Give the folder of one patient.")
    for choice in choices:
        notes = [note for note in choice.warnings if not note.endswith("not used as prior")]  # the draft tells these itself
        yield choice.study.study_id, _record(choice, sections), notes


def _choices(args: argparse.Namespace) -> list[Any]:
    """The newest study of each patient below the given paths."""
    from datetime import datetime

    from libra_monai.data.chronology import PriorRule, explain
    from libra_monai.data.request import newest_choices
    from libra_monai.data.sources.study_folder import StudyFolder
    from libra_monai.errors import ConfigError

    source = StudyFolder()
    rule = PriorRule(args.prior_rule, args.max_gap, unknown_views=args.unknown_views, now=datetime.now())
    choices = newest_choices(source.gather(map(Path, args.studies)), rule)
    if not choices:
        reasons = ", ".join(f"{count} {note}" for note, count in source.notes.items() if count) or "no files"
        remedy = "Give DICOM files of chest radiographs, or a picture as --current."
        raise ConfigError(f"no chest radiograph in {', '.join(args.studies)} ({reasons})", remedy)
    if args.explain:
        print("\n".join(map(explain, choices)) + "\n")
    return choices


def _record(choice: Any, sections: dict[str, str]) -> Any:
    """The record of a choice, or the error if the newest study cannot be drafted."""
    from libra_monai.data.chronology import to_record
    from libra_monai.errors import StudyError

    if choice.current is None:
        views = ", ".join(sorted({image.view or "unknown" for image in choice.study.images}))
        place = choice.study.images[0].path if choice.study.images else choice.study.study_id
        remedy = "Give the frontal picture as --current, or --unknown-views."
        return StudyError(place, "record", f"the newest study has no usable frontal picture (views: {views})", remedy)
    return to_record(choice) | sections


def _report(
    loaded: Any, record: dict[str, Any], notes: list[str], formats: list[str], out: str, alone: bool, evidence: bool
) -> None:
    from libra_monai.outputs import write_formats

    draft = loaded.report_record(record, Path(record["current"]).anchor, evidence)
    draft.warnings += [note for note in notes if note not in draft.warnings]
    written, failed = write_formats(draft, out, formats)
    if alone:  # a single page has a name that needs no looking up
        written = [path.replace(Path(out) / "report.html") if path.suffix == ".html" else path for path in written]
    print("\n".join([*draft.marks, "", draft.text, *(f"Note: {note}" for note in draft.warnings), ""]))
    print("Written: " + (", ".join(str(path) for path in written) or "nothing"))
    if failed:
        raise failed[0]


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `LoadRadiograph` from the options; wrong ones end the command before a model is loaded."""
    from libra_monai.apps.workflow import parse_value
    from libra_monai.errors import ConfigError
    from libra_monai.transforms.reading import reader

    wrong = next((text for text in args.policy if "=" not in text), None)
    if wrong:
        raise ConfigError(f"--policy {wrong} has no value", "Write it as NAME=WORD, such as missing_view=refuse.")
    policy = {name: parse_value(value) for name, _, value in (text.partition("=") for text in args.policy)}
    reading = {"policy": policy, "equalise": args.equalise}
    reader(reading)
    return reading


def _check_request(args: argparse.Namespace) -> None:
    from libra_monai.errors import ConfigError

    if args.studies and (args.current or args.prior or args.lateral):
        raise ConfigError(f"{args.studies[0]} and --current, --prior or --lateral were given", "Give folders, or files by their options.")
    if not args.studies and not args.current:
        raise ConfigError("nothing to report on", "Give a folder of DICOM files, or --current FILE.")


def _check_formats(formats: list[str]) -> None:
    from libra_monai import registry
    from libra_monai.errors import ConfigError, did_you_mean
    from libra_monai.outputs import check_formats

    known = registry.names("writer")
    for name in formats or [""]:
        if name not in known:
            raise ConfigError(f"--format '{name}' does not exist", did_you_mean(name, known))
    check_formats(formats)
