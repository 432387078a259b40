"""The two losses and the negatives they draw. They do not know encoders or data sets.

bce               binary cross-entropy of the next item against one item that the member never had (Kang & McAuley
                  2018, and the published Beauty and Toys tables); the score is the dot product
sampled_softmax   the next item among itself and 128 items drawn evenly from the catalogue, of which those equal to
                  it do not count (Zhai et al. 2024); the score is the cosine over a temperature of 0.05
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.datasets.base import I64
from model.sequential.sequences import Sequences

LossName = Literal["bce", "sampled_softmax"]
LOSSES: tuple[LossName, ...] = get_args(LossName)
NEGATIVES = 128
TEMPERATURE = 0.05
_CHUNK = 2048  # rows


class Unseen:
    """Draws items that a member never had, held-out ones included (as published: they are never a negative)."""

    def __init__(self, sequences: Sequences) -> None:
        self._rows = len(sequences.item_ids)
        owner = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets))
        self._owned = np.unique(owner * self._rows + sequences.items)
        most = int(np.bincount(self._owned // self._rows).max())
        if most >= self._rows - 1:
            raise ValueError("a member had every item there is: no negative can be drawn")

    def draw(self, members: I64, rng: np.random.Generator) -> I64:
        """members: [N] → [N] rows, evenly from 1 … items without what each member had."""
        drawn = rng.integers(1, self._rows, len(members))
        while True:
            keys = members * self._rows + drawn
            bad = self._owned[np.minimum(np.searchsorted(self._owned, keys), len(self._owned) - 1)] == keys
            if not bad.any():
                return drawn
            drawn[bad] = rng.integers(1, self._rows, int(bad.sum()))


def bce(rows: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """rows [N, D], table [items + 1, D], targets and negatives [N] → the mean of both sides' sum, as published."""
    positive = (rows * F.embedding(targets, table)).sum(dim=1)
    negative = (rows * F.embedding(negatives, table)).sum(dim=1)
    return (F.softplus(-positive) + F.softplus(negative)).mean()


def sampled_softmax(rows: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """rows [N, D], table [items + 1, D], scored by their product; targets [N], negatives [N, 128] → the mean."""
    # All products at once and then the few that count: a GEMM is faster than gathering N · 128 embeddings, and their
    # gradients, row by row. Chunks keep [n, items] in bounds.
    losses = []
    for chunk in range(0, len(rows), _CHUNK):
        part = slice(chunk, chunk + _CHUNK)
        wanted = torch.cat([targets[part, None], negatives[part]], dim=1)  # [n, 129]
        scores = (rows[part] @ table.t()).gather(1, wanted)
        hits = F.pad(negatives[part] == targets[part, None], (1, 0))
        losses.append(
            F.cross_entropy(scores.masked_fill(hits, float("-inf")), torch.zeros_like(targets[part]), reduction="sum")
        )
    return torch.stack(losses).sum() / len(rows)
