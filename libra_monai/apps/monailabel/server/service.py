# SPDX-License-Identifier: Apache-2.0
"""One loaded model, a queue, and one worker thread that drafts: answers of the server never wait for a report.

Knows nothing of HTTP and of MONAI Label. A job is known by an id nobody can guess, and forgotten some hundred jobs after its
end. What is running is stopped between two passes of the model, by a hook on its first blocks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from libra_monai import paths
from libra_monai.apps.monailabel.sources.studies import AUTO, with_prior
from libra_monai.checkpoints import load_pretrained
from libra_monai.checkpoints.loaded import LoadedModel
from libra_monai.errors import ConfigError, LibraError, StudyError, did_you_mean
from libra_monai.outputs import draft_content
from libra_monai.outputs.draft import marks_for
from libra_monai.outputs.identity import uid_of
from libra_monai.types import Decoding, Record, decoding_from

logger = logging.getLogger(__name__)
QUEUED, RUNNING, DONE, FAILED, CANCELLED, TIMED_OUT = "queued", "running", "done", "failed", "cancelled", "timed_out"
ENDED = (DONE, FAILED, CANCELLED, TIMED_OUT)
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "findings": ("findings",),
    "impression": ("impression",),
    "findings_and_impression": ("findings", "impression"),
}
DECODING = "greedy"


class QueueFull(LibraError):
    """More drafts were asked for than the queue takes."""


class UnknownJob(LibraError):
    """There is no such job, or none any more."""


class _Stopped(Exception):
    """The running job was cancelled or is over its time."""


@dataclass(frozen=True)
class DraftRequest:
    """What is to be drafted.

    Args:
        image: id of the study.
        record: of the study, with all earlier ones.
        root: folder that its paths are relative to.
        prior: `auto`, the id of an earlier study, or None for no prior.
        prompt: one of `PROMPTS`; None is what the model was made for.
        decoding: name of a preset of configs/decode.
        seconds: time limit of its own, below the service's.
    """

    image: str
    record: Record
    root: str
    prior: str | None = AUTO
    prompt: str | None = None
    decoding: str = DECODING
    seconds: float | None = None


@dataclass
class Job:
    """A draft on its way.

    Args:
        id: nobody can guess it.
        request: what is to be drafted.
        state: `queued`, `running`, `done`, `failed`, `cancelled` or `timed_out`.
        draft: of a job that is done.
        error: why it ended otherwise, a sentence with a remedy.
        refused: the study is at fault, not the server.
        asked, began, ended: seconds of a clock that only goes forward.
    """

    id: str
    request: DraftRequest
    state: str = QUEUED
    draft: dict[str, Any] | None = None
    error: str | None = None
    refused: bool = False
    asked: float = field(default_factory=time.monotonic)
    began: float = 0.0
    ended: float = 0.0
    stop: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    callbacks: list[Callable[[Job], None]] = field(default_factory=list)


class DraftService:
    """Drafts, one at a time.

    Args:
        model: a loaded model, or a model folder; None is the shipped small model.
        keep: called with image id and draft of every job that is done, before anybody sees it; gives back the draft to show.
        seconds: time limit of a job from its start.
        size: jobs that may wait.
        remember: ended jobs that are still known.
        load: loads a model folder, with device and float type of the server.
    """

    def __init__(
        self,
        model: LoadedModel | str | Path | None = None,
        keep: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        seconds: float = 120.0,
        size: int = 256,
        remember: int = 500,
        load: Callable[[str], LoadedModel] = load_pretrained,
    ) -> None:
        self._load, self._keep = load, keep or (lambda image, draft: draft)
        self.seconds, self.size, self.remember = seconds, size, remember
        self.decodings = decodings()
        self._serving, self._changed = threading.Lock(), threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None
        self._closed = False
        self._hooks: list[Any] = []
        self._take(model if isinstance(model, LoadedModel) else load(str(model or paths.tiny_model())))
        self._worker = threading.Thread(target=self._work, name="label-drafts", daemon=True)
        self._worker.start()

    @property
    def model(self) -> dict[str, Any]:
        """`name` and `version` of the weights that serve now, and whether they know synthetic pictures only."""
        card = self._loaded.card
        names = {"name": card.get("name", "unnamed"), "version": card.get("version", "unknown")}
        return {**names, "synthetic": card.get("training_data") == "synthetic"}

    @property
    def mark(self) -> str:
        """First line of every draft."""
        return marks_for(self._loaded.card)[0]

    @property
    def prompt(self) -> str:
        """The prompt that is used where none is named."""
        own = self._loaded.processor.prompt.target
        return own if own in PROMPTS else next(iter(PROMPTS))

    def submit(self, request: DraftRequest) -> Job:
        """Put a request in the queue.

        Raises:
            QueueFull: it takes no more.
            UnknownPrior: the prior is none of the study's earlier ones.
            ConfigError: prompt or decoding do not exist.
        """
        if request.prompt is not None and request.prompt not in PROMPTS:
            raise ConfigError(f"prompt '{request.prompt}' does not exist", did_you_mean(request.prompt, PROMPTS))
        if request.decoding not in self.decodings:
            raise ConfigError(f"decoding '{request.decoding}' does not exist", did_you_mean(request.decoding, self.decodings))
        job = Job(uuid.uuid4().hex, replace(request, record=with_prior(request.record, request.prior), prompt=request.prompt or self.prompt))
        with self._changed:
            if self._closed:
                raise QueueFull("the server is ending", "Ask for the draft again when it has started.")
            if len(self._waiting) >= self.size:
                raise QueueFull(f"{len(self._waiting)} drafts are waiting, no more are taken", "Try again in a minute.")
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget()
            self._changed.notify_all()
        return job

    def job(self, job_id: str) -> Job:
        """The job of an id.

        Raises:
            UnknownJob: there is none.
        """
        with self._changed:
            if job_id in self._jobs:
                return self._jobs[job_id]
        remedy = "Jobs are forgotten some time after their end and when the server starts again; ask for the draft again."
        raise UnknownJob(f"there is no job '{job_id[:64]}'", remedy)

    def position(self, job: Job) -> int:
        """How many jobs come before this one; 0 if it runs or has ended."""
        with self._changed:
            before = self._waiting.index(job) if job in self._waiting else -1
            return before + 1 if before >= 0 and self._running is not None else max(before, 0)

    def cancel(self, job_id: str) -> Job:
        """Take a job out of the queue, or stop it where it runs; one that has ended stays as it is.

        Raises:
            UnknownJob: there is none.
        """
        job = self.job(job_id)
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                ended = True
            else:
                job.stop, ended = True, False
        if ended:
            self._end(job, CANCELLED, error="The draft was cancelled.")
        return job

    def when_over(self, job: Job, call: Callable[[Job], None]) -> None:
        """Call when a job has ended, from the worker's thread; at once if it has.

        Args:
            job: the job.
            call: must not block.
        """
        with self._changed:
            if not job.over.is_set():
                job.callbacks.append(call)
                return
        call(job)

    def swap(self, folder: str | Path) -> dict[str, Any]:
        """Serve other weights, from the next job on; what is loaded goes on serving if the folder cannot be loaded.

        Args:
            folder: a model folder.

        Returns:
            what `model` tells of the new weights.

        Raises:
            ModelError: the folder cannot be used.
        """
        loaded = self._load(str(folder))
        with self._serving:
            self._take(loaded)
        return self.model

    def close(self) -> None:
        """Cancel what waits and runs, and end the worker."""
        with self._changed:
            self._closed = True
            waiting, running = list(self._waiting), self._running
            self._waiting.clear()
            if running is not None:
                running.stop = True
            self._changed.notify_all()
        for job in waiting:
            self._end(job, CANCELLED, error="The server ended. Ask for the draft again.")
        self._worker.join(30)
        for hook in self._hooks:
            hook.remove()

    def _take(self, loaded: LoadedModel) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = [block.register_forward_pre_hook(self._check_running) for block in first_blocks(loaded.model)]
        self._loaded = loaded

    def _check_running(self, *_: Any) -> None:
        job = self._running
        if job is None or threading.current_thread() is not self._worker:
            return
        if job.stop or time.monotonic() - job.began > (job.request.seconds or self.seconds):
            raise _Stopped

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.state, job.began = RUNNING, time.monotonic()
            with self._serving:
                outcome = self._outcome(job)
            self._running = None
            self._end(job, *outcome)

    def _outcome(self, job: Job) -> tuple[str, dict[str, Any] | None, str | None, bool]:
        """State, draft, error and fault of a job that was run."""
        limit = job.request.seconds or self.seconds
        try:
            draft = self._draft(job)
            if job.stop:
                raise _Stopped
            return DONE, self._keep(job.request.image, draft), None, False
        except _Stopped:
            if job.stop:
                return CANCELLED, None, "The draft was cancelled.", False
            return TIMED_OUT, None, f"The draft took longer than {limit:g} seconds. Try another decoding, or a higher limit.", False
        except StudyError as error:  # its file is a path of the server
            return FAILED, None, f"{error.reason}. {error.remedy}".strip(), True
        except LibraError as error:
            return FAILED, None, str(error), False
        except Exception as error:  # its text may quote a header
            logger.exception("a draft failed") if logger.isEnabledFor(logging.DEBUG) else logger.error("a draft failed (%s)", type(error).__name__)
            return FAILED, None, f"unexpected error {type(error).__name__}. Look at the server's log, and report it.", False

    def _draft(self, job: Job) -> dict[str, Any]:
        request = job.request
        loaded = replace(self._loaded, decoding=self.decodings[request.decoding])
        own = loaded.processor.prompt.target
        sections = PROMPTS[request.prompt or self.prompt]
        unread = {**request.record, "findings": None, "impression": None}  # the reader must not see a report there already is
        written = loaded.report_record(unread, request.root, evidence=True, sections=None if sections == (own,) else sections)
        content = draft_content(written)
        now = time.monotonic()
        seconds = {"queued": job.began - job.asked, "draft": now - job.began, "total": now - job.asked}
        asked = {"image": request.image, "prior_choice": request.prior, "prompt": request.prompt, "decoding": request.decoding}
        text = json.dumps([asked, content["findings"], content["impression"], content["model"], content["prior_study_id"]])
        return {**content, **asked, "uid": uid_of("label draft", text), "latencies": {name: round(value, 3) for name, value in seconds.items()}}

    def _end(self, job: Job, state: str, draft: dict[str, Any] | None = None, error: str | None = None, refused: bool = False) -> None:
        with self._changed:
            job.state, job.draft, job.error, job.refused, job.ended = state, draft, error, refused, time.monotonic()
            job.over.set()
            callbacks, job.callbacks = job.callbacks, []
        for call in callbacks:
            with contextlib.suppress(Exception):  # whoever asked is gone
                call(job)

    def _forget(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.state in ENDED]
        for job_id in ended[: max(0, len(ended) - self.remember)]:
            del self._jobs[job_id]


def first_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The first block of every stack of layers: each pass goes through it, however the model is wrapped.

    Args:
        model: a report model.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module):
            yield module[0]


def decodings() -> dict[str, Decoding]:
    """Name -> decoding of the presets in configs/decode; a seed that a workflow would set is 0."""
    found = {}
    for path in sorted((Path(paths.overlay_root()) / "decode").glob("*.json")):
        options = json.loads(path.read_text(encoding="utf-8"))["decoding"]
        found[path.stem] = decoding_from({name: 0 if value == "@seed" else value for name, value in options.items()})
    return found
