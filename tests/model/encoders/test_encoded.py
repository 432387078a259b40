"""What an encoded history holds, whatever encoder made it."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from model.config import Encoder, RankerConfig
from model.encoders import build_encoder


@pytest.mark.parametrize("encoder", get_args(Encoder))
@torch.inference_mode()
def test_keys_and_values_of_every_layer_without_what_is_not_needed(encoder: Encoder) -> None:
    """Each layer has keys and values of its own memory, as many as the mask has, and the real actions are counted."""
    config = RankerConfig(
        actions=1, tasks=1, embedding_dim=8, heads=2, layers=3, max_history=8, slack=2, encoder=encoder
    )
    mask = torch.tensor([[True] * 5 + [False], [True] * 2 + [False] * 4])

    encoded = build_encoder(config).encode(torch.randn(2, 6, 8), torch.arange(12).view(2, 6), mask)

    size = encoded.mask.size(1)
    assert size == (6 if encoder == "hstu" else 7)  # the cold-start key
    assert encoded.lengths.tolist() == [5, 2]
    assert torch.equal(encoded.mask[:, -6:], mask)
    assert torch.equal(encoded.timestamps, torch.arange(12).view(2, 6))
    assert len(encoded.keys) == len(encoded.values) == 3
    for tensor in (*encoded.keys, *encoded.values):
        assert tensor.shape == (2, 2, size, 4)
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
