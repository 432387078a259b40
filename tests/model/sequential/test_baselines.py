"""Counts against slow loops."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from model.sequential.baselines import counted_ranks, popularity, transitions
from model.sequential.sequences import Part, Protocol, Sequences


def histories(sequences: Sequences) -> list[list[int]]:
    """Every member's items."""
    return [sequences.items[a:b].tolist() for a, b in pairwise(sequences.offsets)]


@pytest.mark.parametrize(("protocol", "held_out"), [("validated", 2), ("fixed", 1)])
@pytest.mark.parametrize(("part", "after"), [("test", 0), ("validation", 1)])
def test_only_the_training_part_is_counted(
    sequences: Sequences, protocol: Protocol, held_out: int, part: Part, after: int
) -> None:
    """By how often items occur, and by how often they came next; what is equally often stands before the right item."""
    members = histories(sequences)
    counts = Counter(item for items in members for item in items[:-held_out])
    pairs = Counter(pair for items in members for pair in pairwise(items[:-held_out]))
    popular, chained = [], []
    for items in members:
        *before, target = items[: len(items) - after]
        free = [item for item in range(1, 41) if item not in before or item == target]
        popular.append(sum(counts[item] >= counts[target] for item in free))
        scores = {item: (pairs[before[-1], item], counts[item]) for item in free}
        chained.append(sum(scores[item] >= scores[target] for item in free))

    assert counted_ranks(popularity(sequences, protocol), sequences, part, protocol).tolist() == popular
    assert counted_ranks(transitions(sequences, protocol), sequences, part, protocol).tolist() == chained
