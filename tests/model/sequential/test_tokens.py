"""What goes into the first layer."""

from __future__ import annotations

import numpy as np
import torch

from model.sequential.sequences import Sequences
from model.sequential.tokens import Tokens
from tests.model.sequential.conftest import MAX_LENGTH, whole


def test_a_token_is_a_loud_item_at_its_place_from_the_start(sequences: Sequences) -> None:
    """√D · embedding + the position's vector."""
    tokens = Tokens(4, MAX_LENGTH, 0.5).eval()
    batch = whole(sequences, np.array([0, 1]))
    embeddings = torch.randn(len(batch.items), 4)

    rows = tokens(embeddings, batch)
    for row, step in enumerate(batch.steps):
        torch.testing.assert_close(rows[row], 2.0 * embeddings[row] + tokens.positions.weight[step])
