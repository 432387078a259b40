"""Sequences with a planted pattern, and small random batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from model.datasets.base import offsets_of
from model.sequential.batch import Batch, to_batch
from model.sequential.sequences import Sequences, windows

MAX_LENGTH = 6


def ring(members: int = 120, items: int = 40) -> Sequences:
    """Everybody walks the same hidden ring of items from a start of their own, for 5 to 9 steps, an hour each."""
    rng = np.random.default_rng(0)
    after = np.concatenate([[0], 1 + rng.permutation(items)])
    place = {item: at for at, item in enumerate(after.tolist())}
    lengths = rng.integers(5, 10, members)
    walks: list[int] = []
    for length in lengths:
        item = int(rng.integers(1, items + 1))
        for _ in range(length):
            walks.append(item)
            item = int(after[place[item] % items + 1])
    times = np.concatenate([3_600_000 * np.arange(length) for length in lengths]).astype(np.int64)
    return Sequences("ring", ("", *map(str, range(1, items + 1))), offsets_of(lengths), np.array(walks), times)


@pytest.fixture(scope="session")
def sequences() -> Sequences:
    """120 members, 40 items."""
    return ring()


def whole(sequences: Sequences, members: np.ndarray, max_length: int = MAX_LENGTH) -> Batch:
    """The members' test windows."""
    return to_batch(windows(sequences, members, sequences.ends("test", "validated")[members], max_length))


@torch.no_grad()
def check_causal_and_alone(encoder: nn.Module, sequences: Sequences) -> None:
    """Assert that a row reads neither later items nor other members."""
    encoder.eval()
    torch.manual_seed(1)
    table = torch.randn(len(sequences.item_ids), 8)
    batch = whole(sequences, np.arange(12))
    rows = encoder(table[batch.items], batch)
    for member in (0, 5, 11):
        alone = whole(sequences, np.array([member]))
        first = int(batch.lengths[:member].sum())
        mine = slice(first, first + int(batch.lengths[member]))
        torch.testing.assert_close(encoder(table[alone.items], alone), rows[mine], atol=1e-5, rtol=0)

    last = batch.lengths.cumsum(0) - 1
    changed = table[batch.items].clone()
    changed[last] *= -1.0
    moved = (encoder(changed, batch) - rows).abs().amax(dim=1)
    earlier = torch.ones(len(moved), dtype=torch.bool)
    earlier[last] = False
    assert float(moved[earlier].max()) == 0.0
    assert float(moved[last].min()) > 1e-3
