"""ThreadPool: work on threads, and how it ends early."""

from __future__ import annotations

import asyncio
import threading
import time
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


async def test_parts_are_spread_over_idle_threads() -> None:
    """Three parts that wait for each other can only end on three threads; all of them are done on return."""
    pool = ThreadPool(3, "test", lambda: None)
    together, done = threading.Barrier(3), []

    def part(number: int) -> None:
        together.wait(timeout=30)
        done.append(number)

    await pool.submit(pool.spread, part, range(3), 3)

    assert sorted(done) == [0, 1, 2]
    pool.close()


async def test_parts_stay_on_one_thread_when_no_more_are_wanted_or_idle() -> None:
    """At most as many threads as asked for, and none that has something else to do."""
    pool = ThreadPool(2, "test", lambda: None)
    seen: list[int] = []

    def part(_: int) -> None:
        seen.append(threading.get_ident())

    await pool.submit(pool.spread, part, range(8), 1)
    assert len(set(seen)) == 1

    seen.clear()
    hold = threading.Event()
    busy = pool.submit(hold.wait)
    await pool.submit(pool.spread, part, range(8), 2)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    hold.set()
    await busy
    pool.close()


async def test_a_helper_leaves_when_urgent_work_waits() -> None:
    """The work that came in between runs before the parts are through, and every part is still done once."""
    pool = ThreadPool(2, "test", lambda: None)
    begun, go, order = threading.Barrier(3), threading.Event(), []

    def part(number: int) -> None:
        if number < 2:
            begun.wait(timeout=30)
            go.wait(timeout=30)
        else:
            time.sleep(0.002)
        order.append(number)

    spread = pool.submit(pool.spread, part, range(20), 2)
    await asyncio.to_thread(begun.wait, 30)
    urgent = pool.submit(order.append, "urgent")
    go.set()
    await asyncio.gather(spread, urgent)

    assert sorted(map(str, order)) == sorted([*map(str, range(20)), "urgent"])
    assert order.index("urgent") < 6
    pool.close()


async def test_a_part_that_raises_ends_the_work_and_leaves_the_threads_whole() -> None:
    """On this thread or on a helper; what nobody has begun is dropped."""
    pool = ThreadPool(3, "test", lambda: None)

    for bad in range(3):
        together, done = threading.Barrier(3), []

        def part(number: int, bad: int = bad, together: threading.Barrier = together, done: list[int] = done) -> None:
            if number < 3:
                together.wait(timeout=30)
            if number == bad:
                raise ValueError("no")
            done.append(number)
            time.sleep(0.001)

        with pytest.raises(ValueError, match="no"):
            await pool.submit(pool.spread, part, range(1000), 3)
        assert len(done) < 999
        while pool.idle < 3:  # noqa: ASYNC110 - a helper is back at the queue a moment after its last part
            await asyncio.sleep(0.001)

    assert await asyncio.gather(*(pool.submit(int) for _ in range(6))) == [0] * 6
    pool.close()


async def test_background_work_begins_after_all_that_is_urgent_unless_it_is_hurried(pool: ThreadPool) -> None:
    """Hurried, it takes its turn among the urgent; what has begun, is done or was cancelled is not hurried."""
    busy, order = threading.Event(), []
    first = pool.submit(busy.wait)
    slow, quick, dropped = (pool.submit_background(order.append, name) for name in ("slow", "quick", "dropped"))
    before = pool.submit(order.append, "before")
    pool.hurry(quick)
    pool.hurry(quick)
    after = pool.submit(order.append, "after")
    dropped.cancel()
    await asyncio.sleep(0)
    pool.hurry(dropped)
    busy.set()
    await asyncio.gather(first, slow, quick, before, after)
    pool.hurry(slow)

    assert order == ["before", "quick", "after", "slow"]
    assert pool.waiting == 0


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
