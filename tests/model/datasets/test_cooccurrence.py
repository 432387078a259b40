"""Co-occurrence: who met what in training, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.datasets.base import Dataset, Impressions
from model.datasets.cooccurrence import cooccurrence
from model.datasets.synthetic import World, load_synthetic

WIDTH = 8


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A synthetic feed whose members are shown hardly anything but what they like."""
    return load_synthetic("feed", seed=2, world=World(members=200, items=60, sessions=8, drift=0.0, retrieval=5.0))


def with_train(dataset: Dataset, part: Impressions) -> Dataset:
    """The same data set with another training split."""
    return replace(dataset, splits={**dataset.splits, "train": part})


def test_items_met_by_the_same_members_lie_together(dataset: Dataset) -> None:
    """Two items that many members have both met are more alike than two that few have."""
    part = dataset.splits["train"]
    met = np.zeros((len(dataset.member_ids), len(dataset.item_ids)))
    met[np.repeat(part.member, np.diff(part.candidate_offsets)), part.candidate_items] = 1.0
    met = met[:, 1:] / np.linalg.norm(met[:, 1:], axis=0)
    vectors = cooccurrence(dataset, WIDTH)[1:, 1:]  # the first component is how often an item is met
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = np.triu_indices(len(vectors), 1)
    shared, alike = (met.T @ met)[pairs], (vectors @ vectors.T)[pairs]

    assert alike[shared > np.quantile(shared, 0.9)].mean() > alike[shared < np.quantile(shared, 0.5)].mean() + 0.3


def test_neither_labels_nor_what_comes_later_are_read(dataset: Dataset) -> None:
    """Turning every training label and dropping the later splits changes nothing."""
    part = dataset.splits["train"]
    turned = with_train(dataset, replace(part, labels=1.0 - part.labels))
    nothing = part.take(np.arange(0))
    blind = replace(dataset, splits={"train": part, "validation": nothing, "test": nothing})

    assert np.array_equal(cooccurrence(turned, WIDTH), cooccurrence(dataset, WIDTH))
    assert np.array_equal(cooccurrence(blind, WIDTH), cooccurrence(dataset, WIDTH))


def test_items_that_nobody_met_have_no_place(dataset: Dataset) -> None:
    """They and the unknown item are zeros; the others have mean square 1."""
    part = dataset.splits["train"].take(np.arange(5))
    vectors = cooccurrence(with_train(dataset, part), WIDTH)
    met = np.isin(np.arange(len(vectors)), part.candidate_items)

    assert vectors.shape == (len(dataset.item_ids), WIDTH)
    assert np.abs(vectors[~met]).max() < 1e-6
    assert (vectors[met] ** 2).mean() == pytest.approx(1.0, rel=1e-4)


def test_more_columns_than_items_are_filled_with_zeros(dataset: Dataset) -> None:
    """A width that the graph cannot fill is still the width asked for."""
    wide = cooccurrence(dataset, 100)

    assert wide.shape == (len(dataset.item_ids), 100)
    assert np.isfinite(wide).all()
    assert not wide[:, len(dataset.item_ids) :].any()
