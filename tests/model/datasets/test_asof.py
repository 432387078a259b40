"""As-of sums: nothing at or after the moment counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.datasets.asof import AsOf

events = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 1)), min_size=1, max_size=40)


@given(events=events, item=st.integers(0, 5), time=st.integers(-3, 25))
def test_counts_and_rates_read_only_strictly_earlier_events(
    events: list[tuple[int, int, int]], item: int, time: int
) -> None:
    """The fast lookup equals a loop over all events."""
    items, times, outcomes = (np.array(column, dtype=np.int64) for column in zip(*events, strict=True))
    known = AsOf(items, times, outcomes[:, None].astype(np.float32))
    before = times < time
    mine = before & (items == item)
    prior = (outcomes[before].sum() + 1) / (before.sum() + 2)
    expected = (outcomes[mine].sum() + 10 * prior) / (mine.sum() + 10)

    assert known.counts(np.array([item]), np.array([time]))[0] == mine.sum()
    assert np.isclose(known.rates(np.array([item]), np.array([time]))[0, 0], expected)


def test_an_event_at_the_very_moment_is_not_known() -> None:
    """An outcome is known only after the instant it became known at."""
    known = AsOf(np.array([1]), np.array([100]), np.ones((1, 1), np.float32))

    assert known.counts(np.array([1, 1]), np.array([100, 101])).tolist() == [0.0, 1.0]
