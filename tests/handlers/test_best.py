# SPDX-License-Identifier: Apache-2.0
"""What is best is decided by one value or a mix, up or down, and patience counts what is not better."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from libra_monai.errors import ConfigError
from libra_monai.handlers import BestModel
from libra_monai.handlers.interval import steps_between



def _best(monkeypatch, by, **options):
    saved = []
    monkeypatch.setattr("libra_monai.handlers.best.save_run_model", lambda *args: saved.append(1))
    return BestModel(None, None, {}, "out", by, **options), saved


def _feed(best, rows):
    for step, values in enumerate(rows, 1):
        best(SimpleNamespace(state=SimpleNamespace(metrics=dict(values), trained_steps=step)))


@pytest.mark.parametrize(
    ("by", "mode", "row", "step"),
    [
        ("loss", None, [3.0, 1.0, 2.0], 2), ("rouge", None, [3.0, 1.0, 5.0], 3),
        ("loss", "max", [1.0, 3.0, 2.0], 2), ("rouge", "min", [3.0, 1.0, 2.0], 2),
    ],
)  # fmt: skip
def test_by_its_name_or_by_mode(monkeypatch, by, mode, row, step):
    best, saved = _best(monkeypatch, by, mode=mode)
    _feed(best, [{by: value} for value in row])
    assert best.step == step and len(saved) == 1 + (row[1] != row[0] and step >= 2)


def test_a_mix_counts_losses_negative(monkeypatch):
    best, _ = _best(monkeypatch, {"rouge": 0.5, "loss": 0.1})
    assert best.score({"rouge": 0.4, "loss": 2.0}) == pytest.approx(0.0)
    _feed(best, [{"rouge": 0.4, "loss": 2.0}, {"rouge": 0.5, "loss": 3.0}, {"rouge": 0.5, "loss": 2.0}])
    assert best.step == 3 and best.value == pytest.approx(0.05)


def test_patience_counts_validations_since_the_best_and_survives_a_resume(monkeypatch):
    best, _ = _best(monkeypatch, "loss", patience=2)
    _feed(best, [{"loss": 1.0}, {"loss": 1.0}])
    assert best.misses == 1 and not best.stop
    again, saved = _best(monkeypatch, "loss", patience=2)
    again.load_state_dict(best.state_dict())
    _feed(again, [{"loss": 1.5}])
    assert again.stop and not saved and again.value == 1.0


def test_what_was_not_computed_is_named(monkeypatch):
    best, _ = _best(monkeypatch, {"rouge_l": 1.0})
    with pytest.raises(ConfigError, match="rouge_l.*Did you mean 'rouge_l_coco'"):
        _feed(best, [{"rouge_l_coco": 1.0}])
    with pytest.raises(ConfigError, match="best_mode"):
        _best(monkeypatch, "loss", mode="up")


def test_nothing_is_best_where_nothing_decides(monkeypatch):
    best, saved = _best(monkeypatch, None, patience=1)
    _feed(best, [{"loss": 1.0}, {"loss": 2.0}])
    assert not saved and not best.stop


@pytest.mark.parametrize(("given", "steps"), [(1, 7), (3, 21), ({"steps": 5}, 5), ({"epochs": 2}, 14)])
def test_intervals_in_epochs_or_steps(given, steps):
    assert steps_between(given, 7) == steps


@pytest.mark.parametrize("given", [0, -1, 1.5, True, {}, {"step": 3}, {"steps": 0}, {"steps": 2, "epochs": 1}, "often"])
def test_what_is_no_interval_is_refused(given):
    with pytest.raises(ConfigError, match="is no interval"):
        steps_between(given, 7)
