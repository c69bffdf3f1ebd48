# SPDX-License-Identifier: Apache-2.0
"""The child process of a training: `python -m libra_monai.apps.monailabel.learning.training_child FOLDER`.

It trains, then compares the candidate with what is served, and says on standard output how far it is, a JSON object a
line. When its parent is gone (standard input is closed) it saves a checkpoint and ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from libra_monai.apps.monailabel.learning.runs import ABANDONED, COMPARING, FAILED, FINISHED, HALT, TRAINING, Run
from libra_monai.checkpoints.card import MODEL_FILE
from libra_monai.checkpoints.training import clear_checkpoints
from libra_monai.errors import ConfigError, LibraError, StudiesFailed, innermost
from libra_monai.files import hold

WAITING = "waiting for another training"
_EVERY = 1.0  # seconds between two words on progress


def overrides_of(run: Run) -> dict[str, Any]:
    """Ids of the bundle's training workflow for a training of corrections.

    Args:
        run: the training.
    """
    options = run.request["options"]
    ids = {
        "datalist": str(run.folder / "datalist.json"), "data_root": run.root, "output_dir": str(run.folder),
        "device": options["device"], "seed": options["seed"], "max_epochs": options["max_epochs"], "batch_size": options["batch_size"],
        "learning_rate": options["learning_rate"], "save_interval": {"steps": options["save_steps"]},
        "lora": {"r": options["rank"], "lora_alpha": 2 * options["rank"], "lora_dropout": 0.0}, "train_prompts": run.request["prompts"],
        "val_interval": None, "best_by": None, "split": "training", "val_limit": 1,  # the frozen set judges, and nothing is chosen by it
    }  # fmt: skip
    return ids if run.request.get("reading") is None else {**ids, "reading": run.request["reading"]}


class Teller:
    """Handler that notes how far a training is, at most once a second.

    Args:
        run: the training.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.said = run, 0.0

    def tell(self, state: str, **more: Any) -> None:
        """Note a state and say it to the parent.

        Args:
            state: see `runs`.
            more: numbers of it.
        """
        self.run.note(state, **more)
        print(json.dumps({"state": state, **more}), flush=True)

    def __call__(self, engine: Any) -> None:
        """Behind a step."""
        state, now = engine.state, time.monotonic()
        total = state.epoch_length * state.max_epochs
        if now - self.said < _EVERY and state.iteration < total:
            return
        self.said = now
        loss = state.output.get("loss") if isinstance(state.output, Mapping) else None
        told = {"step": state.iteration, "steps": total, "epoch": state.epoch, "epochs": state.max_epochs}
        self.tell(TRAINING, **told, loss=None if loss is None else round(float(loss), 5))


def train_run(run: Run, teller: Teller) -> None:
    """Train until the candidate stands in its folder, or until SIGTERM.

    Args:
        run: the training.
        teller: says how far it is.
    """
    from ignite.engine import Events

    from libra_monai.apps.workflow import LibraWorkflow

    workflow = LibraWorkflow("train", ["stage/finetune_lora", str(run.folder / "model.json")], overrides_of(run))
    workflow.initialize()
    workflow.parser.get_parsed_content("train#trainer").add_event_handler(Events.ITERATION_COMPLETED, teller)
    try:
        workflow.run()
        workflow.finalize()
    except Exception as error:
        if not isinstance(innermost(error), StudiesFailed):  # single studies may fail: they stand in failed.jsonl
            raise


def compare_run(run: Run, teller: Teller) -> None:
    """Compare the candidate with what is served, so that whoever approves sees the numbers.

    Args:
        run: the training, its model complete.
        teller: says how far it is.
    """
    from libra_monai.apps.monailabel.learning.approval import compare
    from libra_monai.engines import pick_device

    before = {name: value for name, value in run.state().items() if name in ("step", "steps", "epoch", "epochs", "loss")}
    teller.tell(COMPARING, **before)
    found = compare(run.folder.parents[1], run.name, device=str(pick_device(run.request["options"]["device"])))
    teller.tell(FINISHED, **before, passed=not found.reasons, reasons=found.reasons)
    clear_checkpoints(run.folder / "checkpoints")  # nothing goes on from here


def main(folder: str) -> int:
    """Train and compare; exit status 0 when done or stopped, 1 if it failed.

    Args:
        folder: of the training.
    """
    run = Run(Path(folder))
    teller = Teller(run)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _end_when_asked(run)
    lock = _alone(run.folder.parent / ".training")
    try:
        if run.state()["state"] in (FINISHED, ABANDONED):  # meanwhile
            return 0
        if not (run.model / MODEL_FILE).is_file():
            train_run(run, teller)
        if (run.model / MODEL_FILE).is_file():
            compare_run(run, teller)
    except Exception as error:
        ours = innermost(error)
        told = str(ours) if ours is not None else f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
        teller.tell(FAILED, error=told)
        return 1
    finally:
        if lock is not None:
            lock.close()
    return 0


def _alone(path: Path) -> BinaryIO | None:
    """Hold the trainings of an app, behind another that trains or saves."""
    while True:
        try:
            return hold(path, "training")
        except ConfigError:
            print(json.dumps({"state": WAITING}), flush=True)
            time.sleep(_EVERY)


def _end_when_asked(run: Run) -> None:
    """SIGTERM to this process when its parent is gone, or the server is about to; a training answers it by saving and ending."""
    halt = run.folder.parent / HALT
    halt.unlink(missing_ok=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's whole group: its parent will go, and that is enough

    def end(asked: Callable[[], bool]) -> None:
        while not asked():
            time.sleep(_EVERY / 4)
        os.kill(os.getpid(), signal.SIGTERM)

    for asked in (lambda: not os.read(sys.stdin.fileno(), 4096), lambda: halt.exists() or run.state()["state"] == ABANDONED):
        threading.Thread(target=end, args=(asked,), name="asked to end", daemon=True).start()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except LibraError as error:
        sys.exit(f"libra-monai: {error}")
