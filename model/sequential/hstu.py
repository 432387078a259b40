"""HSTU in its published next-item form (Zhai et al. 2024), made of the layer that is served.

The mathematics is `model.encoders.hstu`'s; what differs from the form that is served:

    time       differences are those of the *next* item: row i has t_{i+1} − t_j, and the last row the time of the item
               that is asked for. So a row changes when an action is appended to it, and it cannot be extended
    layer      norms without weights, f1 without a bias, dropout before f2 and not after it
    start      f1 ~ N(0, 0.02), f2 by Glorot

The normaliser N is the longest window here as there. (The reference code pads to 11 rows more and divides by that; the
norm after the attention takes any constant out again.) It does not know losses or data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.encoders.hstu import HstuLayer, time_buckets
from model.sequential.batch import Batch
from model.sequential.tokens import Tokens


class NextItemHstuLayer(HstuLayer):
    """The served layer with what the published one does not have taken away."""

    def __init__(self, dim: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__(dim, heads, max_length, max_length, dropout)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attended_norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        for linear in (self.key_value, self.query_gate):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias).requires_grad_(False)
        nn.init.xavier_uniform_(self.output.weight)

    def finish(self, rows: Tensor, attended: Tensor, gate: Tensor) -> Tensor:
        """rows [B, n, D], attended and gate [B, H, n, D/H] → [B, n, D]."""
        gated = self.attended_norm(attended.transpose(1, 2).flatten(2)) * gate.transpose(1, 2).flatten(2)
        return rows + self.output(self.dropout(gated).flatten(0, 1)).view_as(rows)  # type: ignore[no-any-return]

    def window_bias(self, distances: Tensor, buckets: Tensor) -> Tensor:
        """Distances [L, L], one for all windows, and time buckets [B, L, L] → rab [B, L, L]."""
        times = self.time_bias.index_select(0, buckets.flatten()).view(buckets.shape)
        return times + self.position_bias[distances]


class NextItemHstuEncoder(nn.Module):
    """Layers, and what goes into the first."""

    def __init__(self, dim: int, layers: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.tokens = Tokens(dim, max_length, dropout)
        self.layers = nn.ModuleList([NextItemHstuLayer(dim, heads, max_length, dropout) for _ in range(layers)])

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Item embeddings [N, D] → rows [N, D], each of which predicts the next item."""
        rows = batch.padded(self.tokens(embeddings, batch))
        times, next_times = batch.padded(batch.times), batch.padded(batch.target_times)
        buckets = time_buckets(next_times[:, :, None] - times[:, None, :])
        steps = torch.arange(rows.size(1))
        distances = (steps[:, None] - steps[None, :]).clamp(min=0)  # later items are masked
        for layer in self.layers:
            normed = layer.norm(rows)  # type: ignore[operator]
            keys, values = layer.keys_values(normed)  # type: ignore[operator]
            rows = layer.history(rows, normed, keys, values, layer.window_bias(distances, buckets))  # type: ignore[operator]
        return batch.packed(rows)
