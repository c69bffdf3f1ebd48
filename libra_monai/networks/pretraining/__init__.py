# SPDX-License-Identifier: Apache-2.0
"""Objectives other than reports; importing this room registers the parts they need."""

from libra_monai.networks.pretraining.fact_tokens import FactTokens
from libra_monai.networks.pretraining.finding_classifier import FindingClassifier

__all__ = ["FactTokens", "FindingClassifier"]
