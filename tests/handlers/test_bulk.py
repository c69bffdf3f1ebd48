# SPDX-License-Identifier: Apache-2.0
"""Bulk drafting: appended, stopped, gone on with, never twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from ignite.engine import Events
from PIL import Image

from libra_monai.apps.main import main
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.errors import ConfigError, Interrupted, StudiesFailed, innermost
from libra_monai.handlers import DraftLedger, FailureLog
from libra_monai.handlers.ledger import digest_of

CARD = {"name": "m", "version": "1"}


def _options(phantom, out, **more):
    where = {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out)}
    return {**where, "limit": 5, "batch_size": 1, "decoding": {"max_new_tokens": 4}, "formats": ["text"], **more}


def _lines(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def _run(options, at=None, kind=None, seen=None):
    """A run that sends itself a signal when a batch begins, and notes the studies it drafts."""
    workflow = LibraWorkflow("inference", [], options)
    workflow.initialize()
    try:
        evaluator = workflow.parser.get_parsed_content("evaluator")
        if seen is not None:
            evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.extend(engine.state.batch.study_ids))
        if at:
            evaluator.add_event_handler(Events.ITERATION_STARTED(once=at), lambda engine: os.kill(os.getpid(), kind))
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:  # as `run_all` does
        raise innermost(error) or error from error


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_is_done_and_the_same_command_drafts_only_the_rest(phantom, tmp_path, kind):
    first, second, third = [], [], []
    before = signal.getsignal(kind)
    with pytest.raises(Interrupted, match="The same command goes on"):
        _run(_options(phantom, tmp_path), 2, kind, first)
    assert len(first) == 1 and [row["study_id"] for row in _lines(tmp_path)] == first
    assert signal.getsignal(kind) == before
    _run(_options(phantom, tmp_path), seen=second)
    assert len(second) == 4 and [row["study_id"] for row in _lines(tmp_path)] == first + second
    assert len(list((tmp_path / "drafts").glob("*.txt"))) == 5
    assert "5 studies" in (tmp_path / "report.html").read_text()
    content = (tmp_path / "predictions.jsonl").read_bytes()
    _run(_options(phantom, tmp_path), seen=third)
    assert not third and (tmp_path / "predictions.jsonl").read_bytes() == content


def test_an_interrupted_command_says_so_by_its_exit_status(phantom, tmp_path, monkeypatch, capsys):
    from libra_monai.handlers import BulkWriter

    collect = BulkWriter._collect
    monkeypatch.setattr(BulkWriter, "_collect", lambda self, engine: (collect(self, engine), os.kill(os.getpid(), signal.SIGTERM)))
    words = [word for name, value in _options(phantom, tmp_path).items() for word in (f"--{name}", json.dumps(value))]
    assert main(["run", "inference", *words]) == 130
    assert "stopped when asked" in capsys.readouterr().err and len(_lines(tmp_path)) == 1


def test_a_half_written_line_is_dropped_and_its_study_drafted_again(phantom, tmp_path):
    _run(_options(phantom, tmp_path, limit=3))
    path = tmp_path / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    again = []
    _run(_options(phantom, tmp_path, limit=3), seen=again)
    assert len(again) == 1 and path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decoding": {"max_new_tokens": 5}}, "another decoding"),
        ({"prompt": "impression"}, "another prompt"),
        ({"formats": ["json"]}, "another formats"),
    ],
)
def test_other_settings_are_refused_or_start_anew_when_asked(phantom, tmp_path, change, says):
    _run(_options(phantom, tmp_path, limit=1))
    with pytest.raises(ConfigError, match=f"{says}.*`anew`"):
        _run(_options(phantom, tmp_path, limit=1, **change))
    again = []
    _run(_options(phantom, tmp_path, limit=1, anew=True, **change), seen=again)
    assert len(again) == len(_lines(tmp_path)) == 1


def test_one_identifier_for_other_files_is_refused(phantom, tmp_path):
    _run(_options(phantom, tmp_path / "out", limit=1))
    content = json.loads((phantom / "datalist.json").read_text())
    content["test"][0]["current"] = content["test"][1]["current"]
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="from other files"):
        _run(_options(phantom, tmp_path / "out", limit=1, datalist=str(tmp_path / "other.json")))


def test_shards_share_the_studies_out(phantom, tmp_path):
    found = []
    for number in range(2):
        _run(_options(phantom, tmp_path / str(number), shard=f"{number}/2"), seen=found)
    _run(_options(phantom, tmp_path / "all"))
    assert sorted(found) == sorted(row["study_id"] for row in _lines(tmp_path / "all")) and len(set(found)) == 5
    with pytest.raises(ConfigError, match="0/8"):
        _run(_options(phantom, tmp_path / "x", shard="2/2"))


def test_a_study_that_failed_is_tried_again(phantom, tmp_path):
    content = json.loads((phantom / "datalist.json").read_text())
    content["test"][0]["current"] = "images/missing.dcm"
    (tmp_path / "bad.json").write_text(json.dumps(content))
    for _ in range(2):
        with pytest.raises(StudiesFailed, match="1 of the studies"):
            _run(_options(phantom, tmp_path / "out", limit=2, datalist=str(tmp_path / "bad.json")))
    assert len((tmp_path / "out" / "failed.jsonl").read_text().splitlines()) == 1


def test_a_format_that_failed_is_written_by_the_next_start_without_drafting_again(phantom, tmp_path):
    studies, out = tmp_path / "studies", tmp_path / "out"
    shutil.copytree(phantom, studies)
    file = studies / json.loads((studies / "datalist.json").read_text())["test"][1]["current"]
    dicom = file.read_bytes()
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(file, format="PNG")  # SR needs a DICOM header
    options = _options(studies, out, limit=2, formats=["text", "sr"])
    for wanted in (2, 0):  # the second start cannot either
        seen = []
        with pytest.raises(StudiesFailed, match="1 of the studies.*DICOM"):
            _run(options, seen=seen)
        assert len(seen) == wanted
        assert len((out / "failed.jsonl").read_text().splitlines()) == 1 and len(list((out / "drafts").glob("*.dcm"))) == 1
    file.write_bytes(dicom)
    seen, before = [], (out / "predictions.jsonl").read_bytes()
    _run(options, seen=seen)
    assert not seen and (out / "predictions.jsonl").read_bytes() == before and not (out / "failed.jsonl").exists()
    assert len(list((out / "drafts").glob("*.dcm"))) == 2


def test_the_page_of_a_restarted_run_shows_all_studies_of_the_folder(phantom, tmp_path):
    with pytest.raises(Interrupted):
        _run(_options(phantom, tmp_path / "out"), 2, signal.SIGINT)
    _run(_options(phantom, tmp_path / "out"))
    _run(_options(phantom, tmp_path / "once"))
    pages = [(tmp_path / name / "report.html").read_text() for name in ("out", "once")]
    assert pages[0] == pages[1] and pages[0].count("<h3>") == 5 and "data:image/png" in pages[0]


@pytest.mark.parametrize("refill", [False, True])
def test_a_prompt_that_is_too_long_ends_its_study_and_neither_its_batch_nor_the_run(phantom, tmp_path, refill):
    content = json.loads((phantom / "datalist.json").read_text())
    content["test"][1]["indication"] = "dyspnea " * 900
    (tmp_path / "long.json").write_text(json.dumps(content))
    with pytest.raises(StudiesFailed, match="1 of the studies"):
        _run(_options(phantom, tmp_path / "out", batch_size=4, datalist=str(tmp_path / "long.json"), refill=refill))
    ids = [study["study_id"] for study in content["test"][:5]]
    failed = json.loads((tmp_path / "out" / "failed.jsonl").read_text())
    assert failed["study_id"] == ids[1] and failed["stage"] == "draft" and failed["remedy"]
    assert re.search(r"the prompt has \d{4} tokens .* the language model 2048 positions", failed["reason"])
    drafted = {row["study_id"]: row["prediction"] for row in _lines(tmp_path / "out")}
    assert set(drafted) == {*ids} - {ids[1]}
    _run(_options(phantom, tmp_path / "plain"))  # one by one
    assert all(drafted.get(row["study_id"], row["prediction"]) == row["prediction"] for row in _lines(tmp_path / "plain"))


def test_parts_of_killed_processes_are_taken_over_once(tmp_path):
    DraftLedger(tmp_path, CARD)
    rows = [json.dumps({"study_id": name, "record": "x"}) for name in "abc"]
    (tmp_path / "predictions.jsonl").write_text(f"{rows[0]}\n{rows[1]}\n")
    (tmp_path / "predictions.1.jsonl").write_text(f"{rows[1]}\n{rows[2]}\n" + rows[0][:9])
    ledger = DraftLedger(tmp_path, CARD)
    assert (tmp_path / "predictions.jsonl").read_text().splitlines() == rows and set(ledger.done) == set("abc")
    assert not (tmp_path / "predictions.1.jsonl").exists()


def test_two_runs_in_one_folder_at_a_time_are_refused(tmp_path):
    code = f"from libra_monai.files import hold; f = hold({str(tmp_path / '.predictions.lock')!r}, 'run'); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(ConfigError, match="another run writes"):
            DraftLedger(tmp_path, CARD)
    finally:
        other.kill()  # however it ends
        other.wait()
    DraftLedger(tmp_path, CARD)


def test_other_weights_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "w").write_bytes(b"0" * 4_000_000)
    one = digest_of(str(tmp_path / "a"))
    (tmp_path / "a" / "w").write_bytes(b"0" * 3_999_999 + b"1")
    assert digest_of(str(tmp_path / "a")) != one == one and digest_of({"connector": str(tmp_path / "a")}) is not None


def test_failures_are_appended_not_rewritten(tmp_path):
    from libra_monai.types import Failure

    log = FailureLog(tmp_path)
    log.add([Failure("a", "f", "pixels", "r", "m")], logged=False)
    node = log.path.stat().st_ino
    log.add([Failure("b", "f", "pixels", "r", "m"), Failure("a", "f", "pixels", "r", "m")], logged=False)
    assert log.path.stat().st_ino == node and len(log.path.read_text().splitlines()) == 2


def test_weights_that_differ_in_one_byte_anywhere_are_other_weights(tmp_path):
    digests = set()
    for place in (None, 0, 2_500_000, 4_999_999):
        folder = tmp_path / str(place) / "language"
        folder.mkdir(parents=True)
        content = bytearray(5_000_000)
        if place is not None:
            content[place] = 1
        (folder / "model.safetensors").write_bytes(content)
        digests.add(digest_of(str(folder.parent)))
    assert len(digests) == 4
