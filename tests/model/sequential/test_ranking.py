"""Ranks and measures against a slow loop; ties and seen items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.sequential.network import Network
from model.sequential.ranking import CUTS, measures, model_ranks, rank
from model.sequential.sequences import Part, Protocol, Sequences
from model.sequential.settings import NextItemSettings
from tests.model.sequential.conftest import whole

NOBODY = (torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


def test_a_tie_counts_against_the_right_item() -> None:
    """A model that scores everything alike is last."""
    assert rank(torch.zeros(1, 6), torch.tensor([3]), *NOBODY).tolist() == [5]


def test_padding_and_seen_items_are_not_ranked() -> None:
    """However well they score."""
    scores = torch.tensor([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 1.0, 2.0]])

    assert rank(scores, torch.tensor([2, 2]), torch.tensor([0, 0]), torch.tensor([1, 3])).tolist() == [1, 3]


def test_a_right_item_that_was_seen_before_is_a_miss() -> None:
    """It stands behind everything, padding included."""
    assert rank(torch.tensor([[0.0, 9.0, 1.0]]), torch.tensor([1]), torch.tensor([0]), torch.tensor([1])).tolist() == [
        3
    ]


def test_measures_are_those_of_a_slow_loop() -> None:
    """One right item: HR@K = Recall@K, and the ideal gain is 1."""
    ranks = np.array([1, 3, 5, 6, 10, 11, 20, 21, 50, 51, 4000])
    values = measures(ranks)
    for cut in CUTS:
        assert values[f"hr@{cut}"] == pytest.approx(sum(r <= cut for r in ranks) / len(ranks))
        gains = [1.0 / math.log2(r + 1) for r in ranks if r <= cut]
        assert values[f"ndcg@{cut}"] == pytest.approx(sum(gains) / len(ranks))


@pytest.mark.parametrize("protocol", ["validated", "fixed"])
@pytest.mark.parametrize("part", ["validation", "test"])
@torch.inference_mode()
def test_ranks_are_those_of_a_slow_loop(sequences: Sequences, part: Part, protocol: Protocol) -> None:
    """Member by member and item by item. Windows of 3 tell the protocols apart: what is left out differs."""
    settings = NextItemSettings("x", "sasrec", "bce", protocol, dim=8, heads=2, max_length=3)
    torch.manual_seed(0)
    network = Network(settings, 40)
    torch.nn.init.normal_(network.items.weight)
    ranks = model_ranks(network, sequences, part, protocol, 3)
    held_out = 1 if part == "validation" else 0
    expected = []
    for member in range(len(sequences.offsets) - 1):
        own = sequences.items[sequences.offsets[member] : sequences.offsets[member + 1] - held_out]
        left_out = set(own[:-1][-3:].tolist() if protocol == "fixed" else own[:-1].tolist())
        one = Sequences("one", sequences.item_ids, np.array([0, len(own)]), own, np.zeros(len(own), np.int64))
        scores = (network.last(whole(one, np.array([0]), 3)) @ network.table().t())[0]
        better = [item for item in range(1, 41) if item not in left_out and scores[item] > scores[own[-1]]]
        expected.append(len(better) + 1)

    assert ranks.tolist() == expected
