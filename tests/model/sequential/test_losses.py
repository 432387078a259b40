"""Both losses against loops, and negatives that are none of the member's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.datasets.base import offsets_of
from model.sequential import losses
from model.sequential.losses import Unseen, bce, sampled_softmax
from model.sequential.sequences import Sequences


def test_bce_is_the_sum_of_both_sides() -> None:
    """−log σ(positive) − log(1 − σ(negative)), mean over rows."""
    rows, table = torch.randn(5, 4), torch.randn(9, 4)
    targets, negatives = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([6, 7, 8, 1, 2])
    expected = 0.0
    for row, target, negative in zip(rows, targets, negatives, strict=True):
        expected += math.log1p(math.exp(-float(row @ table[target]))) + math.log1p(
            math.exp(float(row @ table[negative]))
        )

    assert float(bce(rows, table, targets, negatives)) == pytest.approx(expected / 5, rel=1e-5)


def test_sampled_softmax_leaves_out_draws_of_the_right_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop, in several chunks; an item drawn twice counts twice, as published."""
    monkeypatch.setattr(losses, "_CHUNK", 2)
    rows, table = torch.randn(5, 4), torch.randn(9, 4)
    targets = torch.tensor([1, 2, 3, 4, 5])
    negatives = torch.tensor([[1, 6, 6], [3, 4, 5], [1, 2, 4], [4, 4, 4], [8, 7, 5]])
    expected = 0.0
    for row, target, drawn in zip(rows, targets.tolist(), negatives.tolist(), strict=True):
        others = sum(math.exp(float(row @ table[item])) for item in drawn if item != target)
        right = float(row @ table[target])
        expected += math.log(math.exp(right) + others) - right

    assert float(sampled_softmax(rows, table, targets, negatives)) == pytest.approx(expected / 5, rel=1e-5)


def test_a_negative_is_an_item_that_the_member_never_had(sequences: Sequences) -> None:
    """Not even a held-out one; and each of the others is drawn."""
    members = np.repeat([0, 1], 4000)
    drawn = Unseen(sequences).draw(members, np.random.default_rng(0))
    for member in (0, 1):
        had = set(sequences.items[sequences.offsets[member] : sequences.offsets[member + 1]].tolist())
        assert set(drawn[members == member].tolist()) == set(range(1, 41)) - had


def test_a_member_who_had_everything_is_refused() -> None:
    """There is no negative to draw, and no endless search for one."""
    everything = Sequences("all", ("", "a", "b"), offsets_of(np.array([2])), np.array([1, 2]), np.zeros(2, np.int64))

    with pytest.raises(ValueError, match="had every item"):
        Unseen(everything)
