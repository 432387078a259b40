"""Passes cover every candidate once, within their bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.chunking import passes

COUNTS = st.integers(1, 20_000)
SIZES = st.integers(1, 2048)


@given(count=COUNTS, most=SIZES, fewest=SIZES, threads=st.integers(1, 64))
def test_every_candidate_is_in_one_pass(count: int, most: int, fewest: int, threads: int) -> None:
    """In order, none left out or scored twice, and no pass longer than memory was planned for."""
    cut = passes(count, most, fewest, threads)

    assert [index for part in cut for index in range(part.start, part.stop)] == list(range(count))
    assert all(0 < part.stop - part.start <= most for part in cut)


@given(count=COUNTS, most=SIZES)
def test_one_thread_takes_as_few_passes_as_it_can(count: int, most: int) -> None:
    """Nothing is gained by smaller ones."""
    assert len(passes(count, most, 1, 1)) == -(-count // most)


def test_several_threads_get_two_passes_each_but_no_crumbs() -> None:
    """Two for each thread, unless that would cut them below the fewest that pay."""
    assert [part.stop - part.start for part in passes(2048, 2048, 128, 4)] == [256] * 8
    assert [part.stop - part.start for part in passes(300, 2048, 128, 4)] == [128, 128, 44]
