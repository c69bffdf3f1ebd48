# SPDX-License-Identifier: Apache-2.0
"""Which weights are served: a training makes a candidate, a person approves it, one command takes it back.

`served.json` says what is served, what was served before, and all that was decided and why; it is written at once, so
that a reader sees one decision or the next. A candidate is approved only if it is no worse than the served weights on
the frozen set and its control table, within a stated tolerance; there is no way around that.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from libra_monai.apps.monailabel.learning.comparing import FINDINGS, Check, Ground, Tolerance, compare_tables, identity, not_judged
from libra_monai.apps.monailabel.learning.frozen import read_frozen
from libra_monai.apps.monailabel.learning.runs import ABANDONED, Run, find_run, list_runs, unfinished_run
from libra_monai.checkpoints.card import MODEL_FILE
from libra_monai.errors import ConfigError, ModelError
from libra_monai.files import hold, write_json

logger = logging.getLogger(__name__)
FILE = "served.json"
APPROVED, REFUSED, ROLLED_BACK = "approved", "refused", "rolled back"


def served_folder(home: str | Path, base: str | Path) -> Path:
    """The model folder to serve.

    Args:
        home: folder of the app's own files.
        base: the model folder the app was started with; served unless weights that grew from it were approved.

    Raises:
        ModelError: what was approved is gone.
    """
    stack = _read(home)["served"]
    if not stack or _place(home, stack[0]) != Path(base).resolve():
        return Path(base).resolve()
    folder = _place(home, stack[-1])
    if not (folder / MODEL_FILE).is_file():
        raise ModelError(f"the served weights {folder} are gone", "Restore them, or run `libra-monai label rollback`.")
    return folder


@dataclass(frozen=True)
class Comparison:
    """A candidate beside what is served.

    Args:
        checks: all that was compared.
        silent: controls that the frozen set says nothing of.
    """

    checks: list[Check]
    silent: list[str]

    @property
    def reasons(self) -> list[str]:
        """Why the candidate is refused, in words; empty if it is no worse."""
        reasons = [check.sentence() for check in self.checks if not check.passed]
        if not any(check.name == FINDINGS and check.served > 0 for check in self.checks):  # nothing can be lost there
            reasons.append("the frozen set cannot judge: of what its references find, the served weights say nothing")
        return reasons

    def as_json(self) -> dict[str, Any]:
        """For history and status."""
        return {"checks": [check.as_json() for check in self.checks], "silent": self.silent}


def compare(home: str | Path, name: str, tolerance: Tolerance | None = None, device: str = "cpu") -> Comparison:
    """Compare a candidate with what is served now; a model that was measured on the set before is not run again.

    Args:
        home: folder of the app's own files.
        name: of the training.
        tolerance: how much worse it may be.
        device: where the models run.

    Raises:
        ConfigError: there is no such training, or it has not ended.
        TrainingError: the frozen set cannot be drafted.
    """
    run, tolerance = _candidate(home, name), tolerance or Tolerance()
    ground = Ground(run.frozen(), run.root, Path(home) / "measured", run.request.get("reading"), device)
    before = ground.measure(served_folder(home, run.request["base"]), tolerance.controls)
    return Comparison(compare_tables(before, ground.measure(run.model, tolerance.controls), tolerance), not_judged(before))


def approve(
    home: str | Path, name: str | None = None, tolerance: Tolerance | None = None, device: str = "cpu", by: str = ""
) -> dict[str, Any]:
    """Serve a candidate from now on, if it is no worse; the decision, which also stands in the history.

    Args:
        home: folder of the app's own files.
        name: of the training; None for the newest candidate.
        tolerance, device: see `compare`.
        by: who approves, for the history.

    Raises:
        ModelError: it is refused; the message says why, and so does the history.
        ConfigError: there is no candidate, or it is served already.
    """
    tolerance = tolerance or Tolerance()
    with _deciding(home):
        run = _candidate(home, name or _newest(home))
        content, base = _read(home), Path(run.request["base"]).resolve()
        stack = content["served"]
        if not stack or _place(home, stack[0]) != base:
            stack = [{"name": run.request["base_name"], "folder": str(base), "identity": identity(base)}]
        if stack[-1]["name"] == run.name:
            raise ConfigError(f"{run.name} is served already", "Train again after more corrections.")
        found = compare(home, run.name, tolerance, device)
        reasons = found.reasons
        decision = {
            "time": _now(), "what": REFUSED if reasons else APPROVED, "name": run.name, "before": stack[-1]["name"], "by": by,
            "reasons": reasons, "studies": len(run.frozen()), "tolerance": asdict(tolerance), **found.as_json(),
        }  # fmt: skip
        if not reasons:
            stack = [*stack, {"name": run.name, "folder": run.model.relative_to(Path(home)).as_posix(), "identity": identity(run.model)}]
            content["served"] = stack
        _write(home, content, decision)
    if reasons:
        raise ModelError(f"{run.name} is not served: {'; '.join(reasons)}", "Correct more drafts and train again; what was served stays.")
    return decision


def rollback(home: str | Path, by: str = "") -> dict[str, Any]:
    """Serve what was served before the last approval; the decision.

    Args:
        home: folder of the app's own files.
        by: who decides, for the history.

    Raises:
        ConfigError: nothing was approved.
        ModelError: the former weights are gone or have changed.
    """
    with _deciding(home):
        content = _read(home)
        if len(content["served"]) < 2:
            raise ConfigError("nothing to roll back to: no weights were approved", "`libra-monai label status` shows the history.")
        *rest, left = content["served"]
        folder = _place(home, rest[-1])
        if not (folder / MODEL_FILE).is_file():
            raise ModelError(f"the former weights {folder} are gone", "Restore them first.")
        if rest[-1]["identity"] != identity(folder):
            raise ModelError(f"the former weights {folder} have changed since they were approved", "Restore them first.")
        content["served"] = rest
        decision = {"time": _now(), "what": ROLLED_BACK, "name": rest[-1]["name"], "before": left["name"], "by": by, "reasons": []}
        _write(home, content, decision)
    return decision


def abandon(home: str | Path) -> str:
    """Give up the training that has begun and not ended; its name.

    Args:
        home: folder of the app's own files.

    Raises:
        ConfigError: there is none.
    """
    run = unfinished_run(home)
    if run is None:
        raise ConfigError("no training has begun that has not ended", "`libra-monai label status` shows all.")
    run.abandon()
    return run.name


def status(home: str | Path) -> dict[str, Any]:
    """What is served, what was before, trainings with their state, the frozen set's size, and the history.

    Args:
        home: folder of the app's own files.
    """
    content = _read(home)
    names = [entry["name"] for entry in content["served"]]
    runs = [
        {"name": run.name, "corrections": run.request["corrections"], "served": bool(names) and names[-1] == run.name, **run.state()}
        for run in list_runs(home)
    ]
    frozen = read_frozen(home)
    return {
        "served": names[-1] if names else None,
        "before": names[:-1],
        "trainings": runs,
        "frozen": {"studies": len(frozen), "patients": len({one.patient for one in frozen})},
        "history": content["history"],
    }


def follow(
    home: str | Path, base: str | Path, swap: Callable[[Path], Any], stop: threading.Event, every: float = 1.0
) -> threading.Thread:
    """Tell a running service of decisions, from whatever process they come; returns the thread that does.

    Args:
        home: folder of the app's own files.
        base: see `served_folder`.
        swap: the service's, called with a model folder.
        stop: ends it.
        every: seconds between two looks at `served.json`.
    """

    def watch(serving: Path) -> None:
        """Exchange the weights whenever others are wanted, until told to stop."""
        said = ""
        while not stop.wait(every):
            try:
                wanted = served_folder(home, base)
                if wanted != serving:
                    swap(wanted)
                    serving = wanted
                    logger.info("serving %s", wanted.parent.name if wanted.name == "last" else wanted.name)
                    said = ""
            except Exception as error:  # such as of a full memory; the next look may find it better, and says it only once
                if said != str(error):
                    said = str(error)
                    logger.error("the weights are not exchanged: %s", said)

    thread = threading.Thread(target=watch, args=(served_folder(home, base),), name="served weights", daemon=True)
    thread.start()
    return thread


@contextmanager
def _deciding(home: str | Path) -> Iterator[None]:
    """One decision at a time, over all processes."""
    Path(home).mkdir(parents=True, exist_ok=True)
    lock = hold(Path(home) / ".deciding", "approval or rollback")
    try:
        yield
    finally:
        if lock is not None:
            lock.close()


def _candidate(home: str | Path, name: str) -> Run:
    run = find_run(home, name)
    if not (run.model / MODEL_FILE).is_file():
        raise ConfigError(f"training {name} has not ended", "`libra-monai label status` shows how far it is.")
    return run


def _newest(home: str | Path) -> str:
    names = [run.name for run in list_runs(home) if (run.model / MODEL_FILE).is_file() and run.state()["state"] != ABANDONED]
    if not names:
        raise ConfigError(f"there is no candidate in {home}", "Correct drafts, then train.")
    return names[-1]


def _place(home: str | Path, entry: Mapping[str, Any]) -> Path:
    return (Path(home) / entry["folder"]).resolve()


def _read(home: str | Path) -> dict[str, Any]:
    path = Path(home) / FILE
    if not path.is_file():
        return {"served": [], "history": []}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"served": list(content["served"]), "history": list(content["history"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "Restore it from a copy; without it the first weights are served.") from error


def _write(home: str | Path, content: Mapping[str, Any], decision: Mapping[str, Any]) -> None:
    write_json(Path(home) / FILE, {"format": 1, "served": content["served"], "history": [*content["history"], decision]})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
