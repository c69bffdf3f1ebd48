# SPDX-License-Identifier: Apache-2.0
"""What is learned from corrections: scores, orders, which studies train and which judge, and from which weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from libra_monai.apps.monailabel.learning import training_child
from libra_monai.apps.monailabel.learning.frozen import FILE, frozen_records, frozen_set, read_frozen
from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL, ReportStore
from libra_monai.apps.monailabel.learning.runs import FINISHED, find_run, halt_trainings, list_runs, model_overlay, unfinished_run
from libra_monai.apps.monailabel.learning.scoring import score_corrections
from libra_monai.apps.monailabel.learning.strategies import NOT_TRIAGE, STRATEGIES, training_order
from libra_monai.apps.monailabel.learning.training import Options, corrected_records, prepare_training
from libra_monai.apps.monailabel.learning.training_child import overrides_of
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.checkpoints import load_pretrained, save_model
from libra_monai.data import load_records
from libra_monai.errors import ConfigError, TrainingError
from tests.apps.label_site import correct, draft, site


@pytest.fixture
def learning(tmp_path, phantom, records):
    """A site where every study of the first seven patients with a prior was drafted and corrected."""
    made = site(tmp_path / "home", phantom, records)
    for image in _with_prior(records):
        draft(made, image)
        correct(made, image)
    return made


def _with_prior(records):
    return [record["study_id"] for record in records if record["prior"]][:8]


def test_corrections_are_scored_against_the_draft_they_began_from(tmp_path):
    reports = ReportStore(tmp_path)
    effusion, clear = "Small left pleural effusion.", "No pleural effusion. The lungs are clear."
    for image, first, corrected in (("a", effusion, effusion), ("b", clear, effusion)):
        reports.save(image, ORIGINAL, {"uid": f"1{image}", "findings": first})
        reports.save(image, ORIGINAL, {"uid": f"2{image}", "findings": "Cardiomegaly."})  # drafted again, and not used
        reports.save(image, CORRECTED, {"findings": corrected, "impression": None, "draft": f"1{image}", "seconds": 20})
    reports.save("c", CORRECTED, {"findings": effusion, "impression": None, "draft": None, "seconds": None})
    scores = score_corrections(reports, ["finding_f1", "rouge_l"], resamples=50)
    assert (scores["studies"], scores["without_draft"]) == (2, 1)
    rows = {row["study_id"]: row for row in scores["per_study"]}
    assert rows["a"]["finding_side_micro_f1"] == 1.0 and rows["b"]["finding_side_micro_f1"] == 0.0
    assert scores["metrics"]["finding_side_micro_f1"]["value"] == pytest.approx(2 / 3)
    assert scores["effort"]["unchanged"] == 1 and scores["effort"]["seconds"] == {"mean": 20, "median": 20, "n": 2}
    assert [row["study_id"] for row in score_corrections(reports, ["rouge_l"], ["b"])["per_study"]] == ["b"]


def test_without_names_every_registered_metric_scores_or_says_why_not(tmp_path):
    from libra_monai.metrics import build_metrics

    reports = ReportStore(tmp_path)
    reports.save("a", ORIGINAL, {"uid": "1", "findings": "Small left pleural effusion."})
    reports.save("a", CORRECTED, {"findings": "Small right pleural effusion.", "impression": None, "draft": "1", "seconds": 1})
    scores = score_corrections(reports, resamples=10)["metrics"]
    assert {metric.name for metric in build_metrics() if metric.unavailable()} <= scores.keys()
    assert {"finding_side_micro_f1", "change_micro_f1", "rouge_l_coco", "bleu_4_coco"} <= scores.keys()


def test_the_least_sure_draft_of_the_model_comes_first(tmp_path, phantom, records, tiny):
    learning = site(tmp_path, phantom, records)
    sure = {}
    for image in _with_prior(records)[:3]:
        made = tiny.report_record(learning.studies.record(image), str(phantom), evidence=True).as_json()
        learning.reports.save(image, ORIGINAL, {**made, "uid": image})
        sure[image] = sum(sentence["score"] for sentence in made["evidence"]) / len(made["evidence"])
    draft(learning, _with_prior(records)[3])  # without evidence: no place
    order = training_order("least_confident", learning.reports)
    assert [place.image for place in order] == sorted(sure, key=sure.get)
    assert [1 - place.value for place in order] == pytest.approx(sorted(sure.values()))
    correct(learning, order[0].image, draft=order[0].image)
    assert [place.image for place in training_order("least_confident", learning.reports)] == [one.image for one in order[1:]]


def test_the_draft_with_most_changes_comes_first(tmp_path):
    reports = ReportStore(tmp_path)
    texts = {
        "one": "New small left pleural effusion. Stable cardiomegaly.", "none": "Stable small left pleural effusion.",
        "two": "New small left pleural effusion. The right pneumothorax has resolved.", "alone": "New left pleural effusion.",
    }
    for image, text in texts.items():
        reports.save(image, ORIGINAL, {"uid": image, "findings": text, "prior_used": image != "alone"})
    order = training_order("most_changed", reports)
    assert [(place.image, place.value) for place in order] == [("two", 2), ("one", 1), ("none", 0)]
    assert "new, resolved" in order[0].why
    assert [place.image for place in training_order("most_changed", reports, ["none", "one", "unknown"])] == ["one", "none"]


def test_every_order_says_that_it_is_no_triage(tmp_path):
    reports = ReportStore(tmp_path)
    reports.save("a", ORIGINAL, {"uid": "1", "findings": "Clear.", "prior_used": True, "evidence": [{"score": 0.5}]})
    for name, (description, _) in STRATEGIES.items():
        assert "Training order, not triage" in description and training_order(name, reports)[0].order == NOT_TRIAGE
    with pytest.raises(ConfigError, match="Did you mean 'most_changed'"):
        training_order("most_change", reports)


def test_the_frozen_set_is_chosen_once_and_whole_patients_stay_out_of_training(learning):
    chosen = frozen_set(learning.home, learning.studies, learning.reports, "findings", learning.rules)
    assert len(chosen) == 3 and chosen == read_frozen(learning.home)
    patients = {one.patient for one in chosen}
    for record in learning.studies.records.values():  # now everything is corrected
        draft(learning, record["study_id"])
        correct(learning, record["study_id"])
    assert frozen_set(learning.home, learning.studies, learning.reports, "findings", replace(learning.rules, seed=7)) == chosen
    trained, left_out = corrected_records(learning)
    assert trained and not patients & {record["patient_id"] for record in trained}
    assert left_out["held out"] == sum(r["patient_id"] in patients for r in learning.studies.records.values())
    assert json.loads((learning.home / FILE).read_text())["rules"]["least"] == 3


def test_a_later_correction_does_not_move_the_frozen_reference(tmp_path, phantom, records):
    learning = site(tmp_path, phantom, [{**r, "findings": None} for r in records])  # a site without any report
    with pytest.raises(TrainingError, match="0 studies of 0 patients.*Correct more drafts"):
        corrected_records(learning)
    for record in records:
        draft(learning, record["study_id"])
        correct(learning, record["study_id"], "The lungs are clear.")
    chosen = frozen_set(learning.home, learning.studies, learning.reports, "findings", learning.rules)
    for one in chosen:
        correct(learning, one.image, "Large right pneumothorax.")
    judged = frozen_records(chosen, learning.studies, learning.reports, "findings")
    assert {record["findings"] for record in judged} == {"The lungs are clear."} and not any(r["statements"] for r in judged)
    path = next((learning.reports.root / CORRECTED).glob(f"{chosen[0].image}*")) / "000001.json"
    path.write_text(path.read_text().replace("clear", "dense"))
    with pytest.raises(TrainingError, match=f"frozen study {chosen[0].image} is not what it was"):
        frozen_records(chosen, learning.studies, learning.reports, "findings")


def test_a_study_is_trained_with_the_prior_its_draft_had_and_the_text_of_the_reader(learning, records):
    before, _ = corrected_records(learning)
    first, second, third = (record["study_id"] for record in before[:3])
    draft(learning, first, prior_used=False, prior_study_id=None, uid="alone")
    correct(learning, first, "Small left pleural effusion.", draft="alone")
    draft(learning, second, prior_study_id="another", uid="other")
    correct(learning, second, draft="other")
    correct(learning, third, impression="Effusion.")
    trained, left_out = corrected_records(learning)
    rows = {record["study_id"]: record for record in trained}
    assert rows[first]["findings"] == "Small left pleural effusion."
    assert not any(rows[first][name] for name in ("prior", "prior_study_id", "prior_findings", "statements", "finding_labels"))
    assert second not in rows and left_out["prior gone"] == 1
    assert rows[third]["impression"] == "Effusion." and rows[third]["prior"] == learning.studies.record(third)["prior"]


def test_a_training_is_written_down_whole_and_begins_only_when_something_is_new(learning):
    run = prepare_training(learning, Options(max_epochs=2))
    assert run.name == "libra_tiny-reader-0001" and unfinished_run(learning.home) == run and run.state() == {"state": "prepared"}
    trained = load_records(run.folder / "datalist.json", "training")
    assert {r["study_id"] for r in trained} == {r["study_id"] for r in corrected_records(learning)[0]}
    assert [r["study_id"] for r in run.frozen()] == [one.image for one in read_frozen(learning.home)]
    run.note(FINISHED)
    assert unfinished_run(learning.home) is None
    with pytest.raises(TrainingError, match="nothing was corrected since training libra_tiny-reader-0001"):
        prepare_training(learning, Options(max_epochs=2))
    correct(learning, trained[0]["study_id"], "Cardiomegaly.")
    assert prepare_training(learning, Options(max_epochs=2)).name == "libra_tiny-reader-0002"
    assert [one.name for one in list_runs(learning.home)] == ["libra_tiny-reader-0001", "libra_tiny-reader-0002"]
    with pytest.raises(ConfigError, match="Did you mean 'libra_tiny-reader-0002'"):
        find_run(learning.home, "libra_tiny-reader-002")


@pytest.mark.parametrize(
    ("request_", "said"),
    [({"max_epochs": 0}, "max_epochs is 0"), ({"learning_rate": "1"}, "learning_rate")],
)
def test_options_that_make_no_sense_are_refused(request_, said):
    with pytest.raises(ConfigError, match=said):
        Options.of(request_)


def test_a_training_goes_on_from_the_weights_of_any_model_folder(learning, tmp_path, tiny):
    pointing = tmp_path / "pointing" / "model"
    changed = load_pretrained(learning.base)
    with torch.no_grad():
        for parameter in changed.model.connector.parameters():
            parameter.add_(0.5)
    save_model(changed.model, changed.processor, pointing, {**changed.card, "name": "local"}, base=str(learning.base))
    assert not (pointing / "language" / "model.safetensors").exists()  # it only points there
    run = prepare_training(replace(learning, base=pointing))
    assert run.name == "local-reader-0001" and model_overlay(pointing) == json.loads((run.folder / "model.json").read_text())
    workflow = LibraWorkflow("train", ["stage/finetune_lora", str(run.folder / "model.json")], overrides_of(run))
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network_def")
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith("language.") and "lora" in name for name in trained)
    own = dict(network.connector.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in changed.model.connector.named_parameters())
    assert any(not torch.equal(own[name], value) for name, value in tiny.model.connector.named_parameters())


def test_a_folder_that_monai_would_misread_is_refused_before_training(tmp_path, phantom, records):
    learning = site(tmp_path / "ward#3", phantom, records)
    for image in _with_prior(records):
        draft(learning, image)
        correct(learning, image)
    with pytest.raises(ConfigError, match="contains '#'"):
        prepare_training(learning)
    assert list_runs(learning.home) == []


def test_pictures_that_were_fetched_for_a_while_are_kept_for_training_and_judging(tmp_path, phantom, records):
    home = tmp_path / "home"
    shutil.copytree(phantom, home / "fetched")
    learning = site(home, home / "fetched", records)
    for image in _with_prior(records):
        draft(learning, image)
        correct(learning, image)
    run = prepare_training(learning)
    shutil.rmtree(home / "fetched")  # the app forgets them
    used = [*load_records(run.folder / "datalist.json", "training"), *run.frozen()]
    assert all((Path(run.root) / record[view]).stat().st_size for record in used for view in ("current", "prior") if record[view])
    assert {record["study_id"] for record in run.frozen()} <= set(_with_prior(records))  # others were not even opened


def test_a_frozen_study_that_is_gone_is_named_before_anything_is_trained(learning):
    chosen = frozen_set(learning.home, learning.studies, learning.reports, "findings", learning.rules)
    del learning.studies.records[chosen[1].image]
    with pytest.raises(TrainingError, match=f"frozen study {chosen[1].image} is gone. Restore it"):
        prepare_training(learning)
    assert list_runs(learning.home) == []


@pytest.mark.parametrize("how", ["parent gone", "server ends", "abandoned"])
def test_the_process_of_a_training_is_asked_to_end_and_not_by_the_keyboard(learning, monkeypatch, how):
    run, asked = prepare_training(learning), threading.Event()
    there, here = os.pipe()
    monkeypatch.setattr(training_child, "_EVERY", 0.04)
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        with open(there) as pipe:
            monkeypatch.setattr("sys.stdin", pipe)
            halt_trainings(learning.home)  # of a server before
            training_child._end_when_asked(run)
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked.wait(0.2)
            {"parent gone": lambda: os.close(here), "server ends": lambda: halt_trainings(learning.home), "abandoned": run.abandon}[how]()
            assert asked.wait(10)
            run.abandon()
            if how != "parent gone":
                os.close(here)
            for thread in [one for one in threading.enumerate() if one.name == "asked to end"]:
                thread.join(20)  # each has sent its signal
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def test_the_tasks_of_monai_label_do_what_the_functions_do(learning, capsys):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")
    from libra_monai.apps.monailabel.learning.scoring import scoring_methods
    from libra_monai.apps.monailabel.learning.strategies import strategies
    from libra_monai.apps.monailabel.learning.training import trainers

    scored = scoring_methods(learning.reports, learning.studies.record)["reports"]({"metrics": ["rouge_l"]}, None)
    assert scored["studies"] == 8 and len(scored["per_study"]) == 8
    orders = strategies(learning.reports, learning.studies.ids)
    assert all("not triage" in order.info()["description"] for order in orders.values())
    fresh = orders["most_changed"]({}, None)  # everything drafted is corrected
    assert fresh["order"] == NOT_TRIAGE and learning.reports.latest(fresh["id"], ORIGINAL) is None
    draft(learning, fresh["id"], "New left pleural effusion.", prior_used=True)
    assert orders["most_changed"]({}, None)["id"] == fresh["id"] and orders["most_changed"]({}, None)["weight"] == 1
    trainer = trainers(learning)["reports"]
    assert trainer.info()["config"]["max_epochs"] == Options().max_epochs and trainer.stats() == {}
    run = prepare_training(learning)
    run.note("failed", error="the disk is full")
    assert trainer.stats() == {run.name: {"state": "failed", "error": "the disk is full"}}


def test_a_study_that_was_corrected_without_a_draft_has_no_place_in_an_order(tmp_path):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")
    from libra_monai.apps.monailabel.learning.strategies import strategies

    reports = ReportStore(tmp_path)
    reports.save("one", CORRECTED, {"findings": "Clear."})
    order = strategies(reports, lambda: ["one", "two"])["least_confident"]
    assert order({}, None)["id"] == "two"
    reports.save("two", CORRECTED, {"findings": "Clear."})
    assert order({}, None) == {}


def test_patients_with_a_prior_are_frozen_first_since_controls_are_about_priors(learning):
    chosen = frozen_set(learning.home, learning.studies, learning.reports, "findings", replace(learning.rules, least=5, most=9, share=0.3))
    compared = [one.patient for one in chosen if learning.studies.record(one.image)["prior"]]
    assert {one.patient for one in chosen} == set(compared)
