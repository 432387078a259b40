"""Packed rows, and their padded form for attention."""

from __future__ import annotations

import numpy as np
import torch

from model.sequential.sequences import Sequences
from tests.model.sequential.conftest import whole


def test_padding_and_packing_are_inverse(sequences: Sequences) -> None:
    """And zeros stand on the right of each window."""
    batch = whole(sequences, np.array([0, 1, 2, 3]))
    rows = torch.randn(len(batch.items), 2, 3)
    padded = batch.padded(rows)

    assert padded.shape == (4, batch.longest, 2, 3)
    assert torch.equal(batch.packed(padded), rows)
    for member, length in enumerate(batch.lengths):
        assert not padded[member, length:].any()
        assert padded[member, :length].all()


def test_each_row_knows_its_window(sequences: Sequences) -> None:
    """Lengths by row, and the last row of each."""
    batch = whole(sequences, np.array([4, 9]))
    first, second = batch.lengths.tolist()

    assert batch.row_lengths.tolist() == [first] * first + [second] * second
    assert batch.last(batch.steps).tolist() == [first - 1, second - 1]
