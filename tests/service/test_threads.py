"""ThreadPool: work on threads, and how it ends early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from service.threads import ThreadPool


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """One thread: what is submitted second waits for the first."""
    pool = ThreadPool(1, "test", lambda: None)
    yield pool
    pool.close()


async def test_every_thread_is_prepared_before_it_works() -> None:
    """All of them exist from the start, none is born in a request."""
    prepared: list[int] = []
    pool = ThreadPool(3, "test", lambda: prepared.append(threading.get_ident()))

    assert len(set(prepared)) == 3
    assert await pool.submit(threading.get_ident) in prepared
    assert pool.run(threading.get_ident) in prepared
    pool.close()
    assert len(prepared) == 3


def test_work_for_each_thread_is_spread_over_idle_ones() -> None:
    """Three pieces that wait for each other can only end on three threads; an error reaches the caller."""
    pool = ThreadPool(3, "test", lambda: None)
    together = threading.Barrier(3)

    pool.run_on_each(lambda: together.wait(timeout=30) and None)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pool.run_on_each(fail)
    pool.close()


async def test_work_that_no_thread_has_begun_is_dropped_when_its_caller_leaves(pool: ThreadPool) -> None:
    """Behind a busy thread, a cancelled request costs nothing, in one step or two."""
    busy = threading.Event()
    ran: list[str] = []
    first = pool.submit(busy.wait)
    second = pool.submit(ran.append, "second")
    step, other_step = pool.submit_two(lambda: ran.append("step"), lambda _, __: ran.append("other step"))
    last = pool.submit(ran.append, "last")

    for dropped in (second, step, other_step):
        dropped.cancel()
    await asyncio.sleep(0)
    busy.set()
    await asyncio.gather(first, last)

    assert ran == ["last"]


async def test_stoppable_work_learns_that_its_caller_has_left(pool: ThreadPool) -> None:
    """What it asks says yes after the cancellation, and not before or without one."""
    entered, left, seen = threading.Event(), threading.Event(), []

    def work(cancelled: Callable[[], bool]) -> None:
        seen.append(cancelled())
        entered.set()
        left.wait(timeout=30)
        seen.append(cancelled())

    future = pool.submit_stoppable(work)
    await asyncio.to_thread(entered.wait, 30)
    future.cancel()
    left.set()
    await pool.submit(int)

    assert seen == [False, True]
    finished: list[Callable[[], bool]] = []
    await pool.submit_stoppable(finished.append)
    assert not finished[0]()


async def test_two_steps_share_a_trip_and_the_first_result_does_not_wait_for_the_second(pool: ThreadPool) -> None:
    """While the second step is held, the first one's result is there."""
    hold = threading.Event()

    def second(value: int, _: object) -> int:
        hold.wait(timeout=30)
        return value + 1

    first, last = pool.submit_two(lambda: 1, second)

    assert await first == 1
    assert not last.done()
    hold.set()
    assert await last == 2


async def test_the_second_step_can_be_given_up_alone(pool: ThreadPool) -> None:
    """Others may still wait for the first."""
    hold, ran = threading.Event(), []

    def first() -> str:
        hold.wait(timeout=30)
        return "done"

    one, two = pool.submit_two(first, lambda value, _: ran.append(value))
    two.cancel()
    await asyncio.sleep(0)
    hold.set()

    assert await one == "done"
    await pool.submit(int)
    assert ran == []


async def test_a_step_that_raises_raises_where_it_is_awaited(pool: ThreadPool) -> None:
    """The first one's error leaves the second pending; the second's is its own."""

    def fail(*_: object) -> None:
        raise ValueError("no")

    first, second = pool.submit_two(fail, lambda _, __: None)
    with pytest.raises(ValueError, match="no"):
        await first
    assert not second.done()
    second.cancel()

    first, second = pool.submit_two(lambda: None, fail)
    await first
    with pytest.raises(ValueError, match="no"):
        await second


async def test_a_thread_that_cannot_be_prepared_fails_the_pool() -> None:
    """Whatever `prepare` raises reaches whoever wanted the pool."""

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ThreadPool(2, "test", fail)


async def test_a_closed_pool_takes_no_work_and_drops_what_waits() -> None:
    """Closing waits for the work under way alone."""
    pool = ThreadPool(1, "test", lambda: None)
    hold, ran = threading.Event(), []
    pool.submit(hold.wait)
    pool.submit(ran.append, "waits")

    closing = asyncio.to_thread(pool.close)
    task = asyncio.ensure_future(closing)
    await asyncio.sleep(0.01)
    hold.set()
    await task

    assert ran == []
    for submit in (pool.submit, pool.submit_background):
        with pytest.raises(RuntimeError, match="closed"):
            submit(int)
