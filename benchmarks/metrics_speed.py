# SPDX-License-Identifier: Apache-2.0
"""How long all metrics that need no weights take for 10,000 pairs of reports, on one core.

    python benchmarks/metrics_speed.py [pairs]

Texts are written by drawing sentences of many wordings and filling in sides, sizes, changes and findings, so that
nearly no report and few sentences come twice; a cache cannot hide the work. METEOR is left out (its package compares
every word with every word). The last line is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time

from libra_monai import registry
from libra_monai.metrics import score_reports

_FRAMES = (
    "There is a {size} {side} {finding}.", "The {side} {finding} has {turn} since the prior study, now {size}.",
    "{change} {size} {side} {finding}.", "No {finding} or {finding2} is seen on the {side}.",
    "{change} {finding} at the {side} base with adjacent {finding2}, which may represent {finding3}.",
    "In comparison with the study of 3 May, the {side} {finding} is {change}, measuring {mm} mm.",
    "The tip of the {side} internal jugular catheter projects {mm} mm above the carina.",
    "Heart size is {size}ly enlarged and the {finding} has {turn}.", "The previously seen {side} {finding} has resolved.",
    "{finding} cannot be excluded in the {side} {zone} zone, although {finding2} is more likely.",
    "Cardiomediastinal contours are within normal limits, {mm} mm of rotation to the {side}.",
    "Interval placement of a {side} chest tube; {size} residual {finding} in the {zone} {side} lung.",
)  # fmt: skip
_FILL = {
    "size": ["small", "moderate", "large", "mild", "trace", "severe"], "side": ["left", "right", "bilateral"],
    "turn": ["increased", "decreased", "improved", "worsened", "not changed"],
    "change": ["Unchanged", "New", "Stable", "Increased", "Decreased", "Persistent", "Improved"],
    "zone": ["upper", "mid", "lower", "apical", "basal"],
}  # fmt: skip
_FINDINGS = "pleural effusion,pneumothorax,consolidation,edema,atelectasis,opacity,nodule,pneumonia".split(",")


def write(rng: random.Random) -> str:
    """One invented report of 5 to 9 sentences."""
    sentences = []
    for _ in range(rng.randint(5, 9)):
        words = {name: rng.choice(options) for name, options in _FILL.items()}
        names = dict(zip(("finding", "finding2", "finding3"), rng.sample(_FINDINGS, 3), strict=True))
        sentences.append(rng.choice(_FRAMES).format(**words, **names, mm=rng.randint(1, 400)))
    return " ".join(sentences)


def main(pairs: int) -> None:
    """Time each metric and all."""
    rng = random.Random(0)
    references = [write(rng) for _ in range(pairs)]
    predictions = [text if rng.random() < 0.2 else write(rng) for text in references]
    studies = [{"study_id": str(i), "patient_id": str(i // 2), "prior": None} for i in range(pairs)]
    seconds = {}
    for name in registry.names("metric"):
        if name in ("meteor", "radgraph_f1") or not registry.find("metric", name).by_default:
            continue
        start = time.perf_counter()
        score_reports(predictions, references, [name], studies)
        seconds[name] = round(time.perf_counter() - start, 2)
        print(f"{name:20} {seconds[name]:6.2f} s", flush=True)
    words = sum(len(text.split()) for text in references) / pairs
    print(json.dumps({"pairs": pairs, "words": round(words, 1), "seconds": round(sum(seconds.values()), 1), "each": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
