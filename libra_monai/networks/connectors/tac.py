# SPDX-License-Identifier: Apache-2.0
"""The Temporal Alignment Connector (TAC) of Libra: fuse all encoder layers, then compare with the prior.

Source: arXiv 2411.19378, section 3.2, and class `TAC` in `libra/model/multimodal_projector/builder.py`.
Names of the published weights are mapped in `libra_monai/checkpoints`, not here. In the paper's words:

* LFE, the Layerwise Feature Extractor: three squeeze-and-excitation gates g1, g2, g3, each followed by a 1x1
  convolution over layers W1, W2, W3 (L -> L/2 -> L/4 -> 1). Given its gates it is linear in the features x_1..x_L,
  and the gates need only the mean of each layer. So it is one weighted sum, `sum_l a_l x_l` with
  `a = W3 diag(g3) W2 diag(g2) W1 diag(g1)`: the published numbers without intermediates of the features' size.
* The prior bias b: with `c = LFE(current)`, `p = LFE(prior)` and their cosine over whole feature maps,
  `p <- p + s b` where `s = ((cos(c, p) + 1) / 2) ** 8`.
* TFM, the Temporal Fusion Module: `c1 = norm(c + attention(c, c))`, `p1 = norm(p + attention(p, p))`,
  `x = norm(c1 + attention(c1, p1))`, `y = norm(c + MLP_attn(x))`, tokens = `MLP_final(y)`.

A study without a prior has `index["prior"] == -1`; then p is c, so that s is 1 and p becomes c + b, at no second
encoder or extractor pass. Time and memory against a plain transcription: benchmarks/tac_speed.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libra_monai.errors import ConfigError
from libra_monai.networks.connectors.views import check_features, with_prior
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
        num_heads: attention heads, any number that divides D. It must be given: the published weights have as many
            as their language model (32 for 7B, 24 for 3B), which is nothing a connector can know.
        dropout: 0.1 as published.
        start: how untrained weights begin. `published` is torch's defaults, as in the original: the layers are then
            mixed at a hundredth of their size and four plain layers shrink what follows, which a long training
            forgives. `last_layer` begins with the last encoder layer at full size and layers that keep it, for
            connectors that must learn in minutes.

    Raises:
        ConfigError: no heads are given, they do not divide the width, or a size is not positive.
    """

    views = ("current", "prior")
    takes_lora = False  # it multiplies with its weights directly, which adapters would not see

    def __init__(
        self,
        width: int,
        hidden_size: int,
        num_layers: int = 12,
        num_heads: int | None = None,
        dropout: float = _DROPOUT,
        start: str = "published",
    ) -> None:
        super().__init__()
        _check_sizes(width, hidden_size, num_layers, num_heads)
        self.width, self.hidden_size, self.num_layers, self.num_heads = width, hidden_size, num_layers, num_heads
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
        if start not in ("published", "last_layer"):
            raise ConfigError(f"connector 'tac': start is '{start}'", "Use 'published' or 'last_layer'.")
        if start == "last_layer":
            self._start_at_last_layer()

    @torch.no_grad()
    def _start_at_last_layer(self) -> None:
        """Weights that hand the last layer through; the gates are about one half each at the beginning."""
        for number, mix in enumerate(self.extractor.mixes):
            mix.weight.mul_(0.1)
            mix.weight[0, -1 if number == 0 else 0] += 2.0
        for module in (*self.attention_mlp, *self.output_mlp):
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, features: EncoderOutput, index: dict[str, Tensor], embed: nn.Module) -> dict[str, Tensor]:
        """Tokens of B studies.

        Args:
            features: of the U distinct pictures; layers [U,L,N,D].
            index: view -> LongTensor[B]; `prior` holds -1 where a study has none.
            embed: the language model's embedding, not used here.

        Returns:
            `image` -> [B,N,H].

        Raises:
            ConfigError: the features have another number of layers or width.
        """
        check_features("tac", features, self.width, self.num_layers)
        fused = self.extractor(features.layers)  # [U,N,D]
        current, prior = with_prior(fused, index)  # [B,N,D] each
        return {IMAGE_SLOT: self.output_mlp(self.fuse(current, prior))}

    def fuse(self, current: Tensor, prior: Tensor) -> Tensor:
        """Prior bias and TFM without its last MLP: current and prior [B,N,D] to [B,N,D]."""
        prior = prior + self.similarity(current, prior) * self.prior_bias
        c = self.current_norm(current + self.dropout(self.current_attention(current, current)))
        p = self.prior_norm(prior + self.dropout(self.prior_attention(prior, prior)))
        x = self.cross_norm(c + self.dropout(self.cross_attention(c, p)))
        return self.fused_norm(current + self.attention_mlp(x))  # the residual is the LFE's output, as published

    @staticmethod
    def similarity(current: Tensor, prior: Tensor) -> Tensor:
        """`((cos + 1) / 2) ** 8` over whole feature maps [B,N,D], as [B,1,1]; 1 for equal maps.

        Computed in float32 whatever the model's type: a million squares overflow float16, and the original's own
        bfloat16 is off by up to 6e-4. Where a map is zero the cosine is undefined (the original gives NaN): it is
        1 if both are, else 0, without gradient.
        """
        c, p = current.flatten(1).float(), prior.flatten(1).float()
        c_norm, p_norm = (torch.linalg.vector_norm(x, dim=1) for x in (c, p))
        scale = c_norm * p_norm
        undefined = scale == 0
        cosine = (c * p).sum(dim=1) / scale.masked_fill(undefined, 1.0)
        cosine = torch.where(undefined, (c_norm == p_norm).float(), cosine)
        return (((cosine + 1) / 2) ** _POWER).view(-1, 1, 1).to(current.dtype)


def _check_sizes(width: int, hidden_size: int, num_layers: int, num_heads: int | None) -> None:
    if num_heads is None:
        raise ConfigError(
            "connector 'tac': num_heads is missing", "Give it; published weights have as many as their language model."
        )
    sizes = {"width": width, "hidden_size": hidden_size, "num_layers": num_layers, "num_heads": num_heads}
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"connector 'tac': {name} is {size}", "Give a positive number.")
    if width % num_heads:
        raise ConfigError(
            f"connector 'tac': width {width} is not divisible by num_heads {num_heads}",
            "Choose a number of heads that divides it.",
        )
