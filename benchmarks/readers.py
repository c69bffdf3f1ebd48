# SPDX-License-Identifier: Apache-2.0
"""What the readers of a pretraining stage say, finding by finding: severity of what is there, and what became of it.

`STAGE` is what `stage/pretrain_encoder` or `stage/pretrain_connector` leaves, such as `runs/tiny_model/pretrain_encoder/last` of `make tiny-model`;
`DATA` the phantom folder beside it. Studies of validation and test that have a prior. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch

from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.data.dataset import StudyDataset
from libra_monai.networks.pretraining.finding_classifier import CHANGES, LEVELS

READERS = {"of_places": 0, "by_attention": 1}
ASKED = ("worsened", "improved", "stable")


@torch.no_grad()
def read(stage: str, data: Path, splits: list[str], limit: int, batch: int = 40) -> dict[str, dict[str, float]]:
    """For each reader: finding, or finding and change -> share that is read right."""
    loaded = load_pretrained(stage)
    classifier, right, all_of = loaded.model.language, Counter(), Counter()
    records = [record for split in splits for record in load_records(data / "datalist.json", split) if record["prior"]][:limit]
    studies = StudyDataset(records, loaded.processor.pictures(str(data)))
    for start in range(0, len(records), batch):
        part = loaded.processor.collate([studies[number] for number in range(start, min(start + batch, len(records)))])
        said, wanted = classifier.read(loaded.model.slots(part)), torch.tensor([classifier.wanted(record) for record in part.records])
        for reader, place in READERS.items():
            levels, *changes = (logits.argmax(dim=-1) for logits in said[place].split(classifier.sizes, dim=-1))
            for number, (finding, _) in enumerate(classifier.classes):
                level, change, *_ = (*wanted[:, number].unbind(dim=-1), None)
                groups = [(finding, levels, level, level > 0)]
                groups += [(f"{finding}, {word}", changes[0], change, change == CHANGES.index(word)) for word in ASKED if changes]
                for name, found, truth, there in groups:
                    right[reader, name] += int((found[there, number] == truth[there]).sum())
                    all_of[reader, name] += int(there.sum())
    return {reader: {name: round(right[reader, name] / n, 2) for (one, name), n in all_of.items() if one == reader and n} for reader in READERS}


def main() -> None:
    """The table of one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", metavar="STAGE")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--splits", default="validation,test", help="by comma (validation,test)")
    parser.add_argument("--limit", type=int, default=400, help="studies (400)")
    args = parser.parse_args()
    found = read(args.stage, args.data, args.splits.split(","), args.limit)
    print(json.dumps({"benchmark": "readers", "stage": args.stage, "levels": [level for level in LEVELS if level], **found}))


if __name__ == "__main__":
    main()
