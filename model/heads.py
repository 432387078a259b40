"""The ranking head: from a candidate's row and features to one logit a task. It does not know the history.

A DLRM-style head after DCN-v2 (Wang et al. 2021, eq. 1): full-rank cross layers x_{l+1} = x_0 ⊙ (W x_l + b) + x_l,
stacked under one ReLU layer. Scriptable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import RankerConfig
from model.linear import Linear, ReluLinear

ALIGNMENT = 16
"""Floats in a cache line: GEMMs over rows of a multiple of it are about 10 % faster."""


class CrossLayer(nn.Linear):
    """x_{l+1} = x_0 ⊙ (W x_l + b) + x_l over rows [N, width + padding], whose last columns are 0 and stay 0."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.padding = -width % ALIGNMENT

    def forward(self, first: Tensor, crossed: Tensor) -> Tensor:  # type: ignore[override]
        weight = F.pad(self.weight.t(), (0, self.padding, 0, self.padding))  # a constant once frozen, as in Linear
        product = torch.mm(crossed, weight).add_(F.pad(self.bias, (0, self.padding)))
        return torch.addcmul(crossed, first, product)


class RankingHead(nn.Module):
    """Reads candidate output ‖ candidate embedding ‖ features ‖ context ‖ meta embedding.

    The head normalises features and context itself, with constants fitted on the training split, so that offline and
    online cannot differ in it.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    context_mean: Tensor
    context_scale: Tensor

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        width = config.head_inputs
        self.width = width
        self.padding = -width % ALIGNMENT
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.cross = nn.ModuleList([CrossLayer(width) for _ in range(config.cross_layers)])
        self.hidden = ReluLinear(width, config.head_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.logits = Linear(config.head_dim, config.tasks)
        self.register_buffer("feature_mean", torch.zeros(config.features))
        self.register_buffer("feature_scale", torch.ones(config.features))
        self.register_buffer("context_mean", torch.zeros(config.context))
        self.register_buffer("context_scale", torch.ones(config.context))

    def set_normalisation(
        self, feature_mean: Tensor, feature_scale: Tensor, context_mean: Tensor, context_scale: Tensor
    ) -> None:
        """Fix (x − mean) / scale for features [F] and context [G]. A scale of 0 (a constant input) becomes 1."""
        with torch.no_grad():
            self.feature_mean.copy_(feature_mean)
            self.feature_scale.copy_(torch.where(feature_scale == 0, 1.0, feature_scale))
            self.context_mean.copy_(context_mean)
            self.context_scale.copy_(torch.where(context_scale == 0, 1.0, context_scale))

    def forward(self, output: Tensor, candidates: Tensor, features: Tensor, context: Tensor, meta: Tensor) -> Tensor:
        """output, candidates [B, C, D]; features [B, C, F]; context [B, G]; meta [B, M], all f32 → logits [B, C, K]."""
        batch, count, _ = candidates.shape
        features = (features - self.feature_mean) / self.feature_scale
        context = (context - self.context_mean) / self.context_scale
        request = torch.cat([context, meta, context.new_zeros(batch, self.padding)], dim=1)  # [B, G + M + padding]
        request = request.unsqueeze(1).expand(-1, count, -1)
        first = torch.cat([self.norm(output), candidates, features, request], dim=2).flatten(0, 1)  # [B · C, width + …]
        crossed = first
        for layer in self.cross:
            crossed = layer(first, crossed)
        hidden = self.hidden(crossed[:, : self.width])
        return self.logits(self.dropout(hidden)).view(batch, count, self.logits.out_features)
