# SPDX-License-Identifier: Apache-2.0
"""Trainings in processes of their own that may be killed; forked from one that has imported everything, since imports take longest."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELOADED = [
    "torch", "torch.utils.tensorboard", "ignite.engine", "monai.bundle", "monai.engines", "transformers", "peft",
    "libra_monai.apps.workflow", "libra_monai.engines", "libra_monai.handlers", "libra_monai.checkpoints",
]  # fmt: skip
_LIMIT = 300  # seconds


@dataclass
class Ended:
    """How a training ended: as `subprocess.CompletedProcess` says it."""

    returncode: int
    stderr: str
    stdout: str = ""


def train(overlays: list[str], options: dict[str, Any], at: int | None = None, what: str = "SIGKILL") -> None:
    """One training; at the start of step `at` it sends itself a signal."""
    from ignite.engine import Events

    from libra_monai.apps.workflow import LibraWorkflow

    workflow = LibraWorkflow("train", overlays, options)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")

    def act(engine):
        if engine.state.iteration == at:
            os.kill(os.getpid(), getattr(signal, what))

    if at:
        trainer.add_event_handler(Events.ITERATION_STARTED, act)
    workflow.run()
    workflow.finalize()


def begin(overlays, options, at=None, what="SIGKILL", log=os.devnull) -> Any:
    """Start a training that is a child of a process without threads, and let it run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_child, args=(str(log), overlays, options, at, what))
    process.start()
    return process


def run(overlays, options, at=None, what="SIGKILL") -> Ended:
    """A training from its start to its end, by itself or by a signal."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        process = begin(overlays, options, at, what, log)
        process.join(_LIMIT)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"a training did not end in {_LIMIT} s:\n{log.read_text()[-2000:]}")
        return Ended(process.exitcode, log.read_text() if log.exists() else "")


def _child(log: str, *what: Any) -> None:
    """Write where a process of its own would, and end as it would."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    try:
        train(*what)
        atexit._run_exitfuncs()  # a forked child is left without them
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
