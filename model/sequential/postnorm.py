"""SASRec as the S3-Rec code builds it, whose results the Beauty and Toys tables print (Zhou et al. 2020, TIGER 2023).

It differs from Kang & McAuley's SASRec as BERT does: norms after the residuals, GELU, a feed-forward layer four times
as wide, a norm on the embeddings, every weight drawn from N(0, 0.02). Positions count from the *last* item backwards,
because their windows are padded on the left. It does not know losses or data.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.sequential.batch import Batch

_EPSILON = 1e-12


class PostNormLayer(nn.Module):
    """One layer over packed rows."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.wide = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.narrow_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, batch: Batch) -> Tensor:
        """[N, D] → [N, D]."""
        projected = batch.padded(self.query_key_value(rows).view(len(rows), 3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)  # [B, H, L, D/H] each
        # Padding stands on the right, so causality alone hides it from every real row.
        attended = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, dropout_p=self.attention_dropout if self.training else 0.0
        )
        attended = batch.packed(attended.transpose(1, 2).flatten(2))
        rows = self.attention_norm(rows + self.dropout(self.output(attended)))
        return self.narrow_norm(rows + self.dropout(self.narrow(F.gelu(self.wide(rows)))))  # type: ignore[no-any-return]


class PostNormEncoder(nn.Module):
    """Layers, and what goes into the first."""

    def __init__(self, dim: int, layers: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Embedding(max_length, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList([PostNormLayer(dim, heads, dropout) for _ in range(layers)])
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Item embeddings [N, D] → rows [N, D], each of which predicts the next item."""
        positions = self.positions.num_embeddings - batch.row_lengths + batch.steps
        rows = self.dropout(self.norm(embeddings + self.positions(positions)))
        for layer in self.layers:
            rows = layer(rows, batch)
        return rows  # type: ignore[no-any-return]
