# SPDX-License-Identifier: Apache-2.0
"""Several linear layers with GELU between, on the current picture's last features; the prior is not looked at.

Source: LLaVA-1.5's projector, `mm_projector_type="mlp{k}x_gelu"` in LLaVA, LLaVA-Rad, MAIRA-2 and Libra.
"""

from __future__ import annotations

from torch import Tensor, nn

from libra_monai.errors import ConfigError
from libra_monai.networks.connectors.views import check_features, gather_rows
from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, EncoderOutput


@register("connector", "mlp")
class MlpConnector(nn.Module):
    """Map each patch feature of the last layer to the language model's width by an MLP.

    The parameters are `projection.0`, `projection.2` and so on, as LLaVA numbers them.

    Args:
        width: D of the encoder.
        hidden_size: H of the language model.
        depth: linear layers; 2 is the published `mlp2x_gelu`.

    Raises:
        ConfigError: the depth is not positive.
    """

    views = ("current",)

    def __init__(self, width: int, hidden_size: int, depth: int = 2) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(f"connector 'mlp': depth is {depth}", "Give the number of linear layers, at least 1.")
        self.width, self.hidden_size, self.depth = width, hidden_size, depth
        steps: list[nn.Module] = [nn.Linear(width, hidden_size)]
        for _ in range(depth - 1):
            steps += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
        self.projection = nn.Sequential(*steps)

    def forward(self, features: EncoderOutput, index: dict[str, Tensor], embed: nn.Module) -> dict[str, Tensor]:
        """Tokens of B studies.

        Args:
            features: of the U distinct pictures; layers [U,L,N,D].
            index: view -> LongTensor[B], rows of the features or -1.
            embed: the language model's embedding, not used here.

        Returns:
            `image` -> [B,N,H].

        Raises:
            ConfigError: the features have another width.
        """
        check_features("mlp", features, self.width)
        tokens = self.projection(features.layers[:, -1])  # [U,N,H]
        return {IMAGE_SLOT: gather_rows(tokens, index["current"])}
