# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: losses, rates, speed and metrics; drafts and picture pairs where the data allow it.

Drafts and pictures are patient content: they are written only if the datalist says that it is synthetic
or de-identified, and pictures only if no writing is burned into them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from libra_monai.outputs import exportable
from libra_monai.types import ReportDraft, StudyBatch

try:
    import resource
except ImportError:  # Windows
    resource = None

SHAREABLE = ("synthetic", "de-identified")
LAYOUT = {
    "training": {
        "loss": ["Multiline", ["train/loss", "validation/loss"]],
        "learning rate": ["Multiline", ["train/learning_rate.*"]],
        "gradient norm": ["Multiline", ["train/gradient_norm"]],
    },
    "reports": {
        "what decides": ["Multiline", ["validation/best_by"]],
        "findings": ["Multiline", ["validation/finding.*", "validation/chexpert.*f1.*"]],
        "changes": ["Multiline", ["validation/change.*", "validation/temporal.*"]],
        "words": ["Multiline", ["validation/bleu.*", "validation/rouge.*", "validation/cider.*", "validation/meteor.*"]],
        "what should be rare": ["Multiline", ["validation/.*rate", "validation/repetition.*"]],
        "length in words": ["Multiline", ["words/drafted_mean", "words/reference_mean"]],
    },
    "machine": {
        "studies a second": ["Multiline", ["speed/studies_per_second"]],
        "learned tokens a second": ["Multiline", ["speed/tokens_per_second"]],
        "share of the time spent computing": ["Multiline", ["speed/share_computing"]],
        "peak memory in GB": ["Multiline", ["memory/peak_gb"]],
    },
}  # the tab "custom scalars"


def summary_writer(output_dir: str | Path) -> SummaryWriter:
    """One event file for all handlers of a run."""
    return SummaryWriter(str(Path(output_dir) / "tensorboard"))


class TensorBoardScalars:
    """Handler that writes what each step of a training did, and the metrics of each validation.

    Args:
        writer: shared event file.
        optimizer: for the learning rates; None on evaluators, whose metrics are written instead.
        settings: of the run, for the table of hyperparameters.
    """

    def __init__(
        self, writer: SummaryWriter, optimizer: Optimizer | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.writer, self.optimizer, self.settings = writer, optimizer, dict(settings or {})
        self.checked, self.began = False, 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer (with optimizer) or an evaluator (without)."""
        if self.optimizer is not None:
            engine.add_event_handler(Events.STARTED, self._arrange)
            engine.add_event_handler(Events.GET_BATCH_STARTED, self._look_at_clock)
            engine.add_event_handler(Events.ITERATION_STARTED, self._forget_lost_steps)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        else:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._metrics)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.writer.flush())

    def _arrange(self, engine: Engine) -> None:
        """Which curves stand together, and with which settings they were made."""
        self.writer.add_custom_scalars(LAYOUT)
        if self.settings:
            for part in hparams(_flat(self.settings), {"validation/best_by": 0.0, "validation/loss": 0.0}):
                self.writer.file_writer.add_summary(part)

    def _look_at_clock(self, engine: Engine) -> None:
        self.began = time.perf_counter()

    def _forget_lost_steps(self, engine: Engine) -> None:
        """After a resume, curves go on at the checkpoint; what a killed run wrote behind it is dropped by readers."""
        step = getattr(engine.state, "resumed_at", 0)
        if not self.checked and step:
            self.writer.file_writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        self.checked = True

    def _step(self, engine: Engine) -> None:
        output, step = engine.state.output, engine.state.iteration
        if output.get("loss") is None:
            return
        took = max(time.perf_counter() - self.began, 1e-9)  # reading included
        values = {
            "train/loss": output["loss"],
            "train/gradient_norm": output.get("grad_norm"),
            "speed/studies_per_second": output["studies"] / took,
            "speed/tokens_per_second": output["num_tokens"] / took,
            "speed/share_computing": output["seconds"] / took,
            "memory/peak_gb": _peak_memory(engine.state.device) / 1e9,
        }
        for tag, value in values.items():
            if value is not None:
                self.writer.add_scalar(tag, value, step)
        rates = {group.get("name", "all").split()[0]: group["lr"] for group in self.optimizer.param_groups}
        self.writer.add_scalar("train/learning_rate", self.optimizer.param_groups[0]["lr"], step)
        if len(set(rates.values())) > 1:
            for name, rate in rates.items():
                self.writer.add_scalar(f"train/learning_rate_{name}", rate, step)

    def _metrics(self, engine: Engine) -> None:
        step = getattr(engine.state, "trained_steps", 0)
        for name, value in engine.state.metrics.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(f"validation/{name}", value, step)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a table can show them."""
    return {name: v if isinstance(v, (bool, int, float, str)) else json.dumps(v) for name, v in settings.items()}


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the accelerator, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class TensorBoardReports:
    """Handler that shows drafts beside their references, the pictures they were written from, and how long reports are.

    Args:
        writer: shared event file.
        privacy: of the datalist; of `identifiable` data only the lengths are written.
        studies: how many of the first studies.
    """

    def __init__(self, writer: SummaryWriter, privacy: str, studies: int = 4) -> None:
        self.writer, self.studies, self.allowed = writer, studies, privacy in SHAREABLE
        self.seen = 0

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._show)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._show_lengths)

    def _start(self, engine: Engine) -> None:
        self.seen = 0
        self.lengths: dict[str, list[int]] = {"drafted": [], "reference": []}

    def _show(self, engine: Engine) -> None:
        output, step = engine.state.output, getattr(engine.state, "trained_steps", 0)
        shown = max(0, self.studies - self.seen) if self.allowed else 0
        for row, draft in enumerate(output["drafts"][:shown]):
            number = self.seen + row
            self.writer.add_text(f"reports/{number}", _as_markdown(draft), step)
            pair = _pair(output["batch"], row) if exportable(draft) else None
            if pair is not None:
                self.writer.add_image(f"prior and current/{number}", pair, step)
        self.seen += len(output["drafts"])
        self.lengths["drafted"] += [len(draft.text.split()) for draft in output["drafts"]]
        self.lengths["reference"] += [len(draft.reference.split()) for draft in output["drafts"] if draft.reference]

    def _show_lengths(self, engine: Engine) -> None:
        step = getattr(engine.state, "trained_steps", 0)
        for name, lengths in self.lengths.items():
            if lengths:
                self.writer.add_histogram(f"words/{name}", np.asarray(lengths), step)
                self.writer.add_scalar(f"words/{name}_mean", float(np.mean(lengths)), step)


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
