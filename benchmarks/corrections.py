# SPDX-License-Identifier: Apache-2.0
"""What corrections teach: phantom patients whose readers word three common sentences in their own way.

Corrections of `--corrections` studies train the shipped small model as the label app does; the candidate is compared with what is served on
frozen studies of patients that no training saw. Prints one JSON line: scores before and after, and whether the candidate would be approved.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from libra_monai import paths
from libra_monai.apps.monailabel.learning import approval
from libra_monai.apps.monailabel.learning.frozen import FrozenRules, frozen_set
from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL, ReportStore
from libra_monai.apps.monailabel.learning.training import Learning, Options, train
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.drafting import Drafter
from libra_monai.types import Record

SEED, SPLITS = 11, {"training": 0.5, "validation": 0.25, "test": 0.25}
WORDS = {
    r"(The heart is normal in size|The cardiac silhouette is normal in size|Heart size is (normal|within normal limits))\.": "The heart is not enlarged.",
    r"(There is no pleural effusion|No pleural effusion( is seen)?)\.": "Pleural spaces are free of fluid.",
    r"(There is no pneumothorax|No pneumothorax( is seen)?)\.": "No free pleural air.",
}
SHOWN = ("finding_side_micro_f1", "change_micro_f1", "rouge_l_coco", "swapped: claims that turn")


class Site:
    """Studies of a datalist, with reports in the words of the site."""

    def __init__(self, root: Path) -> None:
        found = [record for split in SPLITS for record in load_records(root / "datalist.json", split)]
        self.root, self.records = str(root), {record["study_id"]: {**record, "findings": in_words(record["findings"])} for record in found}

    def ids(self) -> list[str]:
        """All studies."""
        return list(self.records)

    def record(self, image: str) -> Record:
        """One of them."""
        return dict(self.records[image])


def in_words(text: str) -> str:
    """A report as the readers of the site word it."""
    for pattern, words in WORDS.items():
        text = re.sub(pattern, words, text)
    return text


def correct(learning: Learning, count: int) -> None:
    """Draft and correct so many studies of patients that are not in the frozen set, which is chosen once a first study is corrected."""
    store, site = learning.reports, learning.studies
    first = next(iter(site.records.values()))
    store.save(first["study_id"], CORRECTED, {"findings": first["findings"], "impression": None, "draft": None, "seconds": 1})
    frozen = {study.patient for study in frozen_set(learning.home, site, store, "findings", learning.rules)}
    chosen = [record for record in site.records.values() if record["patient_id"] not in frozen][:count]
    drafts = Drafter(load_pretrained(paths.tiny_model()), site.root, shown=False).drafts(chosen)
    for record in chosen:
        image = record["study_id"]
        store.save(image, ORIGINAL, {**drafts[image].as_json(), "uid": f"draft of {image}"})
        store.save(image, CORRECTED, {"findings": record["findings"], "impression": None, "draft": f"draft of {image}", "seconds": 1})


def main() -> None:
    """One row of the table in docs/label-learning.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--corrections", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=Options.learning_rate)
    parser.add_argument("--epochs", type=int, default=Options.max_epochs)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root, home = Path(place) / "studies", Path(place) / "home"
        generate(root, args.patients, SEED, SPLITS, long_side=256)
        rules = FrozenRules(least=16, most=24)
        learning = Learning(home, Site(root), ReportStore(home / "reports"), Path(paths.tiny_model()), rules)
        correct(learning, args.corrections)
        began = time.perf_counter()
        state = train(learning, {"learning_rate": args.learning_rate, "max_epochs": args.epochs, "device": "cpu"}, lambda _: None)
        seconds = time.perf_counter() - began
        found = approval.compare(home, state["name"])
    result: dict[str, Any] = {"benchmark": "corrections", **vars(args), "seconds": round(seconds, 1), "approved": not found.reasons}
    result["served, candidate"] = {check.name: [round(check.served, 3), round(check.candidate, 3)] for check in found.checks if check.name in SHOWN}
    print(json.dumps({**result, "reasons": found.reasons}))


if __name__ == "__main__":
    main()
