# SPDX-License-Identifier: Apache-2.0
"""The whole way in ten minutes, on two cores and without a download.

Drafts two sample studies with the shipped weights as text, HTML, PDF, DICOM SR and FHIR, draws phantom studies,
trains stage 1 and stage 2 briefly from the shipped weights, evaluates on unseen patients, runs the control suite on
them, and writes pages with pictures, drafts, scores and controls.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

SAMPLE_SEED, STUDY_SEED = 11, 23  # neither is a seed the shipped weights were trained on


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai demo`."""
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder to write to (runs/demo)")
    parser.add_argument("--patients", type=int, default=80, metavar="N", help="phantom patients to train on (80)")


def run(args: argparse.Namespace) -> int:
    """Run the steps and say where to look."""
    started, out = time.monotonic(), Path(args.out)
    _draft_samples(out)
    _title(f"2  {args.patients} phantom patients")
    datalist = _draw(out, args.patients)
    print(f"{datalist} ({_elapsed(started)})")
    _title("3  Training, briefly, from the shipped weights")
    last = _train(out, datalist, started)
    _title("4  Evaluation on patients no training has seen")
    _run("evaluate", [], out, datalist, {"output_dir": str(out), "ckpt": last, "split": "test"})
    _title("5  Does it look at the picture? At the prior?")
    _controls(last, datalist, out / "controls")
    _show_controls(out)
    _summary(out, started)
    return 0


def _draft_samples(out: Path) -> None:
    from libra_monai import paths
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.data import load_records
    from libra_monai.data.phantom.generate import generate
    from libra_monai.outputs import write_draft

    _title("1  Drafts for two sample DICOM studies, by the shipped weights")
    folder = out / "samples"
    datalist = generate(folder, 2, SAMPLE_SEED, {"test": 1.0})
    records = load_records(datalist, "test")
    chosen = [next(r for r in records if r["prior"]), next(r for r in records if not r["prior"])]
    loaded = load_pretrained(paths.tiny_model())
    formats = _formats()
    for record in chosen:
        draft = loaded.report_record(record, folder)
        write_draft(draft, out / "drafts", formats)
        print(f"\n{draft.marks[0]}\n{record['study_id']}, {'with' if draft.prior_used else 'without'} a prior")
        print(f"  draft:     {draft.text}\n  reference: {record['findings']}", flush=True)
    print(f"\nBoth drafts as {', '.join(formats)}: {out / 'drafts'}", flush=True)


def _formats() -> list[str]:
    """Formats whose packages are here; what is missing is said with its remedy."""
    from libra_monai.errors import ConfigError
    from libra_monai.outputs import check_formats

    found = []
    for name in ("text", "html", "pdf", "sr", "basic_sr", "fhir"):
        try:
            check_formats([name])
            found.append(name)
        except ConfigError as error:
            print(f"without {name}: {error}")
    return found


def _draw(out: Path, patients: int) -> str:
    from libra_monai.data.phantom.generate import generate

    splits = {"training": 0.7, "validation": 0.1, "test": 0.2}
    return str(generate(out / "phantom", patients, STUDY_SEED, splits))


def _train(out: Path, datalist: str, started: float) -> str:
    stages = {
        "align": {"max_epochs": 2, "learning_rate": 1e-4},
        "finetune_lora": {"max_epochs": 2, "learning_rate": 2e-4},
    }
    weights = None
    for stage, options in stages.items():
        folder = out / stage
        given = {"output_dir": str(folder), "val_limit": 16, **options} | ({"ckpt": weights} if weights else {})
        _run("train", [f"stage/{stage}"], out, datalist, given)
        weights = str(folder / "last")
        print(f"stage/{stage} done: {weights} ({_elapsed(started)})", flush=True)
    return str(weights)


def _run(workflow: str, overlays: list[str], out: Path, datalist: str, options: dict) -> None:
    from libra_monai.apps.workflow import LibraWorkflow

    data = {"datalist": datalist, "data_root": str(Path(datalist).parent)}
    built = LibraWorkflow(workflow, overlays, data | options)
    print(built.equivalent_command(), flush=True)
    built.run_all()


def _controls(model: str, datalist: str, out: Path) -> None:
    """The control suite on the unseen patients, by the command of its own."""
    from libra_monai.apps.main import main
    from libra_monai.errors import ConfigError

    words = ["evaluate", "--model", model, "--datalist", datalist, "--controls", "--out", str(out)]
    print("libra-monai " + " ".join(words), flush=True)
    if main(words) == 2:
        raise ConfigError("the control suite failed", "See above.")


def _show_controls(out: Path) -> None:
    """The control table also stands in the page of drafts."""
    from libra_monai.outputs.evaluation import add_controls

    table = json.loads((out / "controls" / "controls.json").read_text(encoding="utf-8"))
    add_controls(out / "report.html", table)


def _summary(out: Path, started: float) -> None:
    scores = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    _title(f"Done in {_elapsed(started)}. All of it is synthetic, not for clinical use.")
    for name, score in scores.items():
        if "skipped" in score:
            print(f"  {name:<24} skipped: {score['skipped']}")
            continue
        print(f"  {name:<24} {score['value']:.3f}  [{score['low']:.3f}, {score['high']:.3f}]  n {score['n']}")
    print(f"\nLook at {out / 'report.html'} in a browser: scores with intervals, controls, pictures, drafts, references.")
    print(f"Controls, strata and worst cases: {out / 'controls' / 'evaluation.html'}")
    print(f"Sample drafts as DICOM SR, FHIR and more: {out / 'drafts'}")
    print(f"Drafts: {out / 'predictions.jsonl'}   scores: {out / 'metrics.json'}")
    print(f"Curves: tensorboard --logdir {out}")


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _elapsed(started: float) -> str:
    seconds = time.monotonic() - started
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
