"""What is scored with what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.sequential.losses import TEMPERATURE
from model.sequential.network import Network
from model.sequential.sequences import Sequences
from model.sequential.settings import ENCODERS, Encoder, NextItemSettings
from tests.model.sequential.conftest import whole

SETTINGS = NextItemSettings("x", "sasrec", "sampled_softmax", "validated", dim=8, heads=2, max_length=6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_softmax_scores_by_cosine_over_a_temperature(sequences: Sequences, encoder: Encoder) -> None:
    """Every row has length 1 / 0.05 and every item length 1."""
    network = Network(replace(SETTINGS, encoder=encoder), 40).eval()
    batch = whole(sequences, np.arange(5))

    torch.testing.assert_close(network.rows(batch).norm(dim=1), torch.full((len(batch.items),), 1.0 / TEMPERATURE))
    torch.testing.assert_close(network.table()[1:].norm(dim=1), torch.ones(40))


def test_bce_scores_by_the_dot_product(sequences: Sequences) -> None:
    """Rows and items as they come."""
    network = Network(replace(SETTINGS, loss="bce"), 40).eval()
    batch = whole(sequences, np.arange(5))

    assert network.table() is network.items.weight
    assert torch.equal(
        network.last(batch), network.encoder(network.items(batch.items), batch)[batch.lengths.cumsum(0) - 1]
    )
