# SPDX-License-Identifier: Apache-2.0
"""Objectives other than reports; importing this room registers the parts they need."""

from libra_monai.networks.pretraining.finding_classifier import FindingClassifier

__all__ = ["FindingClassifier"]
