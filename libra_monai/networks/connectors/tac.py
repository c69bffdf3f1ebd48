# SPDX-License-Identifier: Apache-2.0
"""The Temporal Alignment Connector (TAC) of Libra: fuse all encoder layers, then compare with the prior.

Source: arXiv 2411.19378, section 3.2, and class `TAC` in `libra/model/multimodal_projector/builder.py`.
Names of the published weights are mapped in `libra_monai/checkpoints`, not here.

Two parts, in the paper's words:

* LFE, the Layerwise Feature Extractor: three squeeze-and-excitation gates, each followed by a 1x1
  convolution over layers (L -> L/2 -> L/4 -> 1). Given its gates it is linear in the features, and the
  gates depend on the features only through the mean of each layer. So it is computed as one weighted
  sum over layers, `sum_l a_l x_l` with `a = W3 diag(g3) W2 diag(g2) W1 diag(g1)`, which equals the
  published sequence and keeps no intermediate of the features' size.
* TFM, the Temporal Fusion Module: self-attention on current and prior, cross-attention from current to
  prior, two MLPs. A scalar bias is added to the prior in proportion to its similarity to the current.

A study without a prior has `index["prior"] == -1`; its current features stand in, at no second encoder
or extractor pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libra_monai.errors import ConfigError
from libra_monai.networks.connectors.views import with_prior
from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, EncoderOutput

_POWER = 8  # exponent of the similarity weight, as published
_DROPOUT = 0.1  # as published


class _LayerGate(nn.Module):
    """Squeeze-and-excitation over layers, on their means alone: [U,l] means to [U,l] gates in 0..1."""

    def __init__(self, layers: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(layers, squeezed)
        self.expand = nn.Linear(squeezed, layers)

    def forward(self, means: Tensor) -> Tensor:
        return torch.sigmoid(self.expand(F.gelu(self.reduce(means))))


class LayerwiseFeatureExtractor(nn.Module):
    """Fuse L layers of features into one (the paper's LFE).

    Args:
        num_layers: L; 12 as published.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        sizes = [num_layers, max(num_layers // 2, 1), max(num_layers // 4, 1), 1]
        self.gates = nn.ModuleList(_LayerGate(n, max(n // 2, 1)) for n in sizes[:-1])
        self.mixes = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False))

    def weights(self, layers: Tensor) -> Tensor:
        """The weight of each layer, per picture: [U,L,N,D] features to [U,L]."""
        means = layers.mean(dim=(2, 3))  # [U,L]
        weights: Tensor | None = None  # [U,out,L], product of the stages so far
        for gate, mix in zip(self.gates, self.mixes, strict=True):
            g = gate(means)
            stage = mix.weight.unsqueeze(0) * g.unsqueeze(1)  # [U,out,in]
            weights = stage if weights is None else stage @ weights
            means = mix(g * means)  # the mean of a 1x1 convolution is the convolution of the means
        assert weights is not None
        return weights.squeeze(1)

    def forward(self, layers: Tensor) -> Tensor:
        """[U,L,N,D] features to [U,N,D]."""
        return torch.einsum("ul,ulnd->und", self.weights(layers), layers)


class _Attention(nn.Module):
    """Multi-head attention with one learned extra key and value, appended after the projections.

    Equals `torch.nn.MultiheadAttention(width, heads, add_bias_kv=True)` without storing attention weights.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_projection = nn.Linear(width, 3 * width)
        self.extra_key = nn.Parameter(torch.empty(width))
        self.extra_value = nn.Parameter(torch.empty(width))
        self.out_projection = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_projection.weight)
        nn.init.zeros_(self.in_projection.bias)
        nn.init.zeros_(self.out_projection.bias)
        for extra in (self.extra_key, self.extra_value):
            nn.init.xavier_normal_(extra.data.view(1, 1, -1))

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """[B,N,D] attends to [B,M,D]."""
        width = query.shape[-1]
        weight, bias = self.in_projection.weight, self.in_projection.bias
        q = F.linear(query, weight[:width], bias[:width])
        k, v = F.linear(memory, weight[width:], bias[width:]).split(width, dim=-1)
        extra = (memory.shape[0], 1, width)
        k = torch.cat([k, self.extra_key.expand(extra)], dim=1)  # [B,M+1,D]
        v = torch.cat([v, self.extra_value.expand(extra)], dim=1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_projection(mixed.transpose(1, 2).flatten(2))


@register("connector", "tac")
class TemporalAlignmentConnector(nn.Module):
    """Libra's connector: U pictures' layer features to B studies' tokens of the language model's width.

    Args:
        width: D of the encoder.
        hidden_size: H of the language model.
        num_layers: L of the encoder; 12 as published.
        num_heads: attention heads; as published, the language model's number of heads.
        dropout: 0.1 as published.

    Raises:
        ConfigError: the heads do not divide the width.
    """

    views = ("current", "prior")
    takes_lora = False  # it multiplies with its weights directly, which adapters would not see

    def __init__(
        self, width: int, hidden_size: int, num_layers: int = 12, num_heads: int = 32, dropout: float = _DROPOUT
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(
                f"connector 'tac': width {width} is not divisible by num_heads {num_heads}",
                "Choose a number of heads that divides it.",
            )
        self.width, self.hidden_size, self.num_layers = width, hidden_size, num_layers
        self.extractor = LayerwiseFeatureExtractor(num_layers)
        self.prior_bias = nn.Parameter(torch.zeros(()))
        self.current_attention = _Attention(width, num_heads)
        self.prior_attention = _Attention(width, num_heads)
        self.cross_attention = _Attention(width, num_heads)
        self.current_norm, self.prior_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_norm, self.fused_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.attention_mlp = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Dropout(dropout)
        )
        steps: list[nn.Module] = [nn.Linear(width, hidden_size)]
        for _ in range(3):
            steps += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
        self.output_mlp = nn.Sequential(*steps)

    def forward(self, features: EncoderOutput, index: dict[str, Tensor], embed: nn.Module) -> dict[str, Tensor]:
        """Tokens of B studies.

        Args:
            features: of the U distinct pictures; layers [U,L,N,D].
            index: view -> LongTensor[B]; `prior` holds -1 where a study has none.
            embed: the language model's embedding, not used here.

        Returns:
            `image` -> [B,N,H].
        """
        fused = self.extractor(features.layers)  # [U,N,D]
        current, prior = with_prior(fused, index)  # [B,N,D] each
        return {IMAGE_SLOT: self.output_mlp(self.fuse(current, prior))}

    def fuse(self, current: Tensor, prior: Tensor) -> Tensor:
        """The TFM without its last MLP: current and prior [B,N,D] to [B,N,D]."""
        prior = prior + self.similarity(current, prior) * self.prior_bias
        c = self.current_norm(current + self.dropout(self.current_attention(current, current)))
        p = self.prior_norm(prior + self.dropout(self.prior_attention(prior, prior)))
        x = self.cross_norm(c + self.dropout(self.cross_attention(c, p)))
        return self.fused_norm(current + self.attention_mlp(x))

    @staticmethod
    def similarity(current: Tensor, prior: Tensor) -> Tensor:
        """`((cos + 1) / 2) ** 8` over whole feature maps, [B,1,1]; 1 for equal ones, finite for zero ones."""
        cosine = F.cosine_similarity(current.flatten(1), prior.flatten(1), dim=1, eps=1e-12)
        return (((cosine + 1) / 2) ** _POWER).view(-1, 1, 1)
