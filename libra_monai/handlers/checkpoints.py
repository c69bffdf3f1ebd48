# SPDX-License-Identifier: Apache-2.0
"""A training that is killed goes on where it stood, to the same bits."""

from __future__ import annotations

import logging
import multiprocessing.connection
import pickle
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from libra_monai import ranks
from libra_monai.checkpoints.training import (
    Checkpoint,
    clear_checkpoints,
    clear_finished,
    differences,
    latest_checkpoint,
    mark_finished,
    read_checkpoint,
    write_checkpoint,
)
from libra_monai.errors import ConfigError, ModelError, TrainingError
from libra_monai.handlers.interval import steps_between
from libra_monai.networks.sharding import spread_like, whole_tensor

logger = logging.getLogger(__name__)
FOLDER = "checkpoints"
_ENDING = 2.0  # seconds until a reading process whose connection broke is seen to have ended


class Checkpoints:
    """Handler that saves all a training needs to go on, and goes on by itself.

    A checkpoint holds the trained tensors, the optimizer, the schedule, the scaler, the position in the data, the best score
    and the patience. Order, augmentation and dropout follow from seed and position, so no random state is
    kept. Belongs behind the schedule and the validation in the list of handlers.

    Args:
        network: the report model, not wrapped.
        optimizer, schedule: of the training.
        output_dir: checkpoints go to its subfolder `checkpoints`.
        settings: what must be the same to go on; a difference is an error that names it.
        interval: epochs, or `{"steps": n}`, between checkpoints; one more is saved on SIGTERM. None saves on SIGTERM only.
        keep: how many stay.
        resume: True goes on from the newest checkpoint of an unfinished run, False starts anew; or a checkpoint's folder.
        parts: objects with `state_dict` and `load_state_dict` in plain values, by name.

    Raises:
        ConfigError: the checkpoint is of a run with other settings.
        ModelError: no checkpoint can be read.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        schedule: Any,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        interval: int | Mapping[str, int] | None = 1,
        keep: int = 2,
        resume: bool | str = True,
        parts: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        self.folder, self.settings = Path(output_dir) / FOLDER, dict(settings)
        self.interval, self.keep, self.resume, self.parts = interval, keep, resume, dict(parts or {})
        self.asked_to_stop, self.failed_saves, self.saved_at = False, 0, -1
        self._before: Any = None

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._explain)

    def _start(self, engine: Engine) -> None:
        self.every = None if self.interval is None else steps_between(self.interval, engine.state.epoch_length)
        self._catch_sigterm()
        found = self._find()
        if found is not None:
            self._go_on(engine, found)
        engine.state.resumed_at = engine.state.iteration

    def _find(self) -> Checkpoint | None:
        """The checkpoint to go on from, if any; old ones of a finished or abandoned run go."""
        if isinstance(self.resume, str):
            return read_checkpoint(self.resume)
        if ranks.is_main():
            if not self.resume:
                clear_checkpoints(self.folder)
            elif clear_finished(self.folder):
                logger.info("the last run in %s was finished; this one starts anew", self.folder.parent)
        ranks.barrier()
        return latest_checkpoint(self.folder)

    def _go_on(self, engine: Engine, found: Checkpoint) -> None:
        changed = differences(self._settings(engine), found.state["settings"])
        if changed:
            raise ConfigError(
                f"checkpoint {found.folder} is of another configuration: {'; '.join(changed)}",
                "Use the settings it was saved with, --resume false to start anew, or another output_dir.",
            )
        load_trained(self.network, found.tensors, str(found.folder))
        load_optimizer(self.optimizer, self.network, found.optimizer)
        self.schedule.load_state_dict({**self.schedule.state_dict(), **found.state["schedule"]})
        if found.state["scaler"] is not None:
            engine.scaler = GradScaler(engine.state.device.type)
            engine.scaler.load_state_dict(found.state["scaler"])
        for name, part in self.parts.items():
            part.load_state_dict(found.state["parts"][name])
        engine.state.iteration = self.saved_at = found.step
        engine.state.epoch = found.step // engine.state.epoch_length
        engine.data_loader.batch_sampler.start_at(found.step)
        logger.info("going on from %s: step %d of %d", found.folder, found.step, self._total(engine))

    def _step(self, engine: Engine) -> None:
        step = engine.state.iteration
        stop = any(ranks.totals([self.asked_to_stop], engine.state.device))
        if stop or (self.every is not None and step % self.every == 0):
            self._save(engine)
        if stop and step < self._total(engine):
            logger.warning("stopped at step %d of %d by SIGTERM; the same command goes on", step, self._total(engine))
            engine.terminate(skip_completed=True)

    def _save(self, engine: Engine) -> None:
        step = engine.state.iteration
        if step == self.saved_at:
            return
        tensors, optimizer = trained_state(self.network), optimizer_state(self.optimizer, self.network)
        scaler = getattr(engine, "scaler", None)
        state = {
            "settings": self._settings(engine),
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if k != "lr_lambdas"},
            "scaler": None if scaler is None else scaler.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        if ranks.is_main():
            try:
                write_checkpoint(self.folder, Checkpoint(step, tensors, optimizer, state), self.keep)
            except (OSError, RuntimeError) as error:  # torch says RuntimeError for a full disk
                self.failed_saves += 1
                logger.error("no checkpoint at step %d: %s. Training goes on; the checkpoint before it is whole.", step, error)
                return
        self.saved_at = step

    def _settings(self, engine: Engine) -> dict[str, Any]:
        shapes = {name: list(p.shape) for name, p in self.network.named_parameters() if p.requires_grad}
        return {**self.settings, "steps_of_an_epoch": engine.state.epoch_length, "trained_tensors": shapes}

    def _total(self, engine: Engine) -> int:
        return engine.state.epoch_length * engine.state.max_epochs

    def _finish(self, engine: Engine) -> None:
        self._release_sigterm()
        if ranks.is_main():
            mark_finished(self.folder, engine.state.iteration)

    def _explain(self, engine: Engine, error: BaseException) -> None:
        """Say it in our words where torch's do not help; Ignite hands an error to the first handler that takes it."""
        self._release_sigterm()
        if _reader_died(engine, error):
            raise TrainingError(
                f"a reading process died at step {engine.state.iteration + 1} ({type(error).__name__}: {str(error).partition(chr(10))[0]})",
                "Often the memory is full: lower num_workers. The same command goes on from the last checkpoint.",
            ) from error
        raise error

    def _catch_sigterm(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask_to_stop)

    def _release_sigterm(self) -> None:
        if self._before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _ask_to_stop(self, number: int, frame: Any) -> None:
        self.asked_to_stop = True


def _reader_died(engine: Engine, error: BaseException) -> bool:
    """Whether an error is that of a reading process that ended; what it had sent half shows in many ways."""
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return True
    workers = getattr(engine._dataloader_iter, "_workers", ())
    if not workers or not isinstance(error, (OSError, EOFError, RuntimeError, pickle.UnpicklingError)):
        return False
    # its connections close before the process itself is seen to have ended
    multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=_ENDING)
    return any(worker.exitcode not in (None, 0) for worker in workers)


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """Trained parameters, and the buffers of the parts they are in, whole and on the CPU.

    Args:
        network: the report model; with sharded parameters every process must call.
    """
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    parts = {name.split(".")[0] for name in names}
    names |= {name for name, _ in network.named_buffers() if name.split(".")[0] in parts}
    return {name: whole_tensor(value) for name, value in network.state_dict().items() if name in names}


def load_trained(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put trained tensors back.

    Args:
        network: the report model.
        tensors: from `trained_state`.
        where: for the message.

    Raises:
        ModelError: names or shapes differ.
    """
    own = {name: value for name, value in network.state_dict().items() if name in tensors}
    wanted = trained_state(network)
    if set(wanted) != set(tensors) or any(wanted[name].shape != tensors[name].shape for name in wanted):
        odd = sorted(set(wanted) ^ set(tensors)) or [n for n in wanted if wanted[n].shape != tensors[n].shape]
        raise ModelError(f"{where}: tensor {odd[0]} does not fit", "Use the configuration it was saved with.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(spread_like(tensors[name], value))


def optimizer_state(optimizer: Optimizer, network: nn.Module) -> dict[str, Any]:
    """The state of an optimizer with whole tensors on the CPU, and the names of its parameters in their order."""
    state = optimizer.state_dict()
    whole = {number: {k: whole_tensor(v) if isinstance(v, Tensor) else v for k, v in own.items()} for number, own in state["state"].items()}
    return {"state": whole, "param_groups": state["param_groups"], "names": _names(optimizer, network)}


def load_optimizer(optimizer: Optimizer, network: nn.Module, saved: Mapping[str, Any]) -> None:
    """Put the state of an optimizer back.

    Args:
        optimizer: of the same parameters in the same groups.
        network: the report model.
        saved: from `optimizer_state`.

    Raises:
        ModelError: its parameters are others.
    """
    if _names(optimizer, network) != saved["names"]:
        raise ModelError("the checkpoint's optimizer has other parameters", "Use the configuration it was saved with.")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        number: {
            k: spread_like(v, parameters[number]) if isinstance(v, Tensor) and v.shape == parameters[number].shape else v
            for k, v in own.items()
        }
        for number, own in saved["state"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def _names(optimizer: Optimizer, network: nn.Module) -> list[str]:
    known = {id(p): name for name, p in network.named_parameters()}
    return [known[id(p)] for group in optimizer.param_groups for p in group["params"]]
