"""The ranker that is served: candidates attend to a history that is encoded once (Hertel et al. 2024, M-FALCON).

`encode_history` reads the history alone, `score_candidates` reads what it returned, `forward` is both. That is the
TorchScript interface of a bundle, whatever the encoder; causal encoders also have `extend_history`. It does not know
item ids, training, files or requests. (No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

import torch
from torch import Tensor, nn

from model.config import RankerConfig
from model.encoders import EncodedParts, build_encoder, of_parts, parts_of
from model.heads import RankingHead
from model.tokens import HistoryTokens


class Ranker(nn.Module):
    """Tokens → encoder → head."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.tokens = HistoryTokens(config.actions, config.max_history, config.embedding_dim)
        self.encoder = build_encoder(config)
        self.head = RankingHead(config)

    @torch.jit.export
    def encode_history(self, embeddings: Tensor, actions: Tensor, timestamps: Tensor, mask: Tensor) -> EncodedParts:
        """Keys and values of every layer, and what else an `EncodedHistory` holds.

        embeddings [B, T, D] f32 and actions, timestamps [B, T] i64, oldest first; mask [B, T] bool, True = real,
        padding on the right. T may be 0. T above the window's T_max is a caller's error.
        """
        rows = self.tokens(embeddings, actions, mask[:, :0].sum(dim=1))
        return parts_of(self.encoder.encode(rows, timestamps, mask))

    @torch.jit.export
    def score_candidates(
        self,
        encoded: EncodedParts,
        candidates: Tensor,
        features: Tensor,
        context: Tensor,
        meta: Tensor,
        request_time: Tensor,
    ) -> Tensor:
        """Logits of all candidates in one pass; none of them sees another.

        candidates [B, C, D] f32; features [B, C, F] f32; context [B, G] f32; meta [B, M] f32; request_time [B] i64 ms
        → [B, C, K] f32. request_time is for encoders whose attention reads time differences.
        """
        history = of_parts(encoded)
        rows = self.tokens.candidates(candidates, history.lengths)
        rows = self.encoder.attend(rows, history, request_time)
        return self.head(rows, candidates, features, context, meta)

    @torch.jit.export
    def explain_candidates(self, encoded: EncodedParts, candidates: Tensor, request_time: Tensor) -> Tensor:
        """How each candidate's attention in the last layer falls on the history, mean over heads: [B, C, T] f32.

        What the cold-start key, or the candidate itself, draws is left out, so a row sums to at most 1.
        """
        history = of_parts(encoded)
        rows = self.tokens.candidates(candidates, history.lengths)
        return self.encoder.explain(rows, history, request_time)

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


class ExtendableRanker(Ranker):
    """A ranker whose encoder is causal: an action that is appended changes no earlier row."""

    @torch.jit.export
    def extend_history(
        self, encoded: EncodedParts, embeddings: Tensor, actions: Tensor, timestamps: Tensor, mask: Tensor
    ) -> EncodedParts:
        """What `encode_history` gives for a history and n further actions, from the encoded history alone.

        embeddings [B, n, D] and so on as there. n may be 0, and so may what is encoded. A longer history than T_max is
        a caller's error.
        """
        history = of_parts(encoded)
        rows = self.tokens(embeddings, actions, history.lengths)
        return parts_of(self.encoder.extend(history, rows, timestamps, mask))


def build_ranker(config: RankerConfig) -> Ranker:
    """The ranker of the config's encoder, with random weights."""
    return ExtendableRanker(config) if config.extendable else Ranker(config)
