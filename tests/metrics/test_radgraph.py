# SPDX-License-Identifier: Apache-2.0
"""RadGraph F1 has the package's arithmetic, and is skipped without graphs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libra_monai.apps.main import main
from libra_monai.errors import ConfigError
from libra_monai.metrics import RadGraphF1, score_reports
from libra_monai.metrics.radgraph import LEVELS, graph_sets, overlap

CASES = json.loads((Path(__file__).parent / "golden_radgraph.json").read_text())
NAMES = {"simple": "simple_RG_E", "partial": "partial_RG_ER", "complete": "complete_RG_ERbar"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_overlaps_equal_those_of_the_package(case):
    for level in LEVELS:
        sets = [graph_sets(case[side]["entities"], level) for side in ("hypothesis", "reference")]
        assert overlap(*sets) == pytest.approx(case["master"][NAMES[level]], abs=1e-9)


def test_without_graphs_the_metric_is_skipped():
    assert "make them in an environment" in score_reports(["a"], ["a"], ["radgraph_f1"])["radgraph_f1"]["skipped"]
    assert "does not exist" in score_reports(["a"], ["a"], [RadGraphF1("none.jsonl")])["rad_graph_f1"]["skipped"]


def test_graphs_from_a_file_are_scored(tmp_path):
    rows = [{"text": side, "entities": CASES[1][side]["entities"]} for side in ("hypothesis", "reference")]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metric = RadGraphF1(str(tmp_path / "g.jsonl"))
    assert score_reports(["hypothesis"], ["reference"], [metric])["radgraph_simple"]["value"] == pytest.approx(0.8)
    with pytest.raises(ConfigError, match="no graph of a text of study '7'"):
        metric.update(["another text"], ["reference"], [{"study_id": "7"}])
    (tmp_path / "p.jsonl").write_text(json.dumps({"study_id": "1", "prediction": "hypothesis", "reference": "reference"}))
    words = ["--metrics", f"radgraph_f1:graphs={tmp_path / 'g.jsonl'}", "--out", str(tmp_path / "out"), "--resamples", "10"]
    assert main(["evaluate", "--predictions", str(tmp_path / "p.jsonl"), *words]) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["radgraph_partial"]["n"] == 1
