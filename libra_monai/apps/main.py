# SPDX-License-Identifier: Apache-2.0
"""The command `libra-monai`: finds the subcommand, and turns errors into one line and an exit status.

Exit status: 0 done, 1 some studies failed, 2 the command could not do its work, 130 interrupted.
Only the standard library is imported before the subcommand is known, so that `install` runs
before anything is installed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from libra_monai import __version__
from libra_monai.errors import Interrupted, LibraError, StudiesFailed, StudyError, did_you_mean, innermost

COMMANDS = {
    "report": "draft reports from picture files or DICOM folders",
    "listen": "take studies over the network (DICOM), send drafts back as SR",
    "label": "read and correct drafts in a browser (MONAI Label)",
    "run": "run a bundle workflow with overlays and overrides",
    "show-config": "show what a workflow with overlays consists of, and which file says so",
    "phantom": "draw synthetic chest X-ray studies with reports",
    "prepare": "turn a corpus or a folder of DICOM files into a datalist",
    "evaluate": "score drafted reports; control suite: does a model look at the picture, at the prior",
    "reader-study": "make a blinded comparison of two systems' drafts, and tell its results",
    "demo": "drafts, training, evaluation and a report page, in ten minutes",
    "tiny-model": "rebuild the shipped small weights from nothing",
    "import-weights": "make a model folder from a published checkpoint",
    "export-weights": "write a model folder in the original's or another layout",
    "verify-parity": "compare with numbers that the original produced",
    "verify-published": "compare published weights with the published texts and figures",
    "zoo": "build the bundle as the MONAI Model Zoo takes it, and check the archive",
    "doctor": "check versions, codecs, folders and weights",
    "install": "make a virtual environment and install into it",
    "test": "run the tests of a clone",
    "bench": "run the speed benchmarks of a clone and write docs/benchmarks.md",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    Args:
        argv: words after `libra-monai`; default those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"libra-monai {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"libra-monai: error: unknown command '{words[0]}'. {did_you_mean(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return _guarded(words[0], words[1:], debug)


def _guarded(name: str, words: list[str], debug: bool) -> int:
    try:
        command = import_module(f"libra_monai.apps.{name.replace('-', '_')}")
        parser = argparse.ArgumentParser(
            prog=f"libra-monai {name}",
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="--debug shows the traceback of an error.",
        )
        command.arguments(parser)
        parsed, rest = parser.parse_known_args(words)
        if rest and not getattr(command, "TAKES_OVERRIDES", False):
            parser.error(f"unknown argument {rest[0]}")
        parsed.rest = rest
        _quiet_libraries()
        return int(command.run(parsed) or 0)
    except SystemExit as stop:
        return int(stop.code or 0) if not isinstance(stop.code, str) else 2
    except KeyboardInterrupt:
        print("libra-monai: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        ours = innermost(error)
        return _say(ours if ours is not None else error)


def _say(error: Exception) -> int:
    if isinstance(error, LibraError):
        print(f"libra-monai: error: {error}", file=sys.stderr)
        if isinstance(error, Interrupted):
            return 130
        return 1 if isinstance(error, (StudiesFailed, StudyError)) else 2
    first = (str(error).strip().splitlines() or ["no message"])[0]
    print(
        f"libra-monai: unexpected error {type(error).__name__}: {first}. Run again with --debug and report it.",
        file=sys.stderr,
    )
    return 2


def _quiet_libraries() -> None:
    """Progress bars and notices of libraries that say nothing to a user."""
    logging.getLogger("ignite").setLevel(logging.WARNING)
    logging.getLogger("monai.data.image_reader").setLevel(logging.ERROR)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"usage: libra-monai COMMAND ...\n\n{rows}\n\nlibra-monai COMMAND --help tells its options."
