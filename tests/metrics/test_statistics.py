# SPDX-License-Identifier: Apache-2.0
"""Intervals and comparisons equal stored numbers, textbook formulas, and a loop that resamples texts by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from libra_monai.errors import ConfigError
from libra_monai.metrics import Bleu, RougeL, compare_metrics
from libra_monai.metrics.statistics import bootstrap, cluster_sums, compare, draws, holm

GOLDEN = json.loads((Path(__file__).parent / "golden_bootstrap.json").read_text())


def _mean(totals, n):
    return {"mean": totals[0] / n}


def test_the_interval_of_stored_scores_is_the_stored_interval():
    table = np.asarray(GOLDEN["scores"])[:, None]
    names = [f"{i:04}" for i in range(len(table))]
    low, high = bootstrap(table, names, _mean, resamples=1000, seed=12345)["mean"]
    assert [low, high] == pytest.approx(GOLDEN["ci95"], abs=1e-9)
    assert table.mean() == pytest.approx(GOLDEN["mean"], abs=1e-8)


def test_draws_in_pieces_are_those_of_one_call():
    n, resamples = 3000, 1500  # more cells than are held at once
    drawn = np.random.default_rng(7).integers(0, n, size=(resamples, n))
    wanted = np.stack([np.bincount(row, minlength=n) for row in drawn])
    assert np.array_equal(np.concatenate(list(draws(n, resamples, 7))), wanted)


def test_a_resample_of_sums_is_the_metric_of_the_resampled_texts():
    rng = np.random.default_rng(2)
    words = [f"w{i}" for i in range(12)]
    texts = [(" ".join(rng.choice(words, 9)), " ".join(rng.choice(words, 10))) for _ in range(20)]
    patients = [f"p{i % 6}" for i in range(20)]
    metric = Bleu()
    _feed(metric, texts, patients)
    values = []
    for counts in np.concatenate(list(draws(6, 50, 3))):
        chosen = [pair for pair, p in zip(texts, patients, strict=True) for _ in range(int(counts[int(p[1:])]))]
        again = Bleu()
        _feed(again, chosen, [str(i) for i in range(len(chosen))])
        values.append(again.compute()["bleu_2_coco"])
    assert metric.intervals(50, seed=3)["bleu_2_coco"] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-12)


def _feed(metric, texts, patients):
    studies = [{"study_id": str(i), "patient_id": p} for i, p in enumerate(patients)]
    metric.update([a for a, _ in texts], [b for _, b in texts], studies)


def test_clusters_are_summed_and_counted():
    sums = cluster_sums(np.array([[1.0, 2], [3, 4], [5, 6]]), ["b", "a", "b"])
    assert sums.tolist() == [[3, 4, 1], [6, 8, 2]]


def test_equal_systems_do_not_differ_and_a_clear_winner_does():
    rng = np.random.default_rng(0)
    first = rng.random((60, 1))
    names = [str(i) for i in range(60)]
    same = compare(first, first, names, _mean)["mean"]
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    other = compare(first + 0.2 + rng.normal(0, 0.05, (60, 1)), first, names, _mean)["mean"]
    assert 0 < other["low"] < other["difference"] < other["high"] and other["p"] == pytest.approx(1 / 1001)


def test_false_alarms_of_the_paired_test_are_as_rare_as_promised():
    rng = np.random.default_rng(5)
    names = [str(i // 2) for i in range(40)]  # two studies a patient
    alarms = 0
    for _ in range(200):
        base = rng.random((40, 1))
        patient = np.repeat(rng.normal(0, 0.3, (20, 1)), 2, axis=0)  # the systems differ alike within a patient
        alarms += compare(base + patient, base, names, _mean, resamples=199)["mean"]["p"] <= 0.05
    assert alarms <= 22  # 5 % of 200, and the luck of one in a thousand


def test_a_comparison_pairs_studies_by_identifier_whatever_their_order():
    a, b = RougeL(), RougeL()
    studies = [{"study_id": s} for s in "xyz"]
    a.update(["one two", "one", "three"], ["one two"] * 3, studies)
    b.update(["one", "one two"], ["one two"] * 2, [studies[1], studies[0]])
    row = compare_metrics([a], [b])["rouge_l_coco"]
    assert row["difference"] == 0 and row["n"] == 2 and row["p_holm"] == 1


def test_holm_of_a_worked_example():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_an_unknown_unit_is_named():
    from libra_monai.metrics import score_reports

    with pytest.raises(ConfigError, match="unit 'patients'.*Did you mean 'patient'"):
        score_reports(["a"], ["a"], ["bleu"], unit="patients")


def test_resampling_studies_is_narrower_than_resampling_patients():
    rng = np.random.default_rng(1)
    patient = rng.random(10)
    table = np.repeat(patient, 8)[:, None]
    by_patient = bootstrap(table, [f"{i // 8}" for i in range(80)], _mean)["mean"]
    by_study = bootstrap(table, [str(i) for i in range(80)], _mean)["mean"]
    assert np.diff(by_patient)[0] > 2 * np.diff(by_study)[0]
