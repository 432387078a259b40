"""The comparison set: other ways for a candidate to meet the history, with the same tokens, head and widths.

    mean_pool     the history's mean, whatever the candidate: no early fusion at all
    concat        the candidate joined to every history step (LiRank §3.7, TransAct): the history is encoded anew for
                  each candidate
    append_self   the candidate appended as one more token under full self-attention (Hertel et al. 2024): history
                  rows see the candidate, so again the history is encoded anew
    append_cross  `ranker.Ranker`, the one that is served

They are trained and measured offline and never exported. This module does not know data or training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import RankerConfig
from model.heads import RankingHead
from model.ranker import build_ranker
from model.tokens import HistoryTokens

LAST_STEPS = 5  # LiRank §3.7 keeps the last five steps beside the max-pool


def build(config: RankerConfig) -> nn.Module:
    """The model of `config.fusion`. All take `Ranker.forward`'s arguments and have a `head`."""
    if config.fusion == "append_cross":
        return build_ranker(config)
    fuse = {"mean_pool": MeanPool, "concat": Concat, "append_self": AppendSelf}[config.fusion]
    return FusedRanker(config, fuse(config))


class FusedRanker(nn.Module):
    """Tokens → fusion → head."""

    def __init__(self, config: RankerConfig, fuse: nn.Module) -> None:
        super().__init__()
        self.tokens = HistoryTokens(config.actions, config.max_history, config.embedding_dim)
        self.fuse = fuse
        self.head = RankingHead(config)

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
        """As `Ranker.forward` → logits [B, C, K] f32."""
        lengths = mask.sum(dim=1)
        history = self.tokens(embeddings, actions, torch.zeros_like(lengths))
        output = self.fuse(history, mask, self.tokens.candidates(candidates, lengths))
        return self.head(output, candidates, features, context, meta)


class MeanPool(nn.Module):
    """The mean of the real history tokens, through one hidden layer; zeros for an empty history."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(config.embedding_dim, config.ffn_dim), nn.ReLU())
        self.output = nn.Linear(config.ffn_dim, config.embedding_dim)

    def forward(self, history: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        """history [B, T, D], mask [B, T], candidates [B, C, D] → [B, C, D]."""
        real = mask.unsqueeze(2).to(history.dtype)
        mean = (history * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0)  # [B, D]
        pooled: Tensor = self.output(self.hidden(mean)).unsqueeze(1)
        return pooled.expand(-1, candidates.size(1), -1)


class AppendSelf(nn.Module):
    """[H_1..H_T, candidate] under full self-attention, once for each candidate; its own row is the output."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.encoder = _encoder(config, config.ffn_dim)

    def forward(self, history: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        """history [B, T, D], mask [B, T], candidates [B, C, D] → [B, C, D]."""
        steps, seen = _per_candidate(history, mask, candidates.size(1))
        rows = torch.cat([candidates.flatten(0, 1).unsqueeze(1), steps], dim=1)  # [B·C, 1 + T, D]
        seen = nn.functional.pad(seen, (1, 0), value=True)
        output: Tensor = self.encoder(rows, src_key_padding_mask=~seen)[:, 0]
        return output.view_as(candidates)


class Concat(nn.Module):
    """Each step ‖ candidate, a Transformer of half the FFN width, then max-pool and the last five steps (LiRank §3.7).

    An empty history has no steps: one learned step stands before every history.
    """

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.first = nn.Parameter(torch.zeros(width))
        self.join = nn.Linear(2 * width, width)
        self.encoder = _encoder(config, config.ffn_dim // 2)
        self.output = nn.Linear((1 + LAST_STEPS) * width, width)

    def forward(self, history: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        """history [B, T, D], mask [B, T], candidates [B, C, D] → [B, C, D]."""
        steps, seen = _per_candidate(history, mask, candidates.size(1))
        steps = torch.cat([self.first.expand(steps.size(0), 1, -1), steps], dim=1)  # [B·C, 1 + T, D]
        seen = nn.functional.pad(seen, (1, 0), value=True)
        target = candidates.flatten(0, 1).unsqueeze(1).expand_as(steps)
        rows = self.encoder(self.join(torch.cat([steps, target], dim=2)), src_key_padding_mask=~seen)
        rows = rows.masked_fill(~seen.unsqueeze(2), 0.0)
        pooled = rows.masked_fill(~seen.unsqueeze(2), float("-inf")).amax(dim=1)  # [B·C, D]
        index = seen.sum(dim=1, keepdim=True) - 1 - torch.arange(LAST_STEPS, device=rows.device)  # [B·C, 5]
        last = rows.gather(1, index.clamp(min=0).unsqueeze(2).expand(-1, -1, rows.size(2)))
        last = last.masked_fill((index < 0).unsqueeze(2), 0.0).flatten(1)  # [B·C, 5·D]
        output: Tensor = self.output(torch.cat([pooled, last], dim=1))
        return output.view_as(candidates)


def _per_candidate(history: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The cost that amortization saves: one copy of the history for each candidate, [B·C, T, D] and [B·C, T]."""
    return history.repeat_interleave(count, dim=0), mask.repeat_interleave(count, dim=0)


def _encoder(config: RankerConfig, ffn_dim: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.embedding_dim, config.heads, ffn_dim, config.dropout, batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
