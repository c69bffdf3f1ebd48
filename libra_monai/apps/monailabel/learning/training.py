# SPDX-License-Identifier: Apache-2.0
"""Training from corrections: they become a datalist, LoRA is trained by the bundle's own workflow in a child process.

Every training starts from the weights the app was started with and reads all corrections there are, so that nothing
accumulates but the corrections. The child saves as it goes and ends with its parent; what was begun goes on, to the
same bits, when it is asked for again. What comes out is a candidate, see `approval`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import libra_monai
from libra_monai.apps.monailabel.learning.frozen import (
    FrozenRules,
    StudySource,
    frozen_records,
    frozen_set,
    is_fetched,
    patient_of,
    unlabelled,
)
from libra_monai.apps.monailabel.learning.reports import CORRECTED, SECTIONS, ReportStore
from libra_monai.apps.monailabel.learning.runs import ABANDONED, FAILED, FINISHED, Run, list_runs, make_run, unfinished_run
from libra_monai.apps.monailabel.learning.scoring import pair_of
from libra_monai.apps.monailabel.sources.studies import AUTO, UnknownPrior, UnknownStudy, with_prior
from libra_monai.data.processor import read_settings
from libra_monai.errors import ConfigError, StudyError, TrainingError
from libra_monai.text.prompts import find_prompt
from libra_monai.types import Record

logger = logging.getLogger(__name__)
CHILD = "libra_monai.apps.monailabel.learning.training_child"
LOG = "training.log"
DESCRIPTION = "Fine-tune LoRA on corrected reports; the result is a candidate that a person must approve"
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Options:
    """How a training is made; docs/label-learning.md has what the defaults were found with.

    Args:
        max_epochs, learning_rate, batch_size, seed: of the training.
        rank: of LoRA; its `lora_alpha` is twice that.
        save_steps: optimiser steps between checkpoints.
        device: where it runs; `auto` takes an accelerator if there is one.
    """

    max_epochs: int = 3
    learning_rate: float = 3e-4
    batch_size: int = 4
    seed: int = 1
    rank: int = 16
    save_steps: int = 10
    device: str = "auto"

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Options:
        """The options among the keys of a request; others are left alone, since MONAI Label adds its own.

        Args:
            request: such as `{"max_epochs": 5}`.

        Raises:
            ConfigError: a value makes no sense.
        """
        made = cls(**{name: request[name] for name in cls.__dataclass_fields__ if request.get(name) is not None})
        for name in ("max_epochs", "batch_size", "rank", "save_steps"):
            value = getattr(made, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}", "Give a whole number of 1 or more.")
        if isinstance(made.learning_rate, bool) or not isinstance(made.learning_rate, (int, float)) or not 0 < made.learning_rate < 1:
            raise ConfigError(f"learning_rate is {made.learning_rate!r}", "Give a number between 0 and 1, such as 0.0002.")
        return made


@dataclass(frozen=True)
class Learning:
    """The app, as far as training goes.

    Args:
        home: folder of the app's own files.
        studies: of the app.
        reports: the store.
        base: model folder the app was started with.
        rules: of the choice of the frozen set.
        reading: arguments of `LoadRadiograph`.
        privacy: of the studies, see the datalist.
        device: where to train if a request does not say.
    """

    home: Path
    studies: StudySource
    reports: ReportStore
    base: Path
    rules: FrozenRules = field(default_factory=FrozenRules)
    reading: Mapping[str, Any] | None = None
    privacy: str = "identifiable"
    device: str = "auto"

    @property
    def section(self) -> str:
        """What the model writes: `findings` or `impression`."""
        return find_prompt(read_settings(self.base)["prompt"]).target


def corrected_records(learning: Learning) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Datalist records of the corrected studies, and how many were left out and why.

    A study stands there with the prior its draft had, or with none if the reader chose so.

    Args:
        learning: the app; its frozen set is chosen if there is none.

    Raises:
        TrainingError: there are too few studies for the frozen set.
    """
    section = learning.section
    frozen = frozen_set(learning.home, learning.studies, learning.reports, section, learning.rules)
    held_out = {one.patient for one in frozen}
    records, left_out = [], dict.fromkeys(("held out", "prior gone", f"no {section}", "study gone"), 0)
    for image in learning.reports.ids(CORRECTED):
        try:
            record = learning.studies.record(image)
        except (UnknownStudy, StudyError):
            left_out["study gone"] += 1
            continue
        corrected = learning.reports.latest(image, CORRECTED)
        drafted = (pair_of(learning.reports, image) or ({},))[0]
        shown = _with_prior_of(record, drafted)
        if patient_of(record, image) in held_out:
            left_out["held out"] += 1
        elif not corrected.get(section):
            left_out[f"no {section}"] += 1
        elif shown is None:
            left_out["prior gone"] += 1
        else:
            texts = {name: corrected.get(name) or None for name in SECTIONS}
            records.append({**unlabelled(shown), **texts, "study_id": image})
    return records, left_out


def _with_prior_of(record: Record, draft: Mapping[str, Any]) -> Record | None:
    """The record with the prior that its draft had; None if that is no longer one of its earlier studies."""
    used, chosen = draft.get("prior_used"), draft.get("prior_study_id")
    try:
        return with_prior(record, None if used is False else chosen or AUTO)
    except UnknownPrior:
        return None


def prepare_training(learning: Learning, options: Options | None = None) -> Run:
    """Write down a training of all corrections.

    Args:
        learning: the app.
        options: how.

    Raises:
        TrainingError: nothing is corrected, or nothing new since the last training of this kind.
    """
    options = options or Options()
    records, left_out = corrected_records(learning)
    if not records:
        told = ", ".join(f"{n} {why}" for why, n in left_out.items() if n) or "none is corrected"
        raise TrainingError(f"there is no corrected report to train on ({told})", "Correct drafts first.")
    frozen = frozen_set(learning.home, learning.studies, learning.reports, learning.section, learning.rules)
    judged = frozen_records(frozen, learning.studies, learning.reports, learning.section)
    request = {
        "base": str(Path(learning.base).resolve()), "options": asdict(options),
        "reading": learning.reading, "prompts": _prompts(learning, records), "left_out": left_out,
    }  # fmt: skip
    splits = {"training": records, "test": judged}
    for run in list_runs(learning.home)[-1:]:
        before = json.loads((run.folder / "datalist.json").read_text(encoding="utf-8"))
        same = all(run.request.get(name) == request[name] for name in ("base", "options"))
        if same and before["training"] == json.loads(json.dumps(records)) and run.state()["state"] == FINISHED:
            raise TrainingError(f"nothing was corrected since training {run.name}", "Correct more drafts, or change the options.")
    return make_run(learning.home, request, splits, learning.privacy, learning.studies.root, is_fetched(learning.home, learning.studies))


def _prompts(learning: Learning, records: list[dict[str, Any]]) -> list[str] | None:
    """The tasks to train: the model's own, and that of a further section its drafts were asked for."""
    asked = {learning.section}
    for record in records:
        draft = (pair_of(learning.reports, record["study_id"]) or ({},))[0]
        asked |= {name for name in SECTIONS if draft.get(name)}
    return None if asked == {learning.section} else [name for name in SECTIONS if name in asked]


def train(learning: Learning, request: Mapping[str, Any] | None = None, tell: Tell = lambda state: None) -> dict[str, Any]:
    """Train in a child process and wait for it; an unfinished training goes on first.

    Args:
        learning: the app.
        request: options, see `Options`.
        tell: hears how far it is, a dictionary like `state.json`.

    Returns:
        the last state: `finished`, with the name of the candidate.

    Raises:
        TrainingError: there is nothing to train on, or the training failed or was stopped.
    """
    options = Options.of(request or {})
    begun = unfinished_run(learning.home)
    if begun is not None:
        go_on(begun, tell)
        if not _news(learning, options):
            return {"name": begun.name, **begun.state()}
    return go_on(prepare_training(learning, options), tell)


def _news(learning: Learning, options: Options) -> bool:
    """Whether something was corrected since the training that has just gone on to its end."""
    records, _ = corrected_records(learning)
    run = list_runs(learning.home)[-1]
    before = json.loads((run.folder / "datalist.json").read_text(encoding="utf-8"))["training"]
    return before != json.loads(json.dumps(records)) or run.request["options"] != asdict(options)


def go_on(run: Run, tell: Tell = lambda state: None) -> dict[str, Any]:
    """Start a training or go on with it, in a child process that ends with this one; returns when it ends.

    Args:
        run: the training.
        tell: see `train`.

    Raises:
        TrainingError: it failed or was stopped.
    """
    child = begin_child(run)
    try:
        for line in child.stdout:
            state = _state(line)
            if state is not None:
                tell(state)
    finally:
        child.stdin.close()  # it saves and ends if it has not
        code = child.wait()
    state = run.state()
    if state["state"] == FINISHED:
        return {"name": run.name, **state}
    if state["state"] == FAILED:
        raise TrainingError(f"training {run.name} failed: {state.get('error')}", "Train again when that is mended.")
    if state["state"] == ABANDONED:
        raise TrainingError(f"training {run.name} was abandoned", "Train again: that is a new one.")
    remedy = f"Train again: it goes on from there. What libraries said is in {run.folder / LOG}."
    raise TrainingError(f"training {run.name} was stopped at step {state.get('step', 0)} (exit status {code})", remedy)


def resume(home: str | Path, tell: Tell = lambda state: None) -> threading.Thread | None:
    """Go on with a training that a former server began, beside this one; None if there is none.

    Args:
        home: folder of the app's own files.
        tell: see `train`.
    """
    begun = unfinished_run(home)
    if begun is None:
        return None

    def work() -> None:
        try:
            go_on(begun, tell)
        except TrainingError as error:
            logger.warning("%s", error)

    thread = threading.Thread(target=work, name="training", daemon=True)
    thread.start()
    return thread


def begin_child(run: Run) -> subprocess.Popen:
    """The child process of a training; closing its standard input asks it to save and end.

    Args:
        run: the training.
    """
    package = str(Path(libra_monai.__file__).resolve().parents[1])
    paths = os.pathsep.join(dict.fromkeys([package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))
    with (run.folder / LOG).open("ab") as log:  # progress bars must not run into what it says
        return subprocess.Popen(
            [sys.executable, "-m", CHILD, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, errors="replace", env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip


def _state(line: str) -> dict[str, Any] | None:
    """What a line of the child says of its state, or None for what libraries say."""
    try:
        state = json.loads(line)
    except ValueError:
        return None
    return state if isinstance(state, dict) and "state" in state else None


def sentence(state: Mapping[str, Any]) -> str:
    """A state in words, for a log.

    Args:
        state: as in `state.json`.
    """
    words = [str(state["state"])]
    if "step" in state:
        words.append(f"step {state['step']} of {state['steps']}")
    if state.get("loss") is not None:
        words.append(f"loss {state['loss']:.3f}")
    return ", ".join(words)


def trainers(learning: Learning) -> dict[str, Any]:
    """The `TrainTask`s of the app, by name; MONAI Label is imported here and not before.

    Args:
        learning: the app.
    """
    from monailabel.interfaces.tasks.train import TrainTask

    class CorrectionTraining(TrainTask):
        """Trains on corrections; the lines it prints are what MONAI Label's `/train/` shows."""

        def config(self) -> dict[str, Any]:
            """Options a client may set."""
            return asdict(Options())

        def stats(self) -> dict[str, Any]:
            """How far each training is."""
            return {run.name: run.state() for run in list_runs(learning.home)}

        def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
            device = request.get("device")
            wanted = {**request, "device": learning.device if device in (None, "cuda") else device}  # cuda is what clients send unasked
            return train(learning, wanted, lambda state: print(sentence(state), flush=True))

    return {"reports": CorrectionTraining(DESCRIPTION)}
