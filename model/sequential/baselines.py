"""What counting alone achieves: items by how often they occur, or by how often they came next.

How far a model is ahead of the second says whether it has learned more than which item follows which. The module does
not know models.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from model.datasets.base import I64
from model.sequential.ranking import BATCH, rank, seen_before
from model.sequential.sequences import Part, Protocol, Sequences, ranges

Scores = Callable[[I64], NDArray[np.float64]]
"""Members' last items before their targets [B] → scores [B, items + 1]."""


def popularity(sequences: Sequences, protocol: Protocol) -> Scores:
    """Items by how often they are in the training part."""
    counts = _popularity(sequences, protocol)
    return lambda last: np.tile(counts, (len(last), 1))


def transitions(sequences: Sequences, protocol: Protocol) -> Scores:
    """Items by how often they came right after the last item in the training part, and where that is equal, by
    popularity: a Markov chain of the first order."""
    counts = _popularity(sequences, protocol)
    second = np.flatnonzero(_trained(sequences, protocol)[1:]) + 1
    second = second[~np.isin(second, sequences.offsets)]  # a member's first item came after nothing
    width = len(counts)
    pairs, times = np.unique(sequences.items[second - 1] * width + sequences.items[second], return_counts=True)

    def scores(last: I64) -> NDArray[np.float64]:
        result = np.tile(counts / (counts.sum() + 1.0), (len(last), 1))
        first = np.searchsorted(pairs, last * width)
        lengths = np.searchsorted(pairs, (last + 1) * width) - first
        found = np.repeat(first, lengths) + ranges(lengths)
        result[np.repeat(np.arange(len(last)), lengths), pairs[found] % width] += times[found]
        return result

    return scores


def counted_ranks(scores: Scores, sequences: Sequences, part: Part, protocol: Protocol) -> I64:
    """Ranks of the part's last target of every member, in order of member. Left out is all that a member had before."""
    members, ends = sequences.members(part, protocol), sequences.ends(part, protocol)
    ranks: list[I64] = []
    for start in range(0, len(members), BATCH):
        chosen = members[start : start + BATCH]
        before, targets = sequences.items[ends[chosen] - 2], sequences.items[ends[chosen] - 1]
        seen = seen_before(sequences, chosen, ends[chosen], None)
        ranks.append(rank(torch.from_numpy(scores(before)), torch.from_numpy(targets), *seen).numpy())
    return np.concatenate(ranks)


def _trained(sequences: Sequences, protocol: Protocol) -> NDArray[np.bool_]:
    """[A] bool: which actions are in the training part."""
    ends = np.repeat(sequences.ends("train", protocol), np.diff(sequences.offsets))
    return np.arange(len(ends)) < ends


def _popularity(sequences: Sequences, protocol: Protocol) -> NDArray[np.float64]:
    """[items + 1] occurrences in the training part."""
    trained = sequences.items[_trained(sequences, protocol)]
    return np.bincount(trained, minlength=len(sequences.item_ids)).astype(np.float64)
