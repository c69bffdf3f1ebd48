# SPDX-License-Identifier: Apache-2.0
"""What listens to engines: metrics, failures, predictions, TensorBoard, saved models, progress."""

from libra_monai.handlers.announce import Announce
from libra_monai.handlers.best import BestModel
from libra_monai.handlers.bulk import BulkWriter, run_bulk
from libra_monai.handlers.checkpoints import Checkpoints
from libra_monai.handlers.controls import ControlSuite
from libra_monai.handlers.failures import FailureLog, StudyFailures
from libra_monai.handlers.format_retry import FormatRetry
from libra_monai.handlers.ledger import DraftLedger
from libra_monai.handlers.metrics import MetricSet, ScoreWriter, comparison, key_metric
from libra_monai.handlers.outputs import DraftWriter, PredictionWriter
from libra_monai.handlers.progress import Progress
from libra_monai.handlers.saving import SaveFinalModel
from libra_monai.handlers.tensorboard import TensorBoardReports, TensorBoardScalars, summary_writer

__all__ = [
    "Announce",
    "BestModel",
    "BulkWriter",
    "Checkpoints",
    "ControlSuite",
    "DraftLedger",
    "DraftWriter",
    "FailureLog",
    "FormatRetry",
    "MetricSet",
    "PredictionWriter",
    "Progress",
    "SaveFinalModel",
    "ScoreWriter",
    "StudyFailures",
    "TensorBoardReports",
    "TensorBoardScalars",
    "comparison",
    "key_metric",
    "run_bulk",
    "summary_writer",
]
