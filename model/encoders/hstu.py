"""HSTU: pointwise attention with gating and relative position and time (Zhai et al. 2024, eq. 1 to 3), causal.

    U, V, Q, K = SiLU(f1(Norm(X)))      A V = SiLU(Q Kᵀ + rab) V / N      Y = X + f2(Norm(A V) ⊙ U)

Two changes make it fit to be served. N is a constant of the bundle and not a batch's length, so no score depends on a
batch. Time differences are t_i − t_j (a candidate's: request time − t_j) and not those of the *next* item, which would
change a row when an action is appended to it. Whoever calls a layer gives it each row's time, so the layer itself does
not know which form it is, or tokens, heads and items. Scriptable. (No `from __future__ import annotations`:
TorchScript reads these annotations.)
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import RankerConfig
from model.encoders.encoded import EncodedHistory
from model.linear import Linear

TIME_BUCKETS = 129
"""As published; the longest time that i64 milliseconds can hold falls into the 123rd."""


def time_buckets(differences: Tensor) -> Tensor:
    """|Δt| in i64 ms → index of the time table, the same shape, i32: ⌊ln(max(|Δt|, 1 s)) / 0.301⌋.

    In float64: a bucket must not depend on how many differences are computed at once, as the last bit of a float32
    logarithm may.
    """
    seconds = differences.to(torch.float64).abs_().mul_(1e-3).clamp_(min=1.0)
    return seconds.log_().div_(0.301).to(torch.int32)


class HstuLayer(nn.Module):
    """One layer. normaliser: N · positions: of the position table, one more than the largest distance of two rows."""

    def __init__(self, embedding_dim: int, heads: int, positions: int, normaliser: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = embedding_dim // heads
        self.scale = 1.0 / normaliser
        self.norm = nn.LayerNorm(embedding_dim)
        # f1 in two halves: of the last layer's history rows only keys and values are needed.
        self.key_value = Linear(embedding_dim, 2 * embedding_dim)
        self.query_gate = Linear(embedding_dim, 2 * embedding_dim)
        # Causal rows meet distances ≥ 0 alone, so the published table of 2 · positions − 1 needs one half.
        self.position_bias = nn.Parameter(torch.empty(positions))
        self.time_bias = nn.Parameter(torch.empty(TIME_BUCKETS))
        # What a short history sums to is small after the division by N: a usual epsilon of 1e-5 would drown it.
        self.attended_norm = nn.LayerNorm(embedding_dim, eps=1e-6)
        self.output = Linear(embedding_dim, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        for table in (self.position_bias, self.time_bias):
            nn.init.normal_(table, std=0.02)

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """normed rows [B, n, D] → keys and values / N, each [B, H, n, D/H]."""
        keys, values = self._halves(self.key_value(normed.flatten(0, 1)), normed)
        return keys, values * self.scale

    def queries_gate(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """normed rows [B, n, D] → queries and gate U, each [B, H, n, D/H]."""
        return self._halves(self.query_gate(normed.flatten(0, 1)), normed)

    def bias(self, distances: Tensor, buckets: Tensor) -> Tensor:
        """rab: distances of positions and `time_buckets`, of one shape, i32 → the same shape, f32."""
        # What is clamped is masked: later rows of a block, and rows of padding.
        distances = distances.clamp(0, self.position_bias.size(0) - 1)
        bias = self.position_bias.index_select(0, distances.flatten())  # four times as fast as indexing
        return bias.add_(self.time_bias.index_select(0, buckets.flatten())).view_as(distances)

    def weights(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """SiLU(Q Kᵀ + rab): queries [B, H, n, D/H], keys [B, H, S, D/H], bias [B, 1, n or 1, S] → [B, H, n, S]."""
        return F.silu(torch.matmul(queries, keys.transpose(2, 3)).add_(bias), inplace=True)

    def finish(self, rows: Tensor, attended: Tensor, gate: Tensor) -> Tensor:
        """rows [B, n, D], attended and gate [B, H, n, D/H] → [B, n, D]."""
        width = self.heads * self.head_dim
        attended = self.attended_norm(attended.transpose(1, 2).reshape(-1, width))  # [B · n, D]
        gated = attended * gate.transpose(1, 2).reshape(-1, width)
        return self.dropout(self.output(gated)).add_(rows.flatten(0, 1)).view_as(rows)

    def history(self, rows: Tensor, normed: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """History rows [B, n, D], the last n of the S that keys and values [B, H, S, D/H] hold; each attends to itself
        and what came before. bias [B, n, S] → [B, n, D]."""
        queries, gate = self.queries_gate(normed)
        weights = self.weights(queries, keys, bias.unsqueeze(1))
        count, size = weights.size(2), weights.size(3)
        weights[:, :, :, size - count :].tril_()
        return self.finish(rows, torch.matmul(weights, values), gate)

    def candidates(self, rows: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Candidate rows [B, C, D]; each attends to the history, keys and values [B, H, S, D/H], and to itself, as if
        it were the next action. All stand at one place: bias [B, S] → [B, C, D]."""
        normed = self.norm(rows)
        queries, gate = self.queries_gate(normed)
        own_keys, own_values = self.keys_values(normed)
        attended = self.own_weights(queries, own_keys) * own_values
        attended = attended + torch.matmul(self.weights(queries, keys, bias[:, None, None]), values)
        return self.finish(rows, attended, gate)

    def own_weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """SiLU(q k + rab) of each row with itself: [B, H, C, 1]."""
        return F.silu((queries * keys).sum(dim=3, keepdim=True) + self.position_bias[0] + self.time_bias[0])

    def _halves(self, projected: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[B · n, 2D] → SiLU of both halves, each [B, H, n, D/H]."""
        both = F.silu(projected, inplace=True).view(rows.size(0), rows.size(1), 2, self.heads, self.head_dim)
        both = both.permute(2, 0, 3, 1, 4)  # [2, B, H, n, D/H]
        return both[0], both[1]


class HstuEncoder(nn.Module):
    """Layers of HSTU. A padded action's values are kept as zeros: without a softmax that is all that a mask must do."""

    block: Final = 128
    """Rows that attend together: their weights stay in the processor's cache."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                HstuLayer(
                    config.embedding_dim, config.heads, config.max_history + 1, config.max_history, config.dropout
                )
                for _ in range(config.layers)
            ]
        )

    def encode(self, rows: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """History tokens rows [B, T, D] f32, timestamps [B, T] i64 ms, mask [B, T] bool → keys and values.

        Encoding is extending the empty history.
        """
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for layer in self.layers:
            no_keys, no_values = layer.keys_values(rows[:, :0])
            keys.append(no_keys)
            values.append(no_values)
        empty = EncodedHistory(keys, values, mask[:, :0], timestamps[:, :0], mask[:, :0].sum(dim=1))
        return self.extend(empty, rows, timestamps, mask)

    def extend(self, encoded: EncodedHistory, rows: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedHistory:
        """Add n actions: rows [B, n, D] f32, timestamps [B, n] i64 ms, mask [B, n] bool → the longer encoding."""
        seen = torch.cat([encoded.mask, mask], dim=1)  # [B, T + n]
        times = torch.cat([encoded.timestamps, timestamps], dim=1)
        positions = seen.cumsum(dim=1, dtype=torch.int32) - 1  # [B, T + n]
        past, count = encoded.mask.size(1), rows.size(1)
        last = len(self.layers) - 1
        buckets: list[Tensor] = []  # of each block, the same in all layers
        if last > 0:
            for start in range(0, count, self.block):
                stop = past + min(start + self.block, count)
                buckets.append(time_buckets(times[:, past + start : stop, None] - times[:, None, :stop]))
        all_keys: list[Tensor] = []
        all_values: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            normed = layer.norm(rows)
            new_keys, new_values = layer.keys_values(normed)
            keys = torch.cat([encoded.keys[index], new_keys], dim=2)
            values = torch.cat([encoded.values[index], new_values * mask[:, None, :, None]], dim=2)
            all_keys.append(keys)
            all_values.append(values)
            if index < last and count > 0:  # nothing reads the last layer's history rows
                updated: list[Tensor] = []
                for block, bucket in enumerate(buckets):
                    start = block * self.block
                    stop = min(start + self.block, count)
                    end = past + stop
                    distances = positions[:, past + start : end, None] - positions[:, None, :end]
                    updated.append(
                        layer.history(
                            rows[:, start:stop],
                            normed[:, start:stop],
                            keys[:, :, :end],
                            values[:, :, :end],
                            layer.bias(distances, bucket),
                        )
                    )
                rows = torch.cat(updated, dim=1)
        return EncodedHistory(all_keys, all_values, seen, times, encoded.lengths + mask.sum(dim=1))

    def attend(self, rows: Tensor, encoded: EncodedHistory, request_time: Tensor) -> Tensor:
        """Candidate tokens [B, C, D] f32, each alone with the history; request_time [B] i64 ms → [B, C, D]."""
        distances, buckets = self._candidates_place(encoded, request_time)
        biases = [layer.bias(distances, buckets) for layer in self.layers]
        updated: list[Tensor] = []
        for start in range(0, max(rows.size(1), 1), self.block):  # once for no candidates too
            block = rows[:, start : start + self.block]
            for index, layer in enumerate(self.layers):
                block = layer.candidates(block, encoded.keys[index], encoded.values[index], biases[index])
            updated.append(block)
        return torch.cat(updated, dim=1)

    def explain(self, rows: Tensor, encoded: EncodedHistory, request_time: Tensor) -> Tensor:
        """The last layer's weights as shares: each one's size, whatever its sign, of all of them and the candidate's
        own; mean over heads, without the own one: [B, C, T] f32."""
        distances, buckets = self._candidates_place(encoded, request_time)
        last = len(self.layers) - 1
        shares = torch.zeros(0)
        for index, layer in enumerate(self.layers):
            bias = layer.bias(distances, buckets)
            if index < last:
                rows = layer.candidates(rows, encoded.keys[index], encoded.values[index], bias)
            else:
                normed = layer.norm(rows)
                queries, _ = layer.queries_gate(normed)
                own_keys, _ = layer.keys_values(normed)
                sizes = layer.weights(queries, encoded.keys[index], bias[:, None, None]).abs()  # [B, H, C, T]
                sizes = sizes * encoded.mask[:, None, None, :]
                total = sizes.sum(dim=3, keepdim=True) + layer.own_weights(queries, own_keys).abs()
                shares = (sizes / total.clamp(min=1e-30)).mean(dim=1)
        return shares

    def _candidates_place(self, encoded: EncodedHistory, request_time: Tensor) -> tuple[Tensor, Tensor]:
        """How far every key is from the candidates, which all stand right after the history: in positions and in time
        buckets, each [B, T] i32."""
        positions = encoded.mask.cumsum(dim=1, dtype=torch.int32) - 1
        return encoded.lengths[:, None].to(torch.int32) - positions, time_buckets(
            request_time[:, None] - encoded.timestamps
        )
