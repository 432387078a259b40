"""The softmax Transformer of append + cross-attention (Hertel et al. 2024), bidirectional over the history or causal.

Both have the same layers and weights: they differ in what a history row may attend to. Scriptable. It does not know
tokens, heads or what an item is. (No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import RankerConfig
from model.encoders.encoded import EncodedHistory
from model.linear import Linear, ReluLinear


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


def unless_all_real(mask: Tensor) -> Tensor | None:
    """[B, T + 1] bool → [B, 1, 1, T + 1], or None where nothing is padded: attention without a mask is 10 % faster."""
    if bool(mask.all()):
        return None
    return mask[:, None, None, :]


def causal(seen: Tensor, count: int) -> Tensor | None:
    """What the last `count` of K keys' own rows may attend to: real keys, none of them later than the row.

    seen [B, K] bool → [B, 1, count, K], or None where that is everything.
    """
    if count == 1:
        return unless_all_real(seen)
    size = seen.size(1)
    earlier = torch.ones(count, size, dtype=torch.bool, device=seen.device).tril(size - count)
    return earlier & seen[:, None, None, :]


class TransformerEncoder(nn.Module):
    """Bidirectional over the history: one more action changes every row, so its encoding is reused, never extended."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                CrossAttentionLayer(config.embedding_dim, config.heads, config.ffn_dim, config.dropout)
                for _ in range(config.layers)
            ]
        )

    def encode(self, rows: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """History tokens rows [B, T, D] f32, timestamps [B, T] i64 ms, mask [B, T] bool → keys and values."""
        seen = F.pad(mask, (1, 0), value=True)  # [B, T + 1]
        attended = unless_all_real(seen)
        all_keys: list[Tensor] = []
        all_values: list[Tensor] = []
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            normed = layer.attention_norm(rows)
            keys, values = layer.keys_values(normed)
            keys, values = layer.with_sink(keys, values)
            all_keys.append(keys)
            all_values.append(values)
            if index < last:  # nothing reads the last layer's history rows
                rows = layer.update(rows, normed, keys, values, attended)
        return EncodedHistory(all_keys, all_values, seen, timestamps, mask.sum(dim=1))

    def attend(self, rows: Tensor, encoded: EncodedHistory, request_time: Tensor) -> Tensor:
        """Candidate tokens [B, C, D] f32, each alone with the history → [B, C, D]. Times are not read."""
        mask = unless_all_real(encoded.mask)
        for index, layer in enumerate(self.layers):
            rows = layer.update(rows, layer.attention_norm(rows), encoded.keys[index], encoded.values[index], mask)
        return rows

    def explain(self, rows: Tensor, encoded: EncodedHistory, request_time: Tensor) -> Tensor:
        """The last layer's softmax weights, mean over heads, without the cold-start key's: [B, C, T] f32."""
        mask = encoded.mask[:, None, None, :]
        last = len(self.layers) - 1
        attention = torch.zeros(0)
        for index, layer in enumerate(self.layers):
            normed = layer.attention_norm(rows)
            if index < last:
                rows = layer.update(rows, normed, encoded.keys[index], encoded.values[index], mask)
            else:
                attention = layer.attention(normed, encoded.keys[index], mask)
        return attention


class CausalTransformerEncoder(TransformerEncoder):
    """A history row attends to itself and to what came before it: later actions leave it as it is."""

    block: Final = 128
    """Rows that attend together: what comes after all of them is not multiplied only to be masked."""

    def encode(self, rows: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """As `TransformerEncoder.encode`; encoding is extending the empty history."""
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in self.layers:
            no_keys, no_values = layer.keys_values(rows[:, :0])
            sink_key, sink_value = layer.with_sink(no_keys, no_values)
            keys.append(sink_key)
            values.append(sink_value)
        sink_only = F.pad(mask[:, :0], (1, 0), value=True)  # [B, 1]
        lengths = mask[:, :0].sum(dim=1)
        return self.extend(EncodedHistory(keys, values, sink_only, timestamps[:, :0], lengths), rows, timestamps, mask)

    def extend(self, encoded: EncodedHistory, rows: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """Add n actions: rows [B, n, D] f32, timestamps [B, n] i64 ms, mask [B, n] bool → the longer encoding."""
        seen = torch.cat([encoded.mask, mask], dim=1)  # [B, 1 + T + n]
        past, count = encoded.mask.size(1), rows.size(1)
        all_keys: list[Tensor] = []
        all_values: list[Tensor] = []
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            normed = layer.attention_norm(rows)
            new_keys, new_values = layer.keys_values(normed)
            keys = torch.cat([encoded.keys[index], new_keys], dim=2)
            values = torch.cat([encoded.values[index], new_values], dim=2)
            all_keys.append(keys)
            all_values.append(values)
            if index < last and count > 0:
                updated: list[Tensor] = []
                for start in range(0, count, self.block):
                    stop = min(start + self.block, count)
                    updated.append(
                        layer.update(
                            rows[:, start:stop],
                            normed[:, start:stop],
                            keys[:, :, : past + stop],
                            values[:, :, : past + stop],
                            causal(seen[:, : past + stop], stop - start),
                        )
                    )
                rows = torch.cat(updated, dim=1)
        times = torch.cat([encoded.timestamps, timestamps], dim=1)
        return EncodedHistory(all_keys, all_values, seen, times, encoded.lengths + mask.sum(dim=1))
