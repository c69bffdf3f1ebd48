# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: losses, learning rate and metrics; drafts and picture pairs where the data allow it.

Drafts and pictures are patient content: they are written only if the datalist says that it is synthetic
or de-identified, and pictures only if no writing is burned into them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from libra_monai.outputs import exportable
from libra_monai.types import ReportDraft, StudyBatch

SHAREABLE = ("synthetic", "de-identified")


def summary_writer(output_dir: str | Path) -> SummaryWriter:
    """One event file for all handlers of a run."""
    return SummaryWriter(str(Path(output_dir) / "tensorboard"))


class TensorBoardScalars:
    """Handler that writes the loss and learning rate of each step, and the metrics of each validation.

    Args:
        writer: shared event file.
        optimizer: for the learning rate; None on evaluators, whose metrics are written instead.
    """

    def __init__(self, writer: SummaryWriter, optimizer: Optimizer | None = None) -> None:
        self.writer, self.optimizer = writer, optimizer
        self.checked = False

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer (with optimizer) or an evaluator (without)."""
        if self.optimizer is not None:
            engine.add_event_handler(Events.ITERATION_STARTED, self._forget_lost_steps)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        else:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._metrics)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.writer.flush())

    def _forget_lost_steps(self, engine: Engine) -> None:
        """After a resume, curves go on at the checkpoint; what a killed run wrote behind it is dropped by readers."""
        step = getattr(engine.state, "resumed_at", 0)
        if not self.checked and step:
            self.writer.file_writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        self.checked = True

    def _step(self, engine: Engine) -> None:
        if engine.state.output.get("loss") is None:
            return
        step = engine.state.iteration
        self.writer.add_scalar("train/loss", engine.state.output["loss"], step)
        self.writer.add_scalar("train/learning_rate", self.optimizer.param_groups[0]["lr"], step)

    def _metrics(self, engine: Engine) -> None:
        step = getattr(engine.state, "trained_steps", 0)
        for name, value in engine.state.metrics.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(f"validation/{name}", value, step)


class TensorBoardReports:
    """Handler that shows drafts beside their references, and the pictures they were written from.

    Args:
        writer: shared event file.
        privacy: of the datalist; nothing is written for `identifiable` data.
        studies: how many of the first studies.
    """

    def __init__(self, writer: SummaryWriter, privacy: str, studies: int = 4) -> None:
        self.writer, self.studies, self.allowed = writer, studies, privacy in SHAREABLE
        self.seen = 0

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        if self.allowed:
            engine.add_event_handler(Events.EPOCH_STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._show)

    def _start(self, engine: Engine) -> None:
        self.seen = 0

    def _show(self, engine: Engine) -> None:
        output, step = engine.state.output, getattr(engine.state, "trained_steps", 0)
        for row, draft in enumerate(output["drafts"][: max(0, self.studies - self.seen)]):
            number = self.seen + row
            self.writer.add_text(f"reports/{number}", _as_markdown(draft), step)
            pair = _pair(output["batch"], row) if exportable(draft) else None
            if pair is not None:
                self.writer.add_image(f"prior and current/{number}", pair, step)
        self.seen += len(output["drafts"])


def _as_markdown(draft: ReportDraft) -> str:
    lines = [f"*{mark}*" for mark in draft.marks]
    return "\n\n".join([*lines, f"**{draft.study_id}**", f"**draft** {draft.text}", f"**reference** {draft.reference}"])


def _pair(batch: StudyBatch, row: int) -> np.ndarray | None:
    """Prior and current beside each other, uint8 [1,h,2w]; the prior's place is black if there is none."""
    current, prior = int(batch.index["current"][row]), int(batch.index["prior"][row])
    if current < 0:
        return None
    right = batch.images[current, :1].float()
    left = batch.images[prior, :1].float() if prior >= 0 else torch.full_like(right, float(right.min()))
    pair = torch.cat([left, right], dim=2).cpu()
    pair = (pair - pair.min()) / (pair.max() - pair.min()).clamp(min=1e-6)
    return (pair * 255).to(torch.uint8).numpy()
