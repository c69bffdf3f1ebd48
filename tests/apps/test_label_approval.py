# SPDX-License-Identifier: Apache-2.0
"""New weights are served only after approval, and only if they are no worse; one command takes them back."""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from libra_monai import paths
from libra_monai.apps.monailabel.learning import approval, comparing, decide
from libra_monai.apps.monailabel.learning.comparing import Tolerance, compare_tables
from libra_monai.apps.monailabel.learning.reports import ReportStore
from libra_monai.apps.monailabel.learning.runs import FINISHED
from libra_monai.apps.monailabel.learning.training import Options, prepare_training
from libra_monai.apps.monailabel.server.places import home_of
from libra_monai.apps.monailabel.server.service import DraftService
from libra_monai.checkpoints import load_pretrained, save_model
from libra_monai.errors import ConfigError, ModelError, TrainingError
from tests.apps.label_site import correct, draft, site

QUICK = Tolerance(controls=("swapped",))
BASE = Path(paths.tiny_model()).resolve()


@pytest.fixture(scope="module")
def judged(tmp_path_factory, phantom, records):
    """A site with three candidates: `0001` is as good as the base, `0002` writes nonsense, `0003` has not ended."""
    studies = tmp_path_factory.mktemp("site")
    learning = site(home_of(studies), phantom, records)
    spoilt = load_pretrained(BASE)
    with torch.no_grad():
        spoilt.model.language.embed.weight.mul_(-1)
    for number in (1, 2, 3):
        for image in [record["study_id"] for record in records if record["prior"]][: 6 + number]:
            draft(learning, image)
            correct(learning, image)
        run = prepare_training(learning, Options())
        if number < 3:
            model = load_pretrained(BASE) if number == 1 else spoilt
            save_model(model.model, model.processor, run.model, {**model.card, "name": run.name})
            run.note(FINISHED)
    approval.compare(learning.home, "libra_tiny-reader-0001", QUICK)  # measures the base and the first
    return studies


@pytest.fixture
def studies(judged, tmp_path):
    """A copy of that site; what was measured there is not measured again."""
    shutil.copytree(judged, tmp_path / "studies")
    return tmp_path / "studies"


def _approve(studies, name="libra_tiny-reader-0001", **more):
    return approval.approve(home_of(studies), name, QUICK, **more)


def test_a_candidate_that_is_no_worse_is_served_and_rollback_restores_the_former_weights(studies):
    home = home_of(studies)
    assert approval.served_folder(home, BASE) == BASE
    before = comparing.identity(BASE)
    decision = _approve(studies, by="Dr A")
    assert decision["what"] == "approved" and all(check["passed"] for check in decision["checks"]) and decision["studies"] == 3
    served = approval.served_folder(home, BASE)
    assert served.parent.name == "libra_tiny-reader-0001" and load_pretrained(served).card["name"] == "libra_tiny-reader-0001"
    with pytest.raises(ConfigError, match="is served already"):
        _approve(studies)
    assert approval.rollback(home, "Dr B")["name"] == "libra_tiny"
    assert approval.served_folder(home, BASE) == BASE and comparing.identity(BASE) == before
    with pytest.raises(ConfigError, match="nothing to roll back to"):
        approval.rollback(home)
    _approve(studies)
    history = approval.status(home)["history"]
    assert [(one["what"], one["by"]) for one in history] == [("approved", "Dr A"), ("rolled back", "Dr B"), ("approved", "")]


def test_a_worse_candidate_is_refused_with_the_reason_and_what_was_served_stays(studies):
    home = home_of(studies)
    _approve(studies)
    with pytest.raises(ModelError, match=r"0002 is not served: finding_side_micro_f1: 1\.000 -> 0\.\d+, beyond the tolerance of 0\.020"):
        _approve(studies, "libra_tiny-reader-0002")
    assert approval.status(home)["served"] == "libra_tiny-reader-0001"
    event = approval.status(home)["history"][-1]
    assert event["what"] == "refused" and event["before"] == "libra_tiny-reader-0001" and len(event["reasons"]) >= 2
    assert event["tolerance"]["scores"]["finding_side_micro_f1"] == 0.02


def test_a_model_is_measured_once_on_a_frozen_set(studies, monkeypatch):
    loaded = []
    monkeypatch.setattr(comparing, "load_pretrained", lambda folder, **more: loaded.append(folder) or load_pretrained(folder, **more))
    approval.compare(home_of(studies), "libra_tiny-reader-0001", QUICK)
    assert loaded == []
    path = home_of(studies) / "trainings" / "libra_tiny-reader-0001" / "last" / "report_model.json"
    path.write_text(path.read_text().replace('"reader"', '"Reader"') + " ")  # other bytes are another model
    approval.compare(home_of(studies), "libra_tiny-reader-0001", QUICK)
    assert len(loaded) == 1


def test_a_training_that_has_not_ended_and_one_that_is_unknown_cannot_be_approved(studies, tmp_path):
    with pytest.raises(ConfigError, match="0003 has not ended"):
        _approve(studies, "libra_tiny-reader-0003")
    with pytest.raises(ConfigError, match="'nine' does not exist"):
        _approve(studies, "nine")
    with pytest.raises(ConfigError, match="there is no candidate"):
        approval.approve(tmp_path / "empty")


def test_a_frozen_study_that_is_gone_stops_the_approval(studies, tmp_path):
    folder = home_of(studies) / "trainings" / "libra_tiny-reader-0001"
    request = json.loads((folder / "request.json").read_text())
    (folder / "request.json").write_text(json.dumps({**request, "root": str(tmp_path)}))
    shutil.rmtree(home_of(studies) / "measured")
    with pytest.raises((TrainingError, ConfigError), match="frozen study|could be drafted"):
        _approve(studies)
    assert approval.status(home_of(studies))["history"] == []


def test_former_weights_that_were_changed_are_not_served_again(studies):
    home = home_of(studies)
    _approve(studies)
    content = json.loads((home / "served.json").read_text())
    again = {"name": "libra_tiny-reader-0002", "folder": "trainings/libra_tiny-reader-0002/last", "identity": "x"}
    (home / "served.json").write_text(json.dumps({**content, "served": [*content["served"], again]}))
    path = home / "trainings" / "libra_tiny-reader-0001" / "last" / "processor.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ModelError, match="have changed since they were approved"):
        approval.rollback(home)
    assert approval.served_folder(home, BASE).parent.name == "libra_tiny-reader-0002"


def test_a_server_started_with_other_weights_serves_those(studies, tmp_path):
    _approve(studies)
    shutil.copytree(BASE, tmp_path / "other")
    assert approval.served_folder(home_of(studies), tmp_path / "other") == tmp_path / "other"
    (home_of(studies) / "served.json").write_text("{")
    with pytest.raises(ConfigError, match="served.json cannot be read"):
        approval.served_folder(home_of(studies), BASE)


def test_a_running_service_follows_decisions_of_another_process(studies):
    stop, service = threading.Event(), DraftService(BASE)
    watch = approval.follow(home_of(studies), BASE, service.swap, stop, every=0.02)
    _approve(studies)
    _until(lambda: service.model["name"] == "libra_tiny-reader-0001")
    approval.rollback(home_of(studies))
    _until(lambda: service.model["name"] == "libra_tiny")
    stop.set()
    watch.join(10)
    service.close()
    assert not watch.is_alive()


def _until(what):
    limit = time.monotonic() + 60
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture(scope="module")
def table(judged):
    """The control table of the base on the frozen set."""
    return json.loads(next((home_of(judged) / "measured").glob("*.json")).read_text())


def test_a_model_is_no_worse_than_itself(table):
    checks = compare_tables(table, table, Tolerance())
    assert checks and all(check.passed and check.worse_by == 0 for check in checks)
    assert {"finding_side_micro_f1", "change_micro_f1", "rouge_l_coco", "swapped: drafts that change"} <= {check.name for check in checks}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("baseline", "finding_side_micro_f1", "value"), 0.5, "finding_side_micro_f1"),
        (("baseline", "change_micro_f1"), {}, "change_micro_f1"),  # no longer defined
        (("controls", "swapped", "drafts_changed"), 0.0, "swapped: drafts that change"),
        (("controls", "swapped", "claims", "flipped"), None, "swapped: claims that turn"),
        (("controls", "brighter", "metrics", "change_micro_f1", "value"), 0.7, "brighter: change_micro_f1"),
        (("controls", "duplicated", "claims", "stable"), 0.2, "duplicated: claims that say unchanged"),
        (("baseline_claims", "without_prior", "drafts_with_claims"), 0.9, "drafts without a prior that claim a change"),
        (("answers", "prior", "answer"), "no", "looks at the prior"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_gets_worse_is_named(table, path, value, named):
    row = {"n": 20, "drafts_changed": 0.95, "claims": {"before": 20, "after": 20, "directed": 20, "flipped": 0.8, "stable": 0.9}}
    served = copy.deepcopy(table) | {"answers": {"prior": {"answer": "yes"}, "picture": {"answer": "cannot tell"}}}
    served["controls"] = {name: {**copy.deepcopy(row), "drafts": "should change"} for name in ("swapped", "duplicated")}
    served["controls"]["brighter"] = {**copy.deepcopy(row), "drafts": "should stay", "metrics": {"change_micro_f1": {"value": 0.9}}}
    served["baseline_claims"]["without_prior"] = {"n": 20, "drafts_with_claims": 0.0}
    worse = copy.deepcopy(served)
    place = worse
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert [check.name for check in compare_tables(served, worse, Tolerance()) if not check.passed] == [named]
    assert all(check.passed for check in compare_tables(worse, served, Tolerance()) if check.name != "swapped: claims that turn" or value is not None)


def test_controls_that_the_set_says_nothing_of_are_named(table):
    silent = copy.deepcopy(table) | {"controls": {"swapped": {"drafts": "should change", "n": 0, "skipped": "no study"}}}
    assert comparing.not_judged(silent) == ["swapped"] and comparing.not_judged(table) == []
    assert all(check.passed for check in compare_tables(silent, silent, Tolerance()))


def test_a_share_of_few_drafts_may_differ_by_one_of_them(table):
    served = copy.deepcopy(table) | {"controls": {"swapped": {**table["controls"]["swapped"], "n": 4, "drafts_changed": 1.0}}}
    worse = copy.deepcopy(served)
    for changed, passed in ((0.75, True), (0.5, False)):
        worse["controls"]["swapped"]["drafts_changed"] = changed
        found = {check.name: check.passed for check in compare_tables(served, worse, Tolerance())}
        assert found["swapped: drafts that change"] is passed


def _run(studies, *words):
    parser = argparse.ArgumentParser()
    parser.add_argument("word")
    parser.add_argument("--studies")
    decide.arguments(parser)
    args = parser.parse_args([*words, "--studies", str(studies)])
    return decide.run(args.word, args)


def test_the_words_of_the_command_line(studies, capsys, monkeypatch):
    monkeypatch.setattr(comparing.Tolerance, "__init__", _only_swapped(comparing.Tolerance.__init__))
    assert _run(studies, "status") == 0
    shown = capsys.readouterr().out
    assert "served: the weights the server was started with" in shown and "0003: prepared" in shown and "frozen set: 3 studies" in shown
    assert _run(studies, "abandon") == 0 and "0003 is given up" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no training has begun"):
        _run(studies, "abandon")
    assert _run(studies, "approve", "--candidate", "libra_tiny-reader-0001", "--by", "Dr A", "--judge-on", "cpu") == 0
    assert "serving libra_tiny-reader-0001 instead of libra_tiny, judged on 3 frozen studies" in capsys.readouterr().out
    with pytest.raises(ModelError, match="0002 is not served"):
        _run(studies, "approve", "--judge-on", "cpu")
    assert _run(studies, "rollback", "--by", "Dr B") == 0 and "serving libra_tiny again" in capsys.readouterr().out
    _run(studies, "status")
    assert "Dr B: libra_tiny rolled back" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--tolerance is 3"):
        _run(studies, "approve", "--tolerance", "3")


def test_a_word_about_a_folder_that_no_server_has_used_makes_nothing(tmp_path):
    for word in ("status", "approve", "rollback", "abandon"):
        with pytest.raises(ConfigError, match="no label server has kept anything"):
            _run(tmp_path / "typing error", word)
    assert list(tmp_path.iterdir()) == []


def _only_swapped(made):
    """A constructor that runs one control instead of ten."""

    def init(self, *args, **more):
        made(self, *args, **{**more, "controls": ("swapped",)})

    return init


def test_files_of_the_app_stand_in_the_studies_folder_or_apart_for_a_server(tmp_path):
    assert home_of(tmp_path) == tmp_path.resolve() / ".libra"
    one, other = home_of("http://127.0.0.1:8042/dicom-web/"), home_of("http://127.0.0.1:8043/dicom-web")
    assert one == home_of("http://127.0.0.1:8042/dicom-web") and one != other and one.parent == Path.home() / ".libra"
    assert ReportStore(one / "reports").ids("original") == []


def test_a_frozen_set_without_anything_to_find_approves_nothing():
    same = [comparing.Check(name, value, value, 0.0, 0.02) for name, value in (("finding_side_micro_f1", 0.0), ("rouge_l_coco", 0.4))]
    (reason,) = approval.Comparison(same, []).reasons
    assert "cannot judge" in reason
    assert approval.Comparison([comparing.Check("finding_side_micro_f1", 0.5, 0.5, 0.0, 0.02)], []).reasons == []
