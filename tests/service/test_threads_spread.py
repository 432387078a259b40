"""ThreadPool: work in parts, spread over idle threads, and the turns that it gives to others."""

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


async def test_long_work_gives_turns_between_its_parts(pool: ThreadPool) -> None:
    """Short work that comes in meanwhile is done after the part under way, on the one thread; long work waits."""
    begun, go, order = threading.Event(), threading.Event(), []

    def part(number: int) -> None:
        begun.set()
        go.wait(timeout=30)
        order.append(f"part {number}")

    def spread(name: str, cancelled: Callable[[], bool]) -> None:
        pool.spread(part if name == "first" else lambda _: order.append(name), range(3), 1)

    first = pool.submit_stoppable(spread, "first", long=True)
    await asyncio.to_thread(begun.wait, 30)
    second = pool.submit_stoppable(spread, "second", long=True)
    short = [pool.submit(order.append, f"short {i}") for i in range(2)]
    assert pool.waiting == 3
    go.set()
    await asyncio.gather(first, second, *short)

    assert order == ["part 0", "short 0", "short 1", "part 1", "part 2", "second", "second", "second"]


async def test_a_turn_gives_none(pool: ThreadPool) -> None:
    """Work that was given a turn is done before the next one, even if it has parts; the time given is told."""
    begun, go, order, given = threading.Event(), threading.Event(), [], []

    def long(cancelled: Callable[[], bool]) -> None:
        def part(number: int) -> None:
            begun.set()
            go.wait(timeout=30)

        given.append(pool.spread(part, range(2), 1))

    def nested(name: str) -> None:
        def part(number: int) -> None:
            order.append(f"{name} {number}")
            time.sleep(0.01)

        pool.spread(part, range(2), 1)

    first = pool.submit_stoppable(long, long=True)
    await asyncio.to_thread(begun.wait, 30)
    turns = [pool.submit(nested, name) for name in ("a", "b")]
    go.set()
    await asyncio.gather(first, *turns)

    assert order == ["a 0", "a 1", "b 0", "b 1"]
    assert given[0] >= 0.04


async def test_the_longest_that_a_thread_is_at_one_part_is_known(pool: ThreadPool) -> None:
    """It grows while a thread does not come back, and a new part begins it anew."""
    hold, seen = threading.Event(), []
    stuck = pool.submit(hold.wait)
    while pool.longest < 0.05:  # noqa: ASYNC110 - the pool tells nobody
        await asyncio.sleep(0.01)
    hold.set()
    await stuck

    def part(_: int) -> None:
        seen.append(pool.longest)
        time.sleep(0.02)

    await pool.submit_stoppable(lambda _: pool.spread(part, range(3), 1), long=True)
    assert max(seen) < 0.02
    while pool.longest:  # noqa: ASYNC110 - a thread is back at the queue a moment after its last part
        await asyncio.sleep(0.001)
