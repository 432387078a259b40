"""SpareThreads: work that begins when a thread can be spared, and ends when it cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from service.spare_threads import GivenBack, SpareThreads
from service.threads import ThreadPool

SECONDS = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """Two threads."""
    pool = ThreadPool(2, "test", lambda: None)
    yield pool
    pool.close()


class Held:
    """Work on a thread that goes on until it is let go, or told to stop."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, stop: Callable[[], bool] = lambda: False) -> str:
        self.begun.set()
        while not self.go.wait(0.001):
            if stop():
                raise RuntimeError("stopped")
        return "done"

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, SECONDS)


async def test_it_runs_where_a_thread_is_left_over(pool: ThreadPool) -> None:
    """On an idle pool at once; with one of two threads busy not until it is free again."""
    spare, busy, later = SpareThreads(pool), Held(), Held()
    assert await spare.submit(lambda: 1) == 1
    real = pool.submit(busy)
    await busy.has_begun()
    later.go.set()
    waiting = spare.submit_stoppable(later)
    await asyncio.sleep(0.02)

    assert not later.begun.is_set()
    busy.go.set()
    assert await real == "done"
    assert await waiting == "done"


async def test_it_gives_its_thread_back_to_urgent_work(pool: ThreadPool) -> None:
    """When all threads are busy and one more piece of urgent work comes, the spare work stops and says why; the urgent
    work runs, although nobody let the spare work go."""
    spare, shadow, first = SpareThreads(pool), Held(), Held()
    stopped = spare.submit_stoppable(shadow)
    await shadow.has_begun()
    one = pool.submit(first)
    await first.has_begun()
    assert not stopped.done()

    assert await asyncio.wait_for(pool.submit(lambda: "urgent"), SECONDS) == "urgent"

    with pytest.raises(GivenBack):
        await stopped
    first.go.set()
    assert await one == "done"


async def test_what_goes_wrong_by_itself_keeps_its_error(pool: ThreadPool) -> None:
    """An error of the work is not taken for having been stopped."""

    def fail(stop: Callable[[], bool]) -> None:
        stop()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await SpareThreads(pool).submit_stoppable(fail)


async def test_cancelled_work_stops(pool: ThreadPool) -> None:
    """Whoever no longer waits for it frees the thread."""
    held = Held()
    future = SpareThreads(pool).submit_stoppable(held)
    await held.has_begun()
    future.cancel()

    assert await asyncio.wait_for(SpareThreads(pool).submit(lambda: 2), SECONDS) == 2
    await asyncio.to_thread(pool.close)


async def test_a_closing_pool_does_not_wait_for_it() -> None:
    """It stops at its next look, so the service can end."""
    pool = ThreadPool(1, "test", lambda: None)
    held = Held()
    future = SpareThreads(pool).submit_stoppable(held)
    await held.has_begun()

    await asyncio.wait_for(asyncio.to_thread(pool.close), SECONDS)

    with pytest.raises(GivenBack):
        await future


async def test_two_steps_come_together(pool: ThreadPool) -> None:
    """Both results of one trip, the error of either, and both given up with either."""
    spare = SpareThreads(pool)
    first, second = spare.submit_two(lambda: 1, lambda one, _: one + 1)
    assert (await first, await second) == (1, 2)

    def fail(*_: object) -> int:
        raise ValueError("mine")

    for steps in ((fail, lambda one, _: one), (lambda: 1, fail)):
        first, second = spare.submit_two(*steps)
        with pytest.raises(ValueError, match="mine"):
            await first
        await asyncio.wait([second])
        assert second.cancelled()

    held = Held()
    first, second = spare.submit_two(lambda: 1, lambda _, stop: held(stop))
    await held.has_begun()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_parts_stay_on_one_thread(pool: ThreadPool) -> None:
    """Nobody helps, however idle the others are."""
    spare, seen = SpareThreads(pool), []

    def work() -> None:
        spare.spread(lambda part: seen.append((part, threading.current_thread().name)), range(20), 2)

    await spare.submit(work)

    assert spare.idle == 0
    assert [part for part, _ in seen] == list(range(20))
    assert len({name for _, name in seen}) == 1
