"""The tokens that every encoder reads: actions and candidates as rows. It does not know what attends to them.

(No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

import torch
from torch import Tensor, nn


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
