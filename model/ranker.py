"""The ranker that is served: append + cross-attention over a history that is encoded once (Hertel et al. 2024).

`encode_history` reads the history alone, `score_candidates` reads what it returned, `forward` is both. That is the
TorchScript interface of a bundle. It does not know item ids, training, files or requests. (No
`from __future__ import annotations`: TorchScript reads these annotations.)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import RankerConfig
from model.heads import RankingHead
from model.layers import CrossAttentionLayer, HistoryTokens


class EncodedHistory(NamedTuple):
    """Everything that scoring needs of a history: a value, passed on and never kept by the ranker.

    keys, values: one [B, H, T + 1, D/H] a layer, f32 or the ranker's reduced precision; the cold-start one first
    mask: [B, T + 1] bool, True = real (the first always is)
    timestamps: [B, T] i64 ms, for encoders whose attention reads time differences
    lengths: [B] i64, real actions
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    timestamps: Tensor
    lengths: Tensor


def unless_all_real(mask: Tensor) -> Tensor | None:
    """[B, T + 1] bool → [B, 1, 1, T + 1], or None where nothing is padded: attention without a mask is 10 % faster."""
    if bool(mask.all()):
        return None
    return mask[:, None, None, :]


class Ranker(nn.Module):
    """Softmax Transformer, bidirectional over the history: its encoding is reused, never extended."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.tokens = HistoryTokens(config.actions, config.max_history, config.embedding_dim)
        self.layers = nn.ModuleList(
            [
                CrossAttentionLayer(config.embedding_dim, config.heads, config.ffn_dim, config.dropout)
                for _ in range(config.layers)
            ]
        )
        self.head = RankingHead(config)

    @torch.jit.export
    def encode_history(self, embeddings: Tensor, actions: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """Keys and values of every layer.

        embeddings [B, T, D] f32 and actions, timestamps [B, T] i64, oldest first; mask [B, T] bool, True = real,
        padding on the right. T may be 0. T above the window's T_max is a caller's error.
        """
        lengths = mask.sum(dim=1)  # [B]
        rows = self.tokens(embeddings, actions, torch.zeros_like(lengths))
        seen = nn.functional.pad(mask, (1, 0), value=True)  # [B, T + 1]
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
        return EncodedHistory(all_keys, all_values, seen, timestamps, lengths)

    @torch.jit.export
    def score_candidates(
        self,
        encoded: EncodedHistory,
        candidates: Tensor,
        features: Tensor,
        context: Tensor,
        meta: Tensor,
        request_time: Tensor,
    ) -> Tensor:
        """Logits of all candidates in one pass; none of them sees another.

        candidates [B, C, D] f32; features [B, C, F] f32; context [B, G] f32; meta [B, M] f32; request_time [B] i64 ms
        → [B, C, K] f32. request_time is for encoders whose attention reads time differences; this one does not.
        """
        rows = self.tokens.candidates(candidates, encoded.lengths)
        mask = unless_all_real(encoded.mask)
        for index, layer in enumerate(self.layers):
            rows = layer.update(rows, layer.attention_norm(rows), encoded.keys[index], encoded.values[index], mask)
        return self.head(rows, candidates, features, context, meta)

    @torch.jit.export
    def explain_candidates(self, encoded: EncodedHistory, candidates: Tensor, request_time: Tensor) -> Tensor:
        """How each candidate's attention in the last layer falls on the history, mean over heads: [B, C, T] f32.

        What the cold-start key draws is left out, so a row sums to at most 1.
        """
        rows = self.tokens.candidates(candidates, encoded.lengths)
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

    def forward(
        self,
        embeddings: Tensor,
        actions: Tensor,
        timestamps: Tensor,
        mask: Tensor,
        candidates: Tensor,
        features: Tensor,
        context: Tensor,
        meta: Tensor,
        request_time: Tensor,
    ) -> Tensor:
        """Both steps. Shapes as above. → logits [B, C, K] f32."""
        encoded = self.encode_history(embeddings, actions, timestamps, mask)
        return self.score_candidates(encoded, candidates, features, context, meta, request_time)
