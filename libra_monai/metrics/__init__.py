# SPDX-License-Identifier: Apache-2.0
"""Report metrics and labelers; importing this room registers the built-in metrics."""

from libra_monai.metrics.base import ReportMetric
from libra_monai.metrics.bleu import Bleu, Bleu13a
from libra_monai.metrics.changes import ChangeF1, FalseComparison
from libra_monai.metrics.chexpert import ChexpertF1
from libra_monai.metrics.cider import Cider
from libra_monai.metrics.findings import FindingF1
from libra_monai.metrics.function import FunctionMetric
from libra_monai.metrics.meteor import Meteor
from libra_monai.metrics.positions import PositionF1
from libra_monai.metrics.radgraph import RadGraphF1
from libra_monai.metrics.rouge import RougeL, RougeLF1
from libra_monai.metrics.score import (
    build_metrics,
    compare_metrics,
    per_study_rows,
    score_reports,
    summarise,
    write_table,
)
from libra_monai.metrics.style import Style, Variety
from libra_monai.metrics.temporal import TemporalF1

__all__ = [
    "Bleu",
    "Bleu13a",
    "ChangeF1",
    "ChexpertF1",
    "Cider",
    "FalseComparison",
    "FindingF1",
    "FunctionMetric",
    "Meteor",
    "PositionF1",
    "RadGraphF1",
    "ReportMetric",
    "RougeL",
    "RougeLF1",
    "Style",
    "TemporalF1",
    "Variety",
    "build_metrics",
    "compare_metrics",
    "per_study_rows",
    "score_reports",
    "summarise",
    "write_table",
]
