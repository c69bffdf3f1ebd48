# SPDX-License-Identifier: Apache-2.0
"""Next-token loss of a batch as one number."""

from __future__ import annotations

from torch import Tensor, nn

from libra_monai.types import LanguageOutput


class MeanTokenLoss(nn.Module):
    """Summed negative log likelihood over the number of learned tokens."""

    def forward(self, output: LanguageOutput) -> Tensor:
        """The mean loss of a token.

        Args:
            output: what a report model returns for a batch with targets.
        """
        return output.loss_sum / output.num_tokens.clamp(min=1)
