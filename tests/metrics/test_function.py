# SPDX-License-Identifier: Apache-2.0
"""A user's function is a metric like any other: mean, interval, per study, and undefined where it says so."""

from __future__ import annotations

import pytest

from libra_monai.errors import ConfigError
from libra_monai.metrics import FunctionMetric, score_reports
from libra_monai.registry import build

CODE = '''
def same_length(prediction, reference, study):
    return float(len(prediction) == len(reference))


def several(prediction, reference, study):
    return {"words": len(prediction.split()), "with_prior": 1.0 if study.get("prior") else None}


def wrong(prediction, reference, study):
    return "good"
'''
STUDIES = [{"study_id": "a", "prior": "x.png"}, {"study_id": "b"}, {"study_id": "c"}]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return str(tmp_path / "mine.py")


def _metric(function, **options):
    return build("metric", "function", function=function, **options)


def test_its_value_is_the_mean_over_studies_with_an_interval(file):
    metric = _metric(f"{file}:same_length")
    metric.update(["ab", "abc", "ab"], ["cd", "c", "xy"], STUDIES)
    assert metric.compute() == {"same_length": pytest.approx(2 / 3)}
    low, high = metric.intervals(resamples=200)["same_length"]
    assert low < 2 / 3 < high
    assert [row["same_length"] for row in metric.per_study()] == [1.0, 0.0, 1.0]


def test_several_values_and_studies_without_one(file):
    metric = _metric(f"{file}:several")
    metric.update(["a b", "a", "a b c"], ["x", "y", "z"], STUDIES)
    assert metric.compute() == {"words": 2.0, "with_prior": 1.0}
    assert "with_prior" not in metric.per_study()[1]


def test_it_joins_other_processes_and_the_other_metrics(file):
    metric = _metric(f"{file}:same_length", value="as_long")
    assert metric.name == "as_long"
    parts = [FunctionMetric(metric.function, "as_long") for _ in range(2)]
    parts[0].update(["ab"], ["cd"], STUDIES[:1])
    parts[1].update(["a", "ab"], ["cd", "cd"], STUDIES[1:])
    metric.join([part.state() for part in parts])
    assert metric.compute() == {"as_long": pytest.approx(2 / 3)}
    scores = score_reports(["ab"], ["cd"], metrics=[_metric(f"{file}:same_length")])
    assert scores["same_length"]["value"] == 1.0


def test_lower_is_better_is_said_once(file):
    metric = _metric(f"{file}:same_length", lower=True)
    assert "same_length" in metric.lower_is_better and not _metric(f"{file}:same_length").lower_is_better


@pytest.mark.parametrize(
    ("where", "message"),
    [("{}:sum_length", "sum_length"), ("no_such_module.score", "no_such_module"), ("score", "names no module"), ("/x/y.py:score", "does not exist")],
)
def test_what_cannot_be_found_is_named(file, where, message):
    with pytest.raises(ConfigError, match=message):
        _metric(where.format(file))


def test_what_is_no_number_is_refused(file):
    with pytest.raises(ConfigError, match="'good'"):
        _metric(f"{file}:wrong").update(["a"], ["b"], STUDIES[:1])
