"""A call to a Redis that hangs, is slow, hangs up, talks nonsense, refuses, or has replicas that lag."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from loadtests.faults.proxy import Fault, FaultProxy
from loadtests.faults.redis_server import RedisServer
from service.errors import NotReplicated, StoreUnavailable
from service.redis_calls import MAX_CONNECTIONS, MOST_WAITING, RedisCalls, Script

BUDGET_MS = 100.0
GENEROUS_SECONDS = 10.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis.port) as proxy:
        yield proxy


@pytest.fixture
async def calls(proxy: FaultProxy) -> AsyncIterator[RedisCalls]:
    calls = RedisCalls(proxy.url, BUDGET_MS, 0)
    yield calls
    await calls.close()


async def eventually(check: Callable[[], Awaitable[Any]]) -> None:
    """Until `check` no longer finds the store unavailable."""
    give_up = time.monotonic() + GENEROUS_SECONDS
    while True:
        try:
            await check()
            return
        except StoreUnavailable:
            assert time.monotonic() < give_up, "it did not recover"
            await asyncio.sleep(0.01)


async def write_forty(calls: RedisCalls) -> None:
    """k0 … k39, one after the other: opening many connections at once takes longer than the budget."""
    for i in range(40):
        await eventually(lambda i=i: calls.command("SET", f"k{i}", i))


async def refusal(call: Awaitable[Any]) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await call
    return caught.value.detail


@pytest.mark.parametrize(
    "fault", [Fault.black_hole, Fault.delay, Fault.half_close, Fault.garbage, Fault.reset], ids=lambda fault: fault
)
async def test_whatever_the_network_does_a_call_fails_typed_and_nothing_piles_up(
    proxy: FaultProxy, calls: RedisCalls, fault: Fault
) -> None:
    """Callers by the hundred: each is refused, the breaker opens, connections and tasks stay bounded; then all is well
    again, without a restart, and every answer is the asker's own."""
    await write_forty(calls)
    tasks = len(asyncio.all_tasks()) + 2 * MAX_CONNECTIONS  # two of the proxy's for each connection
    proxy.set(fault, delay_seconds=0.3)
    async with asyncio.timeout(GENEROUS_SECONDS):
        for _ in range(6):
            asked = [asyncio.create_task(calls.command("GET", f"k{i}")) for i in range(100)]
            replies = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(reply) for reply in replies} == {StoreUnavailable}
            assert calls.connections().in_use <= MAX_CONNECTIONS
            await asyncio.sleep(0.05)  # until the proxy has seen which were closed
            assert proxy.connections <= MAX_CONNECTIONS
    assert calls.connections().cut_off
    assert calls.connections().in_use == 0
    assert len(asyncio.all_tasks()) <= tasks + MAX_CONNECTIONS
    proxy.set(Fault.passing)
    await eventually(lambda: calls.command("PING"))
    assert not calls.connections().cut_off
    for i in range(40):
        assert await calls.command("GET", f"k{i}") == str(i).encode()


async def test_a_late_answer_reaches_nobody_else(proxy: FaultProxy, calls: RedisCalls) -> None:
    """Answers come after their callers have given up, while others ask: nobody reads what was not meant for him."""
    await write_forty(calls)
    answered, turn = 0, 0
    while turn < 6 or answered <= 20:  # a busy machine, and so the breaker, leaves few of them time
        proxy.set(Fault.delay if turn % 2 else Fault.passing, delay_seconds=0.12)  # just too late
        for _ in range(4):
            asked = await asyncio.gather(*(calls.command("GET", f"k{i}") for i in range(40)), return_exceptions=True)
            answered += sum(isinstance(reply, bytes) for reply in asked)
            assert all(isinstance(r, StoreUnavailable) or r == str(i).encode() for i, r in enumerate(asked))
            await asyncio.sleep(0.03)
        await asyncio.sleep(0.3)
        turn += 1


async def test_a_hanging_server_is_asked_by_few(redis: RedisServer, calls: RedisCalls) -> None:
    """Once the breaker is open a call is refused without waiting, but for one probe after each pause."""
    await calls.command("PING")
    redis.stop()
    try:
        for _ in range(3):
            replies = await asyncio.gather(*(calls.command("PING") for _ in range(20)), return_exceptions=True)
        assert [str(reply) for reply in replies].count("the history store did not answer in time") <= 1
        begun = time.monotonic()
        waited = 0
        for _ in range(200):
            waited += await refusal(calls.command("PING")) == "the history store did not answer in time"
        assert waited <= 1 + (time.monotonic() - begun) / 0.5
    finally:
        redis.resume()
    await eventually(lambda: calls.command("PING"))


async def test_connections_that_died_idle_cost_one_call(proxy: FaultProxy) -> None:
    """The first that finds its connection dead fails, and nobody after it, however many lay idle."""
    calls = RedisCalls(proxy.url, 5000.0, 0)
    await asyncio.gather(*(calls.command("PING") for _ in range(20)))
    proxy.set(Fault.black_hole)  # nobody learns of the end of what it swallows
    proxy.set(Fault.passing)
    failed = 0
    for _ in range(40):
        try:
            await calls.command("PING")
        except StoreUnavailable:
            failed += 1
    assert failed <= 1
    await calls.close()


async def test_a_loop_that_is_held_up_is_no_fault_of_the_store(calls: RedisCalls) -> None:
    """The answers were there in time, only nobody looked: calls fail, and the breaker stays closed."""
    await write_forty(calls)
    failed = 0
    for _ in range(6):
        asked = [asyncio.create_task(calls.command("PING")) for _ in range(8)]
        for _ in range(3):  # until they wait for their answers
            await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - what must not happen in a loop
        replies = await asyncio.gather(*asked, return_exceptions=True)
        failed += sum(isinstance(reply, StoreUnavailable) for reply in replies)
        assert not calls.connections().cut_off
    assert failed > 0


async def test_a_caller_who_leaves_says_nothing_about_the_store(redis: RedisServer, calls: RedisCalls) -> None:
    """Cancelled callers, however many, do not open the breaker."""
    await calls.command("PING")
    redis.stop()
    try:
        for _ in range(20):
            asked = asyncio.create_task(calls.command("PING"))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    finally:
        redis.resume()
    assert not calls.connections().cut_off
    await eventually(lambda: calls.command("PING"))


async def test_a_call_given_up_at_any_moment_ends(redis: RedisServer) -> None:
    """However far it has come: no cancellation is lost on the way, or a deadline would be. One turn of the loop more
    each time; many calls take about ten."""
    calls = RedisCalls(redis.url, 1e3 * GENEROUS_SECONDS, 0)
    await calls.command("PING")

    given_up = 0
    for turns in range(40):
        task = asyncio.create_task(calls.command("ECHO", "x" * 1000))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            given_up += 1
            with pytest.raises(asyncio.CancelledError):
                await task

    assert given_up > 2
    await calls.close()


async def test_calls_given_up_leak_no_connection(redis: RedisServer) -> None:
    """Callers cancelled at any moment leave the pool whole: more than all its connections work afterwards."""
    calls = RedisCalls(redis.url, 5000.0, 0)
    for turn in range(30):
        asked = [asyncio.create_task(calls.command("PING")) for _ in range(2 * MAX_CONNECTIONS)]
        for _ in range(turn):
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert all(await asyncio.gather(*(calls.command("PING") for _ in range(4 * MAX_CONNECTIONS))))
    await calls.close()


async def test_a_wrong_password_is_unavailable_and_stays_secret(redis: RedisServer) -> None:
    """Authentication errors and URLs that cannot be read never show the password."""
    calls = RedisCalls(redis.url.replace("redis://", "redis://:hunter2@"), 5000.0, 0)
    assert "hunter2" not in await refusal(calls.command("PING"))
    await calls.close()
    with pytest.raises(ValueError, match="cannot be understood") as refused:
        RedisCalls("redis://:hunter2@host:port/0", 5000.0, 0)
    assert "hunter2" not in str(refused.value)


async def test_refusals_say_why_and_open_nothing() -> None:
    """Out of memory, or a replica: in words, retryable, and reads are served on."""
    with RedisServer() as master, RedisServer() as replica:
        replica.follow(master.port)
        calls, follower = RedisCalls(master.url, 5000.0, 0), RedisCalls(replica.url, 5000.0, 0)
        append = Script("append.lua")
        words = (b"{k}",), "append", b"RKHS" + b"\1\0" + b"\x08\0", b"i" * 8, b"r" * 8, 4, 0, 1000
        for _ in range(10):
            assert await refusal(follower.command("SET", "a", 1)) == (
                "the history store refused: it is a read-only replica"
            )
            assert "read-only" in await refusal(follower.script(append, *words, replicated=True))
            await follower.command("GET", "a")
        master.configure("min-replicas-to-write", 2)
        assert "too few replicas" in await refusal(calls.script(append, *words, replicated=True))
        master.configure("min-replicas-to-write", 0)
        master.configure("maxmemory", 1)
        for _ in range(10):
            assert await refusal(calls.command("SET", "a", 1)) == "the history store refused: it is out of memory"
            assert "out of memory" in await refusal(calls.script(append, *words, replicated=True))
            await calls.command("GET", "a")
        assert not calls.connections().cut_off
        await calls.close()
        await follower.close()


async def test_a_write_counts_once_enough_replicas_have_it() -> None:
    """With a replica in step it is quick; with one that hangs it is refused within the budget, and reads go on."""
    with RedisServer() as master, RedisServer() as replica:
        replica.follow(master.port)
        calls = RedisCalls(master.url, 1000.0, 1)
        await calls.command("SET", "a", 1, replicated=True)
        assert replica.command("GET", "a") == b"1"
        replica.stop()
        try:
            with pytest.raises(NotReplicated, match="may be lost"):
                await calls.command("SET", "a", 2, replicated=True)
            written = [
                asyncio.create_task(calls.command("SET", "a", i, replicated=True)) for i in range(3 * MOST_WAITING)
            ]
            await asyncio.sleep(0.05)
            assert calls.connections().in_use <= MOST_WAITING
            for _ in range(20):
                assert await calls.command("GET", "a") is not None
            refusals = await asyncio.gather(*written, return_exceptions=True)
            assert {type(error) for error in refusals} <= {NotReplicated, StoreUnavailable}
            assert not calls.connections().cut_off
        finally:
            replica.resume()
        await eventually(lambda: calls.command("SET", "a", 4, replicated=True))
        await calls.close()


async def test_a_demoted_server_is_left_for_its_successor(proxy: FaultProxy) -> None:
    """What it refuses as a replica makes the next call connect anew: the address may lead to the new master by then."""
    with RedisServer() as old, RedisServer() as new:
        old.follow(new.port)
        proxy.target = old.port
        calls = RedisCalls(proxy.url, 5000.0, 0)
        await calls.command("PING")
        proxy.target = new.port
        assert "read-only" in await refusal(calls.command("SET", "a", 1, replicated=True))
        await calls.command("SET", "a", 1, replicated=True)
        await calls.close()
