"""Attention blocks of the append + cross-attention Transformer, and the tokens they read.

Everything here is scriptable and knows one layer at a time: not how many there are, what a head does with the rows,
or what an item is. (No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.linear import Linear, ReluLinear


class HistoryTokens(nn.Module):
    """History token = item embedding + action embedding + position; candidate token = item embedding + position T.

    A position counts from the window's first action, so appending an action moves no other token. A candidate stands
    where the member's next action would: one past the last, plus a learned vector in the place of the action that has
    not happened.
    """

    def __init__(self, actions: int, max_history: int, embedding_dim: int) -> None:
        super().__init__()
        self.action = nn.Embedding(actions, embedding_dim)
        self.position = nn.Embedding(max_history + 1, embedding_dim)
        self.no_action = nn.Parameter(torch.zeros(embedding_dim))
        for table in (self.action.weight, self.position.weight, self.no_action):
            nn.init.normal_(table, std=0.02)

    def forward(self, embeddings: Tensor, actions: Tensor, first_position: Tensor) -> Tensor:
        """embeddings [B, T, D] f32, actions [B, T] i64, first_position [B] i64 → [B, T, D] f32."""
        steps = torch.arange(embeddings.size(1), device=embeddings.device)
        # Right padding may run past the table's end; what it reads there is masked and never used.
        positions = (first_position.unsqueeze(1) + steps).clamp(max=self.position.num_embeddings - 1)  # [B, T]
        return embeddings + self.action(actions) + self.position(positions)

    def candidates(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """embeddings [B, C, D] f32, lengths [B] i64 (real history actions) → [B, C, D] f32."""
        return embeddings + (self.no_action + self.position(lengths)).unsqueeze(1)


class CrossAttentionLayer(nn.Module):
    """One pre-norm layer: rows attend to keys and values that come from the history alone.

    Hertel et al. 2024: Q = W_q [H, X], K = W_k H, V = W_v H. History rows and candidate rows pass through the same
    weights (`update`), in separate calls, so C candidates in one call are the same function as C calls.

    A learned key and value stand before the history in every layer: they give an empty history a meaning (cold start)
    and keep the softmax defined. They have no query and no position.
    """

    def __init__(self, embedding_dim: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = embedding_dim // heads
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.query = Linear(embedding_dim, embedding_dim)
        self.key_value = Linear(embedding_dim, 2 * embedding_dim)
        self.sink = nn.Parameter(torch.empty(2, heads, 1, self.head_dim))
        self.output = Linear(embedding_dim, embedding_dim)
        self.ffn_norm = nn.LayerNorm(embedding_dim)
        self.ffn_in = ReluLinear(embedding_dim, ffn_dim)
        self.ffn_out = Linear(ffn_dim, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.sink, std=0.02)

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """normed history rows [B, T, D] → keys and values, each [B, H, T, D/H]. The sink is not among them."""
        batch, length, _ = normed.shape
        projected = self.key_value(normed.flatten(0, 1)).view(batch, length, 2, self.heads, self.head_dim)
        projected = projected.permute(2, 0, 3, 1, 4)  # [2, B, H, T, D/H]
        return projected[0], projected[1]

    def with_sink(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the cold-start key and value before the history's: [B, H, T, D/H] → [B, H, T + 1, D/H]."""
        sink = self.sink.unsqueeze(1).expand(-1, keys.size(0), -1, -1, -1)  # [2, B, H, 1, D/H]
        return torch.cat([sink[0], keys], dim=2), torch.cat([sink[1], values], dim=2)

    def update(self, rows: Tensor, normed: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attend and feed forward, with residuals.

        rows [B, N, D] and normed = attention_norm(rows); keys, values [B, H, T + 1, D/H]; mask [B, 1, 1, T + 1] bool,
        True = real, None = all are → [B, N, D]. Sums are taken in place, in tensors made here, for cache's sake.
        """
        attended = F.scaled_dot_product_attention(self.queries(normed), keys, values, attn_mask=mask)  # [B, H, N, D/H]
        attended = attended.transpose(1, 2).reshape(-1, self.heads * self.head_dim)  # [B · N, D]
        flat = self.dropout(self.output(attended)).add_(rows.flatten(0, 1))  # [B · N, D]
        hidden = self.ffn_in(self.ffn_norm(flat))
        return self.dropout(self.ffn_out(self.dropout(hidden))).add_(flat).view_as(rows)

    def queries(self, normed: Tensor) -> Tensor:
        """[B, N, D] → [B, H, N, D/H]."""
        batch, count, _ = normed.shape
        return self.query(normed.flatten(0, 1)).view(batch, count, self.heads, self.head_dim).transpose(1, 2)

    def attention(self, normed: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The softmax weights of `update`, mean over the heads, the sink's share left out: [B, N, T]."""
        logits = (
            torch.matmul(self.queries(normed), keys.transpose(2, 3)).float() * self.head_dim**-0.5
        )  # [B, H, N, T + 1]
        return torch.softmax(logits.masked_fill(~mask, float("-inf")), dim=3).mean(dim=1)[:, :, 1:]
