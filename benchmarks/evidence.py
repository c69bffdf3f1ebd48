# SPDX-License-Identifier: Apache-2.0
"""Does the evidence of a sentence tell right from wrong? On phantom patients of two seeds the model has never seen.

    python benchmarks/evidence.py --seed 4711 [--fit-seed 4712] [--patients 60] [--model DIR] [--plot FILE] [--save]

Sentences are judged by what was drawn (`libra_monai.evaluation.sentences`). The score is fitted on the studies of one
seed and measured on those of the other, never on the same. Prints AUROC of every single number and of the score, the
same within sentences of change and within the others, and a table of reliability; `--save` writes the fitted
coefficients into the model's card. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from libra_monai import paths
from libra_monai.checkpoints import LoadedModel, load_pretrained
from libra_monai.checkpoints.card import MODEL_FILE
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.calibrating import features, fit_calibration
from libra_monai.evaluation.drafting import Drafter
from libra_monai.evaluation.sentences import Bin, auroc, is_right, reliability
from libra_monai.files import write_json
from libra_monai.inferers.calibration import KEY, Calibration, model_of
from libra_monai.metrics.labelers.changes import change_claims
from libra_monai.types import SentenceEvidence

RESAMPLES = 1000


@dataclass(frozen=True)
class Judged:
    """One sentence of a draft.

    Args:
        patient: whose.
        evidence: what the model says of it.
        right: what was drawn says of it.
        change: whether it states a change.
    """

    patient: str
    evidence: SentenceEvidence
    right: bool
    change: bool


def judged(loaded: LoadedModel, work: Path, seed: int, patients: int) -> tuple[list[Judged], int]:
    """Sentences that are right or wrong in drafts of the phantom patients of a seed, and the number of studies."""
    root = work / f"seed{seed}"
    records = load_records(generate(root, patients, seed, {"test": 1.0}), "test")
    drafter = Drafter(loaded, str(root), evidence=True)
    drafts = drafter.drafts(records)
    assert not drafter.failures, drafter.failures
    found = []
    for record in records:
        for sentence in drafts[record["study_id"]].evidence or []:
            right = is_right(sentence.text, record["statements"], bool(record["prior"]))
            if right is not None:
                found.append(Judged(record["patient_id"], sentence, right, bool(change_claims(sentence.text))))
    return found, len(records)


def single_numbers(fitted: Calibration) -> dict[str, Callable[[SentenceEvidence], float]]:
    """What is compared: the single numbers, two that need no model (length, kind), and the score."""
    return {
        "mean log-probability": lambda e: e.mean_log_prob,
        "lowest log-probability": lambda e: e.min_log_prob,
        "sum of log-probabilities": lambda e: e.mean_log_prob * e.tokens,
        "contrast without the pictures": lambda e: e.image_contrast or 0.0,
        "contrast without the prior": lambda e: e.prior_contrast or 0.0,
        "number of tokens, fewer first": lambda e: -float(e.tokens),
        "states no change": lambda e: -float(bool(change_claims(e.text))),
        "score": lambda e: fitted.score(*features(e)),
    }


def interval(sentences: Sequence[Judged], scores: Sequence[float], seed: int = 0) -> list[float]:
    """95 % interval of AUROC; patients are resampled."""
    names = sorted({s.patient for s in sentences})
    of = {name: [i for i, s in enumerate(sentences) if s.patient == name] for name in names}
    random, values = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        chosen = [i for name in random.choice(names, len(names)) for i in of[name]]
        value = auroc([scores[i] for i in chosen], [sentences[i].right for i in chosen])
        values += [] if value is None else [value]
    return [round(float(v), 3) for v in np.quantile(values, [0.025, 0.975])]


def compared(sentences: Sequence[Judged], fitted: Calibration) -> dict[str, dict[str, float | None]]:
    """Name -> AUROC over all sentences, over those that state a change, and over the others."""
    changes, others = [s for s in sentences if s.change], [s for s in sentences if not s.change]
    kinds = {"all": sentences, "change": changes, "other": others}
    rows: dict[str, dict[str, float | None]] = {}
    for name, number in single_numbers(fitted).items():
        rows[name] = {}
        for kind, some in kinds.items():
            value = auroc([number(s.evidence) for s in some], [s.right for s in some])
            rows[name][kind] = None if value is None else round(value, 3)
    return rows


def plot(rows: Sequence[Bin], file: str, title: str) -> None:
    """Write the calibration plot: share of right sentences by score, with 95 % intervals and counts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shape = {"figsize": (5, 5.6), "height_ratios": (4, 1), "layout": "constrained"}
    figure, (top, below) = pyplot.subplots(2, 1, sharex=True, **shape)
    spread = np.array([wilson(row) for row in rows]).T
    share = np.array([row.right for row in rows])
    top.plot([0, 1], [0, 1], color="#9fb0bf", linestyle="--", label="as promised")
    errors = np.abs(spread - share)
    scores, style = [row.score for row in rows], {"color": "#2f6f9f", "marker": "o", "capsize": 3}
    top.errorbar(scores, share, errors, **style, label="measured, 95 % interval")
    top.set(ylabel="share of right sentences", ylim=(0, 1.03), xlim=(0, 1), title=title)
    top.legend(loc="upper left")
    below.bar([(row.low + row.high) / 2 for row in rows], [row.n for row in rows], width=0.09, color="#2f6f9f")
    below.set(xlabel="score", ylabel="sentences", yscale="log")
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def wilson(row: Bin) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, n, p = 1.96, row.n, row.right
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def save(folder: str, fitted: Calibration) -> None:
    """Put coefficients into the card of a model folder."""
    path = Path(folder) / MODEL_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    content["card"][KEY] = fitted.as_json()
    write_json(path, content)


def show(rows: dict[str, dict[str, float | None]], bins: Sequence[Bin]) -> None:
    """Print the two tables in Markdown."""
    print("| AUROC | all sentences | of change | others |\n|---|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values.values()) + " |")
    print("\n| score | sentences | mean score | right |\n|---|---|---|---|")
    for row in bins:
        print(f"| {row.low:.1f} to {row.high:.1f} | {row.n} | {row.score:.2f} | {row.right:.2f} |")


def main() -> None:
    """Draw, draft, judge, fit on one seed, measure on the other, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="of the studies the score is measured on")
    parser.add_argument("--fit-seed", type=int, help="of the studies it is fitted on (seed + 1)")
    parser.add_argument("--patients", type=int, default=60, help="of each seed")
    parser.add_argument("--model")
    parser.add_argument("--work", help="folder that keeps the studies")
    parser.add_argument("--plot", help="file of the calibration plot (needs matplotlib)")
    parser.add_argument("--save", action="store_true", help="write the coefficients into the model's card")
    args = parser.parse_args()
    fit_seed = args.seed + 1 if args.fit_seed is None else args.fit_seed
    assert fit_seed != args.seed, "fit on one seed, measure on another"
    folder = str(args.model or paths.tiny_model())
    loaded = load_pretrained(folder)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(args.work or scratch)
        learned, n_fit = judged(loaded, work, fit_seed, args.patients)
        measured, n = judged(loaded, work, args.seed, args.patients)
    data = f"{n_fit} phantom studies of seed {fit_seed}"
    fitted = fit_calibration([s.evidence for s in learned], [s.right for s in learned], model_of(loaded.card), data)
    report(measured, fitted, args, n)
    if args.save:
        save(folder, fitted)


def report(measured: Sequence[Judged], fitted: Calibration, args: Any, studies: int) -> None:
    """Print what was measured; the last line is JSON."""
    right = [s.right for s in measured]
    scores = [fitted.score(*features(s.evidence)) for s in measured]
    bins, error = reliability(scores, right)
    rows = compared(measured, fitted)
    show(rows, bins)
    if args.plot:
        plot(bins, args.plot, f"Evidence of {len(measured)} sentences, {fitted.model}")
    line = {
        "benchmark": "evidence", "model": fitted.model, "seed": args.seed, "studies": studies,
        "sentences": len(measured), "wrong": right.count(False), "auroc": rows["score"]["all"], "interval": interval(measured, scores),
        "calibration_error": round(error, 3), "fitted": fitted.as_json(), "rows": rows,
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
