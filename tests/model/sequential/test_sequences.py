"""Leave-one-out: who is held out where, and what a window holds."""

from __future__ import annotations

import numpy as np
import pytest

from model.sequential.sequences import Protocol, Sequences, ranges, windows

THREE = Sequences(
    "three",
    ("", *"abcdefgh"),
    np.array([0, 5, 7, 8]),
    np.array([1, 2, 3, 4, 5, 6, 7, 8]),
    np.arange(8, dtype=np.int64),
)


@pytest.mark.parametrize(("protocol", "last_trained"), [("validated", 3), ("fixed", 4)])
def test_the_last_item_is_the_test_and_is_never_trained_on(protocol: Protocol, last_trained: int) -> None:
    """Of items 1 … 5 the test asks for 5; training ends at 3 where 4 is the validation, else at 4."""
    first = np.array([0])

    assert windows(THREE, first, THREE.ends("test", protocol)[first], 9).targets.tolist() == [2, 3, 4, 5]
    assert windows(THREE, first, THREE.ends("train", protocol)[first], 9).targets[-1] == last_trained


def test_the_validation_asks_for_the_last_but_one() -> None:
    """And reads nothing after it."""
    window = windows(THREE, np.array([0]), THREE.ends("validation", "validated")[:1], 9)

    assert window.targets[-1] == 4
    assert window.items.tolist() == [1, 2, 3]


def test_a_member_without_an_item_before_a_target_is_in_no_part() -> None:
    """Two items give a test and no training, one item nothing."""
    assert THREE.members("test", "validated").tolist() == [0, 1]
    assert THREE.members("validation", "validated").tolist() == [0]
    assert THREE.members("train", "validated").tolist() == [0]


def test_windows_are_the_latest_pairs_of_each_member(sequences: Sequences) -> None:
    """Against a slow loop over members and rows."""
    members = np.array([7, 3, 50])
    ends = sequences.ends("train", "validated")[members]
    window = windows(sequences, members, ends, 4)
    rows = []
    for member, end in zip(members, ends, strict=True):
        start = sequences.offsets[member]
        pairs = [(row, row + 1) for row in range(start, end - 1)][-4:]
        rows += [(sequences.items[a], sequences.items[b], sequences.times[a], sequences.times[b]) for a, b in pairs]

    fields = (window.items, window.targets, window.times, window.target_times)
    assert np.array_equal(np.array(rows), np.stack(fields, axis=1))
    assert window.steps.tolist() == [step for length in window.lengths for step in range(length)]


def test_ranges_count_up_in_each_part() -> None:
    """A part of no length has none."""
    assert ranges(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
