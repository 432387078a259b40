"""Padded batches: the anchored window, and nothing lost or made up."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle import window_start
from model.datasets.base import Dataset
from model.datasets.batches import gather, ordered, shuffled
from model.datasets.synthetic import World, load_synthetic


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A small synthetic feed whose logs outgrow the window."""
    return load_synthetic("feed", seed=5, world=World(members=30, items=60, sessions=10))


def test_a_batch_reads_the_window_that_serving_reads(dataset: Dataset) -> None:
    """Each history is log[window_start(total):total], padded on the right."""
    part = dataset.splits["test"]
    batch = gather(dataset, part, np.arange(len(part)), max_history=20, slack=5)

    for row in range(len(part)):
        total = int(part.history_end[row])
        begin = dataset.log.offsets[part.member[row]]
        window = slice(begin + window_start(total, 20, 5), begin + total)
        length = window.stop - window.start
        assert batch.history_mask[row].tolist() == [True] * length + [False] * (batch.history_mask.shape[1] - length)
        assert np.array_equal(batch.history_items[row, :length], dataset.log.items[window])
        assert np.array_equal(batch.history_actions[row, :length], dataset.log.actions[window])
        assert np.array_equal(batch.history_times[row, :length], dataset.log.times[window])
    assert batch.history_mask.shape[1] <= 20


def test_real_candidates_of_a_batch_are_the_impressions_own(dataset: Dataset) -> None:
    """Read through the mask, candidates, features and labels come back in order."""
    part = dataset.splits["train"]
    rows = np.array([7, 3, 11])
    batch = gather(dataset, part, rows, max_history=20, slack=5)
    expected = part.take(rows)

    assert np.array_equal(batch.candidate_items[batch.candidate_mask], expected.candidate_items)
    assert np.array_equal(batch.features[batch.candidate_mask], expected.features)
    assert np.array_equal(batch.labels[batch.candidate_mask], expected.labels)
    assert np.array_equal(batch.context, expected.context)


def test_a_batch_of_cold_members_has_no_history_axis(dataset: Dataset) -> None:
    """T = 0 is a batch like any other."""
    part = dataset.splits["train"]
    batch = gather(dataset, part, np.flatnonzero(part.history_end == 0), max_history=20, slack=5)

    assert batch.history_mask.shape[1] == 0


def test_shuffled_batches_hold_every_impression_once_and_depend_on_the_seed_alone(dataset: Dataset) -> None:
    """One epoch is a permutation, the same for the same seed."""
    part = dataset.splits["train"]
    first, again, other = (shuffled(part.history_end, 16, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert sorted(np.concatenate(first).tolist()) == list(range(len(part)))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))


def test_ordered_batches_hold_every_impression_in_order(dataset: Dataset) -> None:
    """Evaluation walks through a split once."""
    part = dataset.splits["test"]

    assert np.concatenate(list(ordered(part, 7))).tolist() == list(range(len(part)))
