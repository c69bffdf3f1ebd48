# SPDX-License-Identifier: Apache-2.0
"""Draft the report of one study from DICOM, PNG or JPEG files.

The draft is automatically generated and not reviewed, and says so in its first line.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai report`."""
    parser.add_argument("--current", required=True, metavar="FILE", help="frontal picture to report on")
    parser.add_argument("--prior", metavar="FILE", help="frontal picture of the study before")
    parser.add_argument("--lateral", metavar="FILE", help="lateral picture")
    for name in ("indication", "history", "technique", "comparison"):
        parser.add_argument(f"--{name}", metavar="TEXT", help=f"{name} of the request")
    parser.add_argument("--model", metavar="DIR", help="model folder (the shipped small model)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--format", default="text,json,html", help="text, json, html (all three)")
    parser.add_argument("--device", default="auto", help="auto, cpu, or a torch device")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16 (published sizes want 16 bits)")


def run(args: argparse.Namespace) -> int:
    """Draft, write, and print the text."""
    from libra_monai import paths
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.engines import pick_device, pick_dtype
    from libra_monai.files import check_writable
    from libra_monai.handlers import FailureLog
    from libra_monai.outputs import write_draft
    from libra_monai.outputs.html import write_study_page

    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    _check_formats(formats)
    check_writable(args.out, "--out")
    log = FailureLog(args.out)
    dtype = pick_dtype(args.dtype)
    loaded = load_pretrained(args.model or paths.tiny_model(), device=pick_device(args.device), dtype=dtype)
    sections = {name: getattr(args, name) for name in ("indication", "history", "technique", "comparison")}
    draft = _draft(loaded, args, sections, log)
    written = write_draft(draft, args.out, [name for name in formats if name != "html"])
    if "html" in formats:
        files = {"current": args.current, "prior": args.prior}
        written.append(write_study_page(Path(args.out) / "report.html", draft, files))
    print("\n".join([*draft.marks, "", draft.text, *(f"Note: {note}" for note in draft.warnings), ""]))
    print("Written: " + ", ".join(str(path) for path in written))
    return 0


def _draft(loaded, args: argparse.Namespace, sections: dict, log):  # noqa: ANN001, ANN202 - types of heavy rooms
    from libra_monai.errors import StudyError
    from libra_monai.types import Failure

    try:
        return loaded.report(args.current, args.prior, args.lateral, **sections)
    except StudyError as error:
        log.add([Failure(Path(args.current).stem, error.file, error.stage, error.reason, error.remedy)], logged=False)
        raise


def _check_formats(formats: list[str]) -> None:
    from libra_monai import registry
    from libra_monai.errors import ConfigError, did_you_mean

    known = [*registry.names("writer"), "html"]
    for name in formats or [""]:
        if name not in known:
            raise ConfigError(f"--format '{name}' does not exist", did_you_mean(name, known))
