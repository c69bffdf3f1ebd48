# SPDX-License-Identifier: Apache-2.0
"""Run a bundle workflow: `libra-monai run train stage/align data/phantom --max_epochs 3`.

The first name is a workflow of the bundle (train, evaluate, inference), the others are overlays of `configs/`
or JSON files. `--id value` overrides an id, `--id#sub value` a part of one. Unknown ids are refused, and the
equivalent `python -m monai.bundle run` command is printed.
"""

from __future__ import annotations

import argparse

TAKES_OVERRIDES = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai run`."""
    parser.add_argument("workflow", help="train, evaluate, inference, or a JSON file")
    parser.add_argument("overlays", nargs="*", help="such as stage/align, data/phantom, or JSON files")


def run(args: argparse.Namespace) -> int:
    """Build the workflow, say what is run, and run it."""
    from libra_monai.apps.workflow import LibraWorkflow, parse_overrides

    names, overrides = parse_overrides(args.rest)
    workflow = LibraWorkflow(args.workflow, [*args.overlays, *names], overrides)
    print(workflow.equivalent_command(), flush=True)
    workflow.run_all()
    return 0
