# SPDX-License-Identifier: Apache-2.0
"""`libra-monai export-weights MODEL --out DIR --layout NAME`: a model folder in another layout.

`original` as X-iZhang/Libra loads it, `transformers` the language model alone, `projector` the connector alone,
`peft` a LoRA adapter against --base. `full` is our own layout: it makes a folder whole that holds only what was trained.
"""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai export-weights`."""
    parser.add_argument("model", metavar="MODEL", help="model folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--layout", default="original", metavar="NAME", help="original, transformers, projector, peft or full")
    parser.add_argument("--base", metavar="DIR", help="base language model, for peft; base of the model, for full (where the folder says)")


def run(args: argparse.Namespace) -> int:
    """Export, and print where to."""
    from libra_monai.checkpoints.published.exporting import export_weights

    out = export_weights(args.model, args.out, args.layout, args.base)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{out}: {args.layout}, {size / 1e6:.1f} MB")
    return 0
