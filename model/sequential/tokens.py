"""What goes into the first layer of HSTU, and of SASRec beside it, as published. It does not know the layers."""

from __future__ import annotations

import math

from torch import Tensor, nn

from model.sequential.batch import Batch


class Tokens(nn.Module):
    """√D · item embedding + position, with dropout. Positions count from the window's first item."""

    def __init__(self, dim: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.scale = math.sqrt(dim)
        self.positions = nn.Embedding(max_length, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.positions.weight, std=1.0 / self.scale, a=-2.0 / self.scale, b=2.0 / self.scale)

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Item embeddings [N, D] → [N, D]."""
        return self.dropout(embeddings * self.scale + self.positions(batch.steps))  # type: ignore[no-any-return]
