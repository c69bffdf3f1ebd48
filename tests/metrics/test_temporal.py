# SPDX-License-Identifier: Apache-2.0
"""Words of change are counted as published, and the mean does not stand alone."""

from __future__ import annotations

import pytest

from libra_monai.metrics import TemporalF1, score_reports

PAIRS = [
    ("The effusion has worsened.", "Worsened effusion."),
    ("Lungs are clear.", "No acute process."),
    ("Heart is stable.", "Lungs are clear."),
    ("Lungs are clear.", "Improved edema, stable heart."),
]


def test_mean_micro_and_triggered_tell_different_things():
    scores = score_reports([p for p, _ in PAIRS], [r for _, r in PAIRS], ["temporal_f1"])
    values = {name: entry["value"] for name, entry in scores.items()}
    assert values["temporal_f1"] == pytest.approx(0.5, abs=1e-9)  # two pairs at 1, two at about 0
    assert values["temporal_f1_micro"] == pytest.approx(2 * 1 / (2 + 3))
    assert values["temporal_f1_triggered"] == pytest.approx(0.5, abs=1e-9)
    assert values["temporal_f1_coverage"] == 0.5


def test_a_mean_over_no_study_is_left_out_and_not_zero():
    metric = TemporalF1()
    metric.update(["clear", "clear"], ["clear", "fine"], [{"study_id": "a"}, {"study_id": "b"}])
    assert metric.compute() == {"temporal_f1": 1.0, "temporal_f1_micro": 1.0, "temporal_f1_coverage": 0.0}
    assert set(metric.intervals()) == set(metric.compute())
    assert "temporal_f1_triggered" not in metric.per_study()[0]
