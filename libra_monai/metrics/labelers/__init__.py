# SPDX-License-Identifier: Apache-2.0
"""Rule-based readers of report text; they know radiology language, not anyone's templates."""

from libra_monai.metrics.labelers.findings import Mention, read_findings

__all__ = ["Mention", "read_findings"]
