# SPDX-License-Identifier: Apache-2.0
"""What a bulk run has drafted already, so that a restart goes on where the last one stopped and writes nothing twice.

`predictions.jsonl` itself is the ledger: a study is done when its line stands there. `bulk.json` beside it says of which
model and settings the lines are. Of several processes the others append to parts (`predictions.1.jsonl`), which the first
takes over at the end, or at the next start if the end was never reached.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from libra_monai import ranks
from libra_monai.checkpoints.hashing import digest
from libra_monai.errors import ConfigError
from libra_monai.files import append_jsonl, hold, replacing, write_json
from libra_monai.handlers.failures import FILE as FAILED
from libra_monai.types import FAILURE, Failure, ReportDraft

logger = logging.getLogger(__name__)
FILE, SETTINGS, DIGEST = "predictions.jsonl", "bulk.json", "record"


class DraftLedger:
    """The lines of `predictions.jsonl`, on disk; in memory are only identifiers and digests.

    Args:
        output_dir: folder of the run.
        card: `name` and `version` of the model.
        weights: the model folder, folders by part, or None.
        settings: what else the drafts depend on, such as decoding and prompt; a run with others is refused.
        anew: forget what is done.
        metrics: of the run; they would miss the studies of an earlier start.

    Attributes:
        failures: of earlier starts, of studies that are done all the same: a format that could not hold them.
        interrupted: set when the run was asked to stop.

    Raises:
        ConfigError: the folder holds drafts of another model or other settings, or another run writes there.
    """

    def __init__(
        self,
        output_dir: str | Path,
        card: Mapping[str, Any],
        weights: str | Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        anew: bool = False,
        metrics: Sequence[Any] = (),
    ) -> None:
        self.folder = Path(output_dir)
        self.path = self.folder / FILE
        own = f".{ranks.rank()}" if ranks.is_secondary() else ""
        self.own = self.folder / f"predictions{own}.jsonl"
        self.interrupted = False
        self.remaining_count, self._lock, trouble = 0, None, None
        if ranks.is_main():
            try:
                self._open({"model": f"{card.get('name')} {card.get('version')}", "weights": digest_of(weights), **(settings or {})}, anew)
            except ConfigError as error:
                trouble = error
        trouble = ranks.gather(trouble)[0]  # so that no process waits for one that has refused
        if trouble is not None:
            raise trouble
        self.done = {row["study_id"]: row.get(DIGEST) for row in self.rows()}
        self.failures = self._kept_failures()
        ranks.barrier()
        if self.done and metrics:
            remedy = "Score predictions.jsonl with `libra-monai evaluate --predictions`, or set `anew` to true."
            raise ConfigError(f"{self.path} holds drafts of an earlier start, which metrics of this one would leave out", remedy)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines that stand in the file."""
        return (row for _, row in _lines(self.path))

    def remaining(self, records: Sequence[dict[str, Any]], shard: str | None = None) -> list[dict[str, Any]]:
        """The studies still to be drafted.

        Args:
            records: of the whole run.
            shard: `i/n`: every n-th study from the i-th, counted from 0; None is all.

        Raises:
            ConfigError: a study was drafted from other files or texts, or the shard makes no sense.
        """
        first, step = _shard(shard)
        mine = list(records)[first::step]
        for record in mine:
            known = self.done.get(record["study_id"])
            if known is not None and FAILURE not in record and known != record_digest(record):
                what = f"{self.path} holds a draft of study '{record['study_id']}' from other files or texts"
                raise ConfigError(what, "Choose another output_dir, or set `anew` to true to start over.")
        left = [record for record in mine if record["study_id"] not in self.done]
        if len(left) < len(mine) and ranks.is_main():
            logger.warning("%d of %d studies are drafted already; %d remain", len(mine) - len(left), len(mine), len(left))
        self.remaining_count = len(left)
        return left

    def add(self, drafts: Sequence[ReportDraft], records: Sequence[Mapping[str, Any]]) -> None:
        """Append drafts; when this returns they survive the end of the process.

        Args:
            drafts: of one batch.
            records: of the same studies.
        """
        lines = [_line(draft, record) for draft, record in zip(drafts, records, strict=True)]
        append_jsonl(self.own, lines)

    def merge(self) -> int:
        """Take over the parts of the other processes, on the first one only; the number of studies in the file."""
        seen = {row["study_id"] for _, row in _lines(self.path)}
        for part in sorted(self.folder.glob("predictions.[0-9]*.jsonl")):
            with self.path.open("ab") as file:
                for line, row in _lines(part):
                    if row["study_id"] not in seen:
                        seen.add(row["study_id"])
                        file.write(line)
            part.unlink()
        return len(seen)

    def _open(self, settings: dict[str, Any], anew: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder / ".predictions.lock", "run")
        parts = [path for path in (self.path, *self.folder.glob("predictions.[0-9]*.jsonl")) if path.is_file()]
        if anew:
            for path in parts:
                path.unlink()
        elif any(path.stat().st_size for path in parts):
            _check_settings(self.folder, settings)
            for path in parts:
                _repair(path)
            self.merge()
        write_json(self.folder / SETTINGS, settings)

    def _kept_failures(self) -> list[Failure]:
        if not ranks.is_main():
            return []
        found = {}
        for path in sorted(self.folder.glob(f"{Path(FAILED).stem}*.jsonl")):
            for _, row in _lines(path):
                if row.get("study_id") in self.done:
                    found[row["study_id"], row.get("file")] = Failure(**row)
            path.unlink()
        return list(found.values())


def _line(draft: ReportDraft, record: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {} if draft.export_allowed else {"export_allowed": False}  # so that no later page shows the pictures
    return draft.as_json() | hidden | {DIGEST: record_digest(record)}


def record_digest(record: Mapping[str, Any]) -> str:
    """What tells two records of one identifier apart."""
    return hashlib.sha256(json.dumps(dict(record), sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest_of(weights: str | Mapping[str, str] | None) -> str | None:
    """A digest of all that stands in model folders.

    Args:
        weights: a model folder, folders by part, or None.
    """
    if weights is None:
        return None
    lines = []
    for folder in [weights] if isinstance(weights, str) else [weights[part] for part in sorted(weights)]:
        root = Path(folder)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        lines += [f"{digest([path])}  {path.relative_to(root).as_posix()}\n" for path in files] or [f"{folder}\n"]  # a hub name
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Whole lines of a file that may end in the middle of one."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            row = _parsed(line)
            if row is not None:
                yield line, row


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:  # also of text that is not UTF-8
        return None
    return row if isinstance(row, dict) and isinstance(row.get("study_id"), str) else None


def _repair(path: Path) -> None:
    """Drop what a killed process left half written; those studies are drafted again."""
    with path.open("rb") as file:
        broken = sum(_parsed(line) is None for line in file)
    if not broken:
        return
    logger.warning("%s: %d half-written line(s) dropped; those studies are drafted again", path, broken)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(line for line, _ in _lines(path))


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    remedy = "Choose another output_dir, or set `anew` to true to start over."
    try:
        before = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{folder / FILE} is of a run that {SETTINGS} does not describe", remedy) from None
    now = json.loads(json.dumps(settings))
    wrong = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if wrong:
        raise ConfigError(f"{folder / FILE} holds drafts made with another {' and '.join(wrong)}", remedy)


def _shard(shard: str | None) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    first, _, count = str(shard).partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise ConfigError(f"shard '{shard}' makes no sense", "Write i/n with i from 0 to n-1, such as 0/8.")
    return int(first), int(count)
