# SPDX-License-Identifier: Apache-2.0
"""Metrics on engines: two ranks give the numbers of one, and a key metric that cannot be computed is explained."""

from __future__ import annotations

import json
import operator
from types import SimpleNamespace

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine

from libra_monai.errors import ConfigError
from libra_monai.handlers import MetricSet, ScoreWriter, comparison
from libra_monai.metrics import Bleu, RougeL, TemporalF1
from libra_monai.types import ReportDraft

TEXTS = [("clear lungs", "clear lungs"), ("left effusion", "small left effusion"), ("edema is new", "edema"), ("", "no edema")]


def _output(rows):
    drafts = [ReportDraft(f"s{i}", TEXTS[i][0], None, False, "m", [], reference=TEXTS[i][1]) for i in rows]
    records = [{"study_id": f"s{i}", "patient_id": f"p{i // 2}"} for i in rows]
    return {"drafts": drafts, "records": records, "loss_sum": float(len(rows)), "num_tokens": 2 * len(rows)}


def _metrics():
    return [Bleu(), RougeL(), TemporalF1()]


def _rank(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    metrics = _metrics()
    joint = MetricSet(metrics, "rouge_l_coco")
    joint.reset()
    for rows in ([0, 2], [1, 3], [0]) if rank else ([1], [2]):  # studies 0, 1 and 2 come twice, as padding samplers do
        joint.update(_output(rows))
    engine = Engine(lambda engine, batch: None)
    joint.completed(engine, "key")
    joint.compute()  # asking again changes nothing
    writer = ScoreWriter(metrics, f"{folder}/{rank}", resamples=50)
    writer(engine)
    dist.destroy_process_group()


def test_two_ranks_with_repeated_studies_give_the_scores_of_one_process(tmp_path):
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    metrics = _metrics()
    alone = MetricSet(metrics, "rouge_l_coco")
    alone.reset()
    alone.update(_output([0, 1, 2, 3]))
    values = alone.compute()
    for rank in "01":
        scores = json.loads((tmp_path / rank / "metrics.json").read_text())
        assert {name: score["value"] for name, score in scores.items()} == pytest.approx(
            {name: value for name, value in values.items() if name != "loss"}
        )
        assert all(score["n"] == 4 for score in scores.values())
        assert len((tmp_path / rank / "per_study.csv").read_text().splitlines()) == 5


class Lacking(RougeL):
    lower_is_better = ("swap_rate",)

    def unavailable(self):
        return "the package x is not installed"


def test_a_skipped_metric_does_not_stop_a_run_but_cannot_be_its_key(tmp_path):
    joint = MetricSet([Bleu(), Lacking()], "bleu_4_coco")
    joint.reset()
    joint.update(_output([0, 1]))
    engine = SimpleNamespace(state=SimpleNamespace(metrics={}))
    joint.completed(engine, "key")
    assert engine.state.metrics["key"] == engine.state.metrics["bleu_4_coco"] and "rouge_l_coco" not in engine.state.metrics
    ScoreWriter(joint.metrics, tmp_path)(engine)
    assert json.loads((tmp_path / "metrics.json").read_text())["lacking"] == {"skipped": "the package x is not installed"}
    joint.key = "rouge_l_coco"
    with pytest.raises(ConfigError, match="lacking was skipped: the package x is not installed"):
        joint.completed(engine, "key")


def test_the_best_of_a_rate_of_errors_is_the_lowest():
    assert comparison("swap_rate", [Lacking()]) is operator.lt is comparison("loss")
    assert comparison("bleu_4_coco", [Lacking()]) is operator.gt
