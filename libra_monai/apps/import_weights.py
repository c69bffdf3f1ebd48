# SPDX-License-Identifier: Apache-2.0
"""`libra-monai import-weights SOURCE --out DIR`: a model folder from a published checkpoint.

Takes whole checkpoints, a projector with its base model, and LoRA with its base. What the folder is comes from
what it holds. The settings it was made with are chosen by a rule that is printed and can be overridden.
"""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai import-weights`."""
    parser.add_argument("source", metavar="SOURCE", help="published folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--base", metavar="DIR", help="base model, for a projector or LoRA")
    parser.add_argument("--encoder", metavar="DIR", help="encoder folder or hub name (what config.json names)")
    parser.add_argument("--template", metavar="NAME", help="conversation template instead of the rule's")
    parser.add_argument("--prompt", metavar="NAME", help="task, such as impression")
    parser.add_argument("--fill", type=int, metavar="GREY", help="grey level of the padding, 0 or 135")
    parser.add_argument("--aspect", choices=("pad", "crop"), help="pad to a square, or crop the middle")
    parser.add_argument("--num-bos", type=int, metavar="N", help="beginning-of-sequence tokens of a prompt")


def run(args: argparse.Namespace) -> int:
    """Import, and print what was found and chosen."""
    from libra_monai.checkpoints.published.importing import import_weights

    settings = {name: getattr(args, name) for name in ("template", "prompt", "fill", "aspect", "num_bos")}
    done = import_weights(args.source, args.out, args.base, args.encoder, settings)
    print(f"{args.source}: {done.kind}")
    print(f"rule: {done.rule}")
    for name, value in done.settings.items():
        print(f"  {name} {value}{'  (given)' if settings.get(name) is not None else ''}")
    for part, count in done.counts.items():
        print(f"{part}: {count} tensors, all of them found and used")
    print(f"{done.folder}: ready, try `libra-monai report --model {done.folder} --current FILE --out DIR`")
    return 0
