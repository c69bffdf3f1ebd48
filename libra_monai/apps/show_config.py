# SPDX-License-Identifier: Apache-2.0
"""Show every id of a workflow with overlays and overrides, its value, and which file set it."""

from __future__ import annotations

import argparse
import json
import shutil

TAKES_OVERRIDES = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai show-config`."""
    parser.add_argument("workflow", help="train, evaluate, inference, or a JSON file")
    parser.add_argument("overlays", nargs="*", help="such as stage/align, or JSON files")
    parser.add_argument("--json", action="store_true", help="print the merged configuration as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the merged configuration."""
    from libra_monai.apps.workflow import LibraWorkflow, parse_overrides, read_layer

    names, overrides = parse_overrides(args.rest)
    workflow = LibraWorkflow(args.workflow, [*args.overlays, *names], overrides)
    merged = {key: value for key, value in workflow.parser.get().items() if key != "_meta_"}
    if args.json:
        print(json.dumps(merged, indent=2))
        return 0
    labels = [args.workflow, *args.overlays, *names]
    origin: dict[str, str] = {}
    for label, path in zip(labels, workflow.files, strict=True):
        origin |= {key.lstrip("+"): label for key in read_layer(path)}
    origin |= {key.partition("#")[0]: "command line" for key in overrides}
    width, room = max(map(len, merged)), max(60, shutil.get_terminal_size().columns) - 46
    for key, value in merged.items():
        text = json.dumps(value)
        shown = text if len(text) <= room else text[: room - 3] + "..."
        print(f"{key:<{width}}  {origin.get(key, args.workflow):<24}  {shown}")
    print(f"\n{workflow.equivalent_command()}")
    return 0
