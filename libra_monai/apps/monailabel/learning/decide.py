# SPDX-License-Identifier: Apache-2.0
"""`libra-monai label approve`, `rollback`, `abandon` and `status`: what a person decides on trained weights, on the command line.

A running server follows within a second or two, between two drafts.
"""

from __future__ import annotations

import argparse
import getpass
from typing import Any

from libra_monai.apps.monailabel.server.places import home_of
from libra_monai.errors import ConfigError

WORDS = ("approve", "rollback", "abandon", "status")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the words; `--studies` is the server's own option and is added by whoever calls this.

    Args:
        parser: of `libra-monai label`.
    """
    parser.add_argument("--candidate", metavar="NAME", help="of approve: which training (the newest candidate)")
    parser.add_argument("--tolerance", type=float, metavar="D", help="of approve: how far a score may fall, in 0..1 (0.02)")
    parser.add_argument("--share-tolerance", type=float, metavar="D", help="of approve: how far a share of the control table may (0.10)")
    parser.add_argument("--judge-on", default="auto", metavar="DEVICE", help="of approve: auto, cpu, or a torch device (auto)")
    parser.add_argument("--by", metavar="NAME", help="of approve and rollback: who decides, for the history (the login name)")


def run(word: str, args: argparse.Namespace) -> int:
    """Do one of the words.

    Args:
        word: `approve`, `rollback`, `abandon` or `status`.
        args: with `studies` and what `arguments` added.

    Raises:
        ModelError: the candidate is refused, or former weights are gone.
        ConfigError: there is nothing to approve or to take back.
    """
    from libra_monai.apps.monailabel.learning import approval

    home = home_of(args.studies)
    if not home.is_dir():
        raise ConfigError(f"no label server has kept anything for --studies {args.studies}", "Give the folder or address the server was started with.")
    if word == "status":
        _show(approval.status(home))
        return 0
    if word == "abandon":
        print(f"training {approval.abandon(home)} is given up")
        return 0
    if word == "rollback":
        decision = approval.rollback(home, args.by or _login())
        print(f"serving {decision['name']} again, instead of {decision['before']}")
        return 0
    decision = approval.approve(home, args.candidate, _tolerance(args), _device(args.judge_on), args.by or _login())
    for check in decision["checks"]:
        print(f"  {check['name']}: {check['served']:.3f} -> {check['candidate']:.3f} (may be {check['tolerance']:.3f} worse)")
    if decision["silent"]:
        print(f"  the frozen set says nothing of: {', '.join(decision['silent'])}")
    print(f"serving {decision['name']} instead of {decision['before']}, judged on {decision['studies']} frozen studies")
    return 0


def _tolerance(args: argparse.Namespace) -> Any:
    from libra_monai.apps.monailabel.learning.comparing import Tolerance

    plain = Tolerance()
    for name, value in (("--tolerance", args.tolerance), ("--share-tolerance", args.share_tolerance)):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}", "Give a number from 0 to 1.")
    scores = plain.scores if args.tolerance is None else dict.fromkeys(plain.scores, args.tolerance)
    return Tolerance(scores, plain.shares if args.share_tolerance is None else args.share_tolerance)


def _device(name: str) -> str:
    from libra_monai.engines import pick_device

    return str(pick_device(name))


def _show(status: dict[str, Any]) -> None:
    print(f"served: {status['served'] or 'the weights the server was started with'}")
    if status["before"]:
        print(f"before: {', '.join(status['before'])}")
    frozen = status["frozen"]
    print(f"frozen set: {frozen['studies']} studies of {frozen['patients']} patients" if frozen["studies"] else "frozen set: not chosen yet")
    for run in status["trainings"]:
        print(f"training {run['name']}: {_progress(run)}, {run['corrections']} corrections{', served' if run['served'] else ''}")
    for event in status["history"]:
        reasons = f": {'; '.join(event['reasons'])}" if event["reasons"] else ""
        print(f"{event['time']} {event['by'] or 'somebody'}: {event['name']} {event['what']}{reasons}")


def _progress(run: dict[str, Any]) -> str:
    if run["state"] == "finished":
        return "candidate, no worse than what was served" if run.get("passed") else "candidate, worse than what was served"
    if "error" in run:
        return f"failed: {run['error']}"
    return f"{run['state']}, step {run['step']} of {run['steps']}" if "step" in run else run["state"]


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
