"""The S3-Rec form of SASRec: causality, and positions from the end."""

from __future__ import annotations

import numpy as np
import torch

from model.sequential.postnorm import PostNormEncoder
from model.sequential.sequences import Sequences
from tests.model.sequential.conftest import MAX_LENGTH, check_causal_and_alone, whole


def test_a_row_reads_neither_later_items_nor_other_members(sequences: Sequences) -> None:
    """Changing a window's last item changes its last row alone."""
    encoder = PostNormEncoder(8, 2, 2, MAX_LENGTH, 0.5)
    # At its own start of N(0, 0.02) a layer hardly mixes anything; nothing could be seen of what it must not.
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)

    check_causal_and_alone(encoder, sequences)


def test_the_last_item_always_stands_at_the_last_position(sequences: Sequences) -> None:
    """However long the window is, only the positions nearest to its end are read."""
    encoder = PostNormEncoder(8, 1, 2, 50, 0.0)
    batch = whole(sequences, np.array([0]), 3)
    (encoder(torch.randn(3, 8), batch) * torch.randn(3, 8)).sum().backward()  # a norm's rows sum to a constant
    read = encoder.positions.weight.grad.abs().sum(dim=1) > 0

    assert read.nonzero().flatten().tolist() == [47, 48, 49]


def test_weights_start_small_and_biases_at_zero() -> None:
    """N(0, 0.02), as published."""
    encoder = PostNormEncoder(64, 1, 2, 50, 0.5)

    assert abs(float(encoder.layers[0].wide.weight.detach().std()) - 0.02) < 1e-3
    assert not encoder.layers[0].wide.bias.any()
