# SPDX-License-Identifier: Apache-2.0
"""Generation: from a batch and a network to what it wrote."""

from libra_monai.inferers.evidence import sentence_evidence
from libra_monai.inferers.refilling import RefillingInferer
from libra_monai.inferers.report import ReportInferer
from libra_monai.inferers.sparing import sparing

__all__ = ["RefillingInferer", "ReportInferer", "sentence_evidence", "sparing"]
