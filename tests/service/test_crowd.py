"""Crowd: how many the event loop can have inside is learned from how fast it works them off."""

from __future__ import annotations

import pytest

from service.crowd import LESSON, Crowd


class Clocks:
    """Wall and processor time that a test sets."""

    wall = 0.0
    worked = 0.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def crowd(clocks: Clocks) -> Crowd:
    """50 ms of the loop's time at most, and four in any case."""
    return Crowd(0.05, 4, lambda: clocks.wall, lambda: clocks.worked)


def work_off(crowd: Crowd, clocks: Clocks, seconds: float, busy: float) -> None:
    """A lesson's worth of requests of so many seconds each."""
    for _ in range(LESSON):
        crowd.enter()
        clocks.wall += seconds
        clocks.worked += seconds * busy
        crowd.leave()


def admitted(crowd: Crowd, most: int = 1000) -> int:
    """How many enter before it is full."""
    while not crowd.full and crowd.inside < most:
        crowd.enter()
    found = crowd.inside
    for _ in range(found):
        crowd.leave()
    return found


def test_nothing_is_known_at_first(crowd: Crowd) -> None:
    """So there is no limit, and no time is told."""
    assert admitted(crowd) == 1000
    assert crowd.seconds == 0.0


def test_as_many_are_let_in_as_are_worked_off_in_time(crowd: Crowd, clocks: Clocks) -> None:
    """Two milliseconds each, fifty in all; those inside cost so much."""
    work_off(crowd, clocks, 0.002, busy=0.9)

    assert admitted(crowd) in (24, 25)  # one over two thousandths is not exact
    crowd.enter()
    assert crowd.seconds == pytest.approx(0.002)


def test_an_idle_loop_teaches_nothing(crowd: Crowd, clocks: Clocks) -> None:
    """It is slow because nobody comes."""
    work_off(crowd, clocks, 1.0, busy=0.01)
    assert admitted(crowd) == 1000


def test_some_are_let_in_however_slow_the_loop_is(crowd: Crowd, clocks: Clocks) -> None:
    """The inference threads must have something to do."""
    work_off(crowd, clocks, 0.5, busy=1.0)
    assert admitted(crowd) == 4
