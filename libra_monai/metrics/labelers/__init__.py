# SPDX-License-Identifier: Apache-2.0
"""Rule-based readers of report text; they know radiology language, not anyone's templates."""

from libra_monai.metrics.labelers.changes import read_changes
from libra_monai.metrics.labelers.chexpert import chexpert_labels
from libra_monai.metrics.labelers.findings import present_findings, read_findings
from libra_monai.metrics.labelers.positions import read_positions
from libra_monai.metrics.labelers.reader import Mention, read_report

__all__ = ["Mention", "chexpert_labels", "present_findings", "read_changes", "read_findings", "read_positions", "read_report"]
