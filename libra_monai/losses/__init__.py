# SPDX-License-Identifier: Apache-2.0
"""Training objectives on top of what a model returns."""

from libra_monai.losses.tokens import TokenLoss

__all__ = ["TokenLoss"]
