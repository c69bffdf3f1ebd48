# SPDX-License-Identifier: Apache-2.0
"""What holds for every metric: odd texts, missing weights, joined ranks, texts by study."""

from __future__ import annotations

import csv
import math

import pytest

from libra_monai import registry
from libra_monai.errors import ConfigError
from libra_monai.metrics import Bleu, ReportMetric, RougeL, build_metrics, per_study_rows, score_reports, summarise, write_table

STUDIES = [{"study_id": s, "patient_id": s[0]} for s in ("a1", "a2", "b1")]
PAIRS = (["clear lungs", "", "left effusion"], ["clear lungs", "no edema", "right effusion"])


class NeedsWeights(RougeL):
    def unavailable(self):
        return "the file weights.bin is not there"


def test_a_metric_without_its_weights_is_skipped_with_the_reason():
    scores = score_reports(*PAIRS, metrics=[NeedsWeights(), "bleu"], studies=STUDIES)
    assert scores["needs_weights"] == {"skipped": "the file weights.bin is not there"}
    assert "bleu_1_coco" in scores


@pytest.mark.parametrize("odd", [None, math.nan, "", "   ", "\ud800 lung", "‮ﬁne 👩‍⚕️ naïve", "\x00\u2028"])
def test_odd_texts_have_defined_scores_everywhere(odd):
    scores = score_reports([odd, "clear"], ["clear", odd], profile=None, resamples=20)
    for name, score in scores.items():
        assert "skipped" in score or math.isfinite(score["value"]), name


def test_texts_of_200_000_letters_are_scored():
    long = "Small left pleural effusion, unchanged. " * 5000
    scores = score_reports([long, "Clear."], ["Clear lungs.", long], resamples=20)
    assert all("skipped" in score or math.isfinite(score["value"]) for score in scores.values())


def test_no_reference_at_all_gives_no_values():
    assert all("skipped" in score for score in score_reports(["a"], [None]).values())


ALONE = [metric.name for metric in build_metrics()]


@pytest.mark.parametrize("name", ALONE)
def test_rows_of_ranks_join_to_the_value_of_one_process(name):
    alone, first, second = (registry.build("metric", name) for _ in range(3))
    if alone.unavailable():
        pytest.skip(alone.unavailable())
    alone.update(*PAIRS, STUDIES)
    for rank, kept in ((first, slice(0, 2)), (second, slice(1, 3))):  # the sampler repeated study a2
        rank.update(*(texts[kept] for texts in PAIRS), STUDIES[kept])
    first.join([first.state(), second.state()])
    assert first.compute() == pytest.approx(alone.compute(), abs=1e-12)
    assert first.study_ids == alone.study_ids and first.clusters == alone.clusters
    first.join([first.state(), first.state()])  # once more changes nothing
    assert len(first.rows) == 3


def test_a_repeated_study_without_reference_is_dropped_once():
    ranks = [Bleu(), Bleu()]
    for rank in ranks:
        rank.update(["a"], [None], STUDIES[:1])
    ranks[0].join([rank.state() for rank in ranks])
    assert ranks[0].dropped == 1


def test_texts_by_study_may_come_in_any_order_and_number():
    by_study = score_reports({"x": "a b", "y": "c", "q": "-"}, {"y": "c", "x": "a b", "z": "-"}, ["rouge_l"])
    assert by_study["rouge_l_coco"]["value"] == 1 and by_study["rouge_l_coco"]["n"] == 2
    with pytest.raises(ConfigError, match="no study has both"):
        score_reports({"x": "a"}, {"y": "a"}, ["rouge_l"])


def test_the_libra_profile_scores_after_libras_cleaning():
    scores = score_reports(["No edema-like change."], ["no edema like change"], profile="libra")
    assert scores["rouge_l_f1"]["value"] == 1 and scores["bleu_4_13a"]["signature"].endswith("libra_13a")
    with pytest.raises(ConfigError, match="profile 'libre'.*Did you mean 'libra'"):
        build_metrics("libre")


def test_names_are_the_registered_ones():
    assert {*ALONE, "function"} == set(registry.names("metric"))  # which needs to be told its function
    assert NeedsWeights().name == "needs_weights"


def test_the_table_of_studies_has_every_value_and_no_formulas(tmp_path):
    metrics = [Bleu(), RougeL()]
    studies = [{"study_id": "=1+1", "patient_id": "p"}, *STUDIES[1:]]
    for metric in metrics:
        metric.update(*PAIRS, studies)
    write_table(tmp_path / "t.csv", per_study_rows(metrics, {"a2": {"prior": "yes"}}))
    rows = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert [row["study_id"] for row in rows] == ["'=1+1", "a2", "b1"]
    assert rows[1]["prior"] == "yes" and float(rows[1]["rouge_l_coco"]) == 0 and rows[2]["patient_id"] == "b"


class Share(ReportMetric):
    """Share of drafts that say `yes` where the reference does; undefined where none does."""

    def statistics(self, prediction, reference, study):
        return [float("yes" in prediction and "yes" in reference), float("yes" in reference)]

    def corpus(self, totals, n):
        return {"share": totals[0] / totals[1] if totals[1] else float("nan")}


def test_an_undefined_value_is_left_out_not_zero():
    metric = Share()
    metric.update(["yes"], ["no"], STUDIES[:1])
    assert summarise([metric]) == {} and metric.per_study() == [{"study_id": "a1"}]
