# SPDX-License-Identifier: Apache-2.0
"""One linear layer on the current picture's last features; the prior is not looked at.

Source: LLaVA's `linear` projector, Libra's `mm_projector_type="linear"`.
"""

from __future__ import annotations

from torch import Tensor, nn

from libra_monai.networks.connectors.views import check_features, gather_rows
from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, EncoderOutput


@register("connector", "linear")
class LinearConnector(nn.Module):
    """Project each patch feature of the last layer to the language model's width.

    Args:
        width: D of the encoder.
        hidden_size: H of the language model.
    """

    views = ("current",)

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.width, self.hidden_size = width, hidden_size
        self.projection = nn.Linear(width, hidden_size)

    def forward(self, features: EncoderOutput, index: dict[str, Tensor], embed: nn.Module) -> dict[str, Tensor]:
        """Tokens of B studies.

        Args:
            features: of the U distinct pictures.
            index: view -> LongTensor[B], rows of the features or -1.
            embed: the language model's embedding, not used here.

        Returns:
            `image` -> [B,N,H].

        Raises:
            ConfigError: the features have another width.
        """
        check_features("linear", features, self.width)
        tokens = self.projection(features.layers[:, -1])  # [U,N,H]
        return {IMAGE_SLOT: gather_rows(tokens, index["current"])}
