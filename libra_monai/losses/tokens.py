# SPDX-License-Identifier: Apache-2.0
"""Next-token loss of a batch as one sum."""

from __future__ import annotations

from torch import Tensor, nn

from libra_monai.types import LanguageOutput


class TokenLoss(nn.Module):
    """Negative log likelihood summed over the learned tokens.

    A sum and not a mean: the training step divides by the tokens of all processes and micro-batches together, so
    that a token counts the same wherever it stands.
    """

    def forward(self, output: LanguageOutput) -> Tensor:
        """The summed loss.

        Args:
            output: what a report model returns for a batch with targets.
        """
        return output.loss_sum
