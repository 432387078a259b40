"""The circuit breaker: closed, open, one probe at a time, closed again."""

from __future__ import annotations

import pytest

from service.breaker import FAILURES, PAUSE_SECONDS, CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def fail(breaker: CircuitBreaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.failed()


def test_it_opens_after_failures_in_a_row(breaker: CircuitBreaker) -> None:
    """An answer between them starts the count anew; once open it admits nobody."""
    fail(breaker, FAILURES - 1)
    breaker.answered()
    fail(breaker, FAILURES - 1)
    assert (breaker.open, breaker.admits()) == (False, True)
    breaker.failed()
    assert (breaker.open, breaker.admits()) == (True, False)


def test_after_a_pause_it_admits_one_call(breaker: CircuitBreaker, clock: Clock) -> None:
    """The others are kept away until that one is back."""
    fail(breaker)
    clock.now += PAUSE_SECONDS
    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_an_answer_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """Everybody is admitted at once, and it takes as many failures again to open it."""
    fail(breaker)
    clock.now += PAUSE_SECONDS
    assert breaker.admits()
    breaker.answered()
    fail(breaker, FAILURES - 1)
    assert not breaker.open
    assert all(breaker.admits() for _ in range(3))


def test_a_probe_that_fails_begins_another_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """One failure is enough while it is open."""
    fail(breaker)
    clock.now += PAUSE_SECONDS
    assert breaker.admits()
    breaker.failed()
    assert not breaker.admits()
    clock.now += PAUSE_SECONDS
    assert breaker.admits()


def test_a_probe_whose_caller_goes_away_is_given_to_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    """A caller that is cancelled must not keep it open for ever."""
    fail(breaker)
    clock.now += PAUSE_SECONDS
    assert breaker.admits()
    breaker.abandoned()
    assert breaker.admits()
