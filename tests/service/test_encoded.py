"""EncodedHistoryCache: bounded bytes, one entry a member, single flight that outlives its leader."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import HistoryVersion
from service.encoded import _ENTRY_OVERHEAD_BYTES, CacheEvent, EncodedHistory, EncodedHistoryCache, EncodedKey

ROOM_FOR_ONE = 1000 + _ENTRY_OVERHEAD_BYTES


def encoded(nbytes: int = 1000) -> EncodedHistory:
    return EncodedHistory(object(), 1, nbytes, 0.0)


def key(member_id: str = "bob", total: int = 1, incarnation: int = 1, bundle: str = "feed/1") -> EncodedKey:
    return EncodedKey(bundle, member_id, HistoryVersion(incarnation, total))


class Encoder:
    """Counts its calls; holds each until `release`."""

    def __init__(self, nbytes: int = 1000) -> None:
        self.calls = 0
        self.cancelled = 0
        self.release = asyncio.Event()
        self.error: Exception | None = None
        self._nbytes = nbytes

    async def __call__(self) -> EncodedHistory:
        self.calls += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return encoded(self._nbytes)


async def at_once(nbytes: int = 1000) -> EncodedHistory:
    return encoded(nbytes)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_equal_keys_are_encoded_once() -> None:
    """The second request gets the very value of the first."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)

    first, how_first = await cache.get(key(), at_once)
    second, how_second = await cache.get(key(), at_once)

    assert first is second
    assert (how_first, how_second) == ("computed", "cached")
    assert cache.counts == {"hit": 1, "shared": 0, "miss": 1, "eviction": 0}
    assert cache.bytes == ROOM_FOR_ONE


@pytest.mark.parametrize("other", [key(total=2), key(incarnation=2), key(bundle="feed/2"), key(member_id="eve")])
async def test_any_other_key_is_encoded_anew(other: EncodedKey) -> None:
    """A new event, a rewritten log, a new bundle, another member: never the old encoding."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    first, _ = await cache.get(key(), at_once)

    second, how = await cache.get(other, at_once)

    assert how == "computed"
    assert second is not first


async def test_a_member_has_one_entry_a_bundle_the_newest() -> None:
    """An outdated encoding does not wait for its eviction."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)

    await cache.get(key(total=1), at_once)
    newer, _ = await cache.get(key(total=2), at_once)

    assert len(cache) == 1
    kept = cache.lookup("feed/1", "bob")
    assert kept is not None
    assert kept.version == HistoryVersion(1, 2)
    assert kept.encoded is newer


async def test_a_slow_flight_of_an_older_version_does_not_displace_a_newer_entry() -> None:
    """Flights may land in another order than they started."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    slow = Encoder()
    older = asyncio.create_task(cache.get(key(total=1), slow))
    await settle()
    await cache.get(key(total=2), at_once)

    slow.release.set()
    await older

    kept = cache.lookup("feed/1", "bob")
    assert kept is not None
    assert kept.version.total == 2


async def test_ten_simultaneous_requests_encode_once() -> None:
    """One flight, ten answers."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    encoder = Encoder()
    tasks = [asyncio.create_task(cache.get(key(), encoder)) for _ in range(10)]
    await settle()

    encoder.release.set()
    results = await asyncio.gather(*tasks)

    assert encoder.calls == 1
    assert len({id(value) for value, _ in results}) == 1
    assert cache.counts["miss"] == 1
    assert cache.counts["shared"] == 9


async def test_a_cancelled_leader_hands_its_flight_over() -> None:
    """The followers get the encoding that the leader began; it is not begun again."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    encoder = Encoder()
    leader, *followers = [asyncio.create_task(cache.get(key(), encoder)) for _ in range(4)]
    await settle()

    leader.cancel()
    await settle()
    encoder.release.set()

    assert len(await asyncio.gather(*followers)) == 3
    assert leader.cancelled()
    assert (encoder.calls, encoder.cancelled) == (1, 0)


async def test_the_last_one_to_leave_stops_the_work() -> None:
    """Nobody waits, so nobody computes; the next request starts afresh."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    encoder = Encoder()
    tasks = [asyncio.create_task(cache.get(key(), encoder)) for _ in range(3)]
    await settle()

    for task in tasks:
        task.cancel()
    await settle()

    assert encoder.cancelled == 1
    assert len(cache) == 0
    encoder.release.set()
    _, how = await cache.get(key(), encoder)
    assert (how, encoder.calls) == ("computed", 2)


async def test_a_failure_reaches_everyone_and_is_not_kept() -> None:
    """Ten waiters, ten errors, and the next request tries again."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    encoder = Encoder()
    encoder.error = ValueError("no")
    tasks = [asyncio.create_task(cache.get(key(), encoder)) for _ in range(3)]
    await settle()

    encoder.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results == [encoder.error] * 3
    assert len(cache) == 0
    encoder.error = None
    assert (await cache.get(key(), encoder))[1] == "computed"


async def test_the_least_recently_used_goes_first() -> None:
    """A hit, and a look-up that was confirmed, count as use."""
    cache = EncodedHistoryCache(2 * ROOM_FOR_ONE)
    await cache.get(key("a"), at_once)
    await cache.get(key("b"), at_once)
    cache.hit("feed/1", "a")

    await cache.get(key("c"), at_once)

    assert cache.lookup("feed/1", "b") is None
    assert cache.lookup("feed/1", "a") is not None
    assert cache.counts["eviction"] == 1


async def test_what_is_larger_than_the_cache_is_answered_and_not_kept() -> None:
    """It would push out everything else for nothing."""
    cache = EncodedHistoryCache(ROOM_FOR_ONE)
    await cache.get(key("small"), at_once)

    _, how = await cache.get(key("large"), lambda: at_once(5000))

    assert how == "computed"
    assert cache.lookup("feed/1", "small") is not None
    assert cache.lookup("feed/1", "large") is None


async def test_zero_bytes_keep_nothing_but_still_share_a_flight() -> None:
    """The cache is off; encoding twice at once would still be waste."""
    cache = EncodedHistoryCache(0)
    encoder = Encoder()
    tasks = [asyncio.create_task(cache.get(key(), encoder)) for _ in range(2)]
    await settle()
    encoder.release.set()
    await asyncio.gather(*tasks)

    assert encoder.calls == 1
    assert (len(cache), cache.bytes) == (0, 0)


async def test_forgetting_drops_a_member_or_a_whole_bundle() -> None:
    """Erasure and reload leave no encoding behind, and give the bytes back."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    for member_id in "ab":
        for bundle in ("feed/1", "feed/2"):
            await cache.get(key(member_id, bundle=bundle), at_once)

    cache.forget("feed/1", "a")
    assert len(cache) == 3
    cache.forget_bundle("feed/2")
    assert (len(cache), cache.bytes) == (1, ROOM_FOR_ONE)
    cache.forget("feed/1", "b")

    assert cache.bytes == 0


async def test_an_observer_hears_every_event() -> None:
    """What the counters count is what metrics are told."""
    heard: list[CacheEvent] = []
    cache = EncodedHistoryCache(ROOM_FOR_ONE, heard.append)

    await cache.get(key("a"), at_once)
    await cache.get(key("a"), at_once)
    await cache.get(key("b"), at_once)

    assert heard == ["miss", "hit", "miss", "eviction"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "cancel", "finish", "fail", "forget"]),
        st.integers(0, 2),  # member
        st.integers(1, 3),  # total
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_any_interleaving_keeps_the_bounds_and_gives_the_asked_version(steps: list[tuple[str, int, int]]) -> None:
    """Asks, cancellations, failures and erasures in any order: right value, bytes in bounds, no flight left over."""

    async def run() -> None:
        cache = EncodedHistoryCache(2 * ROOM_FOR_ONE)
        pending: list[tuple[EncodedKey, asyncio.Future[EncodedHistory]]] = []
        asks: list[tuple[EncodedKey, asyncio.Task[tuple[EncodedHistory, str]]]] = []

        def encode(which: EncodedKey) -> asyncio.Future[EncodedHistory]:
            future: asyncio.Future[EncodedHistory] = asyncio.get_running_loop().create_future()
            pending.append((which, future))
            return future

        for action, member, total in steps:
            which = key(str(member), total)
            if action == "ask":
                asks.append((which, asyncio.create_task(cache.get(which, lambda which=which: encode(which)))))
            elif action == "cancel" and asks:
                asks[(member + total) % len(asks)][1].cancel()
            elif action == "forget":
                cache.forget("feed/1", str(member))
            elif pending:
                asked, future = pending.pop(0)
                if future.done():
                    continue
                if action == "fail":
                    future.set_exception(RuntimeError("no"))
                else:
                    future.set_result(EncodedHistory(asked, 1, 1000, 0.0))
            await settle()
            assert cache.bytes <= 2 * ROOM_FOR_ONE
            assert cache.bytes == len(cache) * ROOM_FOR_ONE
        for asked, future in pending:
            if not future.done():
                future.set_result(EncodedHistory(asked, 1, 1000, 0.0))
        results = await asyncio.gather(*(task for _, task in asks), return_exceptions=True)
        for (asked, _), result in zip(asks, results, strict=True):
            if isinstance(result, tuple):
                assert result[0].tensors == asked
            else:
                assert isinstance(result, (RuntimeError, asyncio.CancelledError))
        await settle()
        assert not cache._flights

    asyncio.run(run())
