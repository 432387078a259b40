"""SASRec (Kang & McAuley 2018) in the form that HSTU was published against (Zhai et al. 2024).

    Q = Norm(X)      Z = Norm(Q + Attention(Q, X, X))      Y = Z + FFN(Z)

The norms have no weights, keys and values read the rows as they are, and the feed-forward layer is a ReLU between two
maps of width D. It does not know losses or data.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.sequential.batch import Batch
from model.sequential.tokens import Tokens


class SasRecLayer(nn.Module):
    """One layer over packed rows."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.first = nn.Linear(dim, dim)
        self.second = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim, eps=1e-8, elementwise_affine=False)
        for linear in (self.query, self.key_value, self.output, self.first, self.second):
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, rows: Tensor, batch: Batch) -> Tensor:
        """[N, D] → [N, D]."""
        normed = self.norm(rows)
        queries = batch.padded(self.query(normed).view(len(rows), self.heads, -1)).transpose(1, 2)  # [B, H, L, D/H]
        both = batch.padded(self.key_value(rows).view(len(rows), 2, self.heads, -1))
        keys, values = both.permute(2, 0, 3, 1, 4)
        # Padding stands on the right, so causality alone hides it from every real row.
        attended = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, dropout_p=self.attention_dropout if self.training else 0.0
        )
        rows = self.norm(normed + self.output(batch.packed(attended.transpose(1, 2).flatten(2))))
        return rows + self.dropout(self.second(self.dropout(F.relu(self.first(rows)))))  # type: ignore[no-any-return]


class SasRecEncoder(nn.Module):
    """Layers, and what goes into the first."""

    def __init__(self, dim: int, layers: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.tokens = Tokens(dim, max_length, dropout)
        self.layers = nn.ModuleList([SasRecLayer(dim, heads, dropout) for _ in range(layers)])

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Item embeddings [N, D] → rows [N, D], each of which predicts the next item."""
        rows = self.tokens(embeddings, batch)
        for layer in self.layers:
            rows = layer(rows, batch)
        return rows  # type: ignore[no-any-return]
