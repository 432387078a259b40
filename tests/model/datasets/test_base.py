"""The shapes that every data set shares, and the promises that every one keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.datasets.base import SPLITS, Dataset, action_log, split_by_time
from model.datasets.loader import load
from model.datasets.synthetic import World, load_synthetic

SMALL = World(members=40, items=60, sessions=10)


@pytest.fixture(params=["synthetic feed", "synthetic ads", "movielens feed", "movielens ads", "sequences", "real"])
def dataset(
    request: pytest.FixtureRequest, movielens_folder: Path, sequence_file: Path, real_data: Callable[[str], Path]
) -> Dataset:
    """Every data set in turn."""
    match request.param.split():
        case ["synthetic", surface]:
            return load_synthetic(surface, seed=3, world=SMALL)
        case ["movielens", surface]:
            return load(str(movielens_folder), surface)
        case ["sequences"]:
            return load(str(sequence_file), "feed")
        case _:
            return load(str(real_data("ml-100k")), "feed")


def test_a_history_holds_exactly_the_strictly_earlier_actions(dataset: Dataset) -> None:
    """The last action of a history is before its request; the next one is not."""
    log = dataset.log
    for split in SPLITS:
        part = dataset.splits[split]
        end = log.offsets[part.member] + part.history_end
        some = part.history_end > 0
        more = end < log.offsets[part.member + 1]

        assert (log.times[end[some] - 1] < part.request_time[some]).all()
        assert (log.times[end[more]] >= part.request_time[more]).all()


def test_every_members_log_is_in_order_of_time(dataset: Dataset) -> None:
    """Histories are oldest to newest."""
    for begin, end in zip(dataset.log.offsets[:-1], dataset.log.offsets[1:], strict=True):
        assert (np.diff(dataset.log.times[begin:end]) >= 0).all()


def test_splits_follow_each_other_in_time(dataset: Dataset) -> None:
    """Training ends before validation begins, and that before the test: for all members at once, or (leave-one-out,
    where a position stands for the time) for each of them."""
    train, validation, test = (dataset.splits[split] for split in SPLITS)
    if dataset.name.startswith("amazon"):
        last = np.full(len(dataset.member_ids), -1)
        np.maximum.at(last, train.member, train.request_time)

        assert (last[validation.member] < validation.request_time).all()
        assert np.array_equal(validation.member, test.member)
        assert (validation.request_time < test.request_time).all()
    else:
        assert train.request_time.max() < validation.request_time.min()
        assert validation.request_time.max() < test.request_time.min()


def test_no_impression_is_lost_between_the_splits_and_none_is_empty(dataset: Dataset) -> None:
    """Every split has impressions, every impression has candidates, and no candidate comes twice in one."""
    for split in SPLITS:
        part = dataset.splits[split]
        owner = np.repeat(np.arange(len(part)), np.diff(part.candidate_offsets))

        assert len(part) > 0
        assert (np.diff(part.candidate_offsets) > 0).all()
        assert len(np.unique(owner * len(dataset.item_ids) + part.candidate_items)) == len(owner)
        assert (part.candidate_items > 0).all()


def test_features_are_those_known_at_request_time(dataset: Dataset) -> None:
    """What training reads is what `features_at` gives for that item and time, and it is finite."""
    for split in SPLITS:
        part = dataset.splits[split]

        assert np.array_equal(part.features, dataset.features_at(part.candidate_items, part.candidate_times))
        assert np.isfinite(part.features).all()
        assert np.isfinite(part.context).all()


def test_popularity_is_a_probability(dataset: Dataset) -> None:
    """The popularity baseline lies strictly between 0 and 1 for every task."""
    part = dataset.splits["test"]
    rates = dataset.popularity_at(part.candidate_items, part.candidate_times)

    assert rates.shape == part.labels.shape
    assert ((rates > 0) & (rates < 1)).all()


def test_a_dataset_that_leaks_the_future_is_refused() -> None:
    """A history that holds one action too many cannot be built."""
    dataset = load_synthetic("feed", seed=0, world=SMALL)
    test = dataset.splits["test"]
    leaking = {**dataset.splits, "test": replace(test, history_end=test.history_end + 1)}

    with pytest.raises(ValueError, match="test: a history is not exactly"):
        replace(dataset, splits=leaking)


def test_actions_of_one_instant_keep_their_order() -> None:
    """A log is in order of arrival where the clock cannot tell."""
    log = action_log(2, np.array([1, 0, 1, 1]), np.array([5, 6, 7, 8]), np.zeros(4, np.int64), np.array([9, 1, 9, 3]))

    assert log.items.tolist() == [6, 8, 5, 7]
    assert log.offsets.tolist() == [0, 1, 4]


def test_equal_times_never_fall_on_both_sides_of_a_cut() -> None:
    """The cut is an instant: requests of that instant are all on its later side."""
    dataset = load_synthetic("feed", seed=0, world=SMALL)
    part = dataset.splits["train"]
    coarse = replace(part, request_time=part.request_time // 50_000_000)
    splits = split_by_time(coarse)

    assert splits["train"].request_time.max() < splits["validation"].request_time.min()
    assert sum(len(splits[split]) for split in SPLITS) == len(part)
