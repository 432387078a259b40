"""One contract for every history store, run against the in-memory one and a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from model.bundle import window_start
from service.codec import HistoryVersion, MemberHistory, encode_records, pack_header
from service.errors import HistoryDamaged
from service.histories import HistoryStore, InMemoryHistoryStore, Window
from service.redis_histories import RedisHistoryStore

DIM = 4
WIDE = Window(1000, 1)


class Backend(NamedTuple):
    """open(max_history) → a store with nothing in it; put(store, member, bytes) writes a raw log behind its back."""

    open: Callable[[int], HistoryStore]
    put: Callable[[Any, str, bytes], None]


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The two stores; the Redis one gets a namespace of its own at each opening."""
    if request.param == "memory":
        return Backend(
            lambda max_history: InMemoryHistoryStore(DIM, max_history), lambda s, m, b: s.logs.update({m: b})
        )
    url: str = request.getfixturevalue("redis_url")

    def put(store: RedisHistoryStore, member_id: str, log: bytes) -> None:
        with Redis.from_url(url) as client:
            client.set(store.key(member_id), log)

    return Backend(lambda limit: RedisHistoryStore(url, uuid.uuid4().hex, "v1", DIM, limit, 5000), put)


def records(marks: Sequence[int]) -> bytes:
    """One record for each mark, which every field of it carries."""
    numbers = np.array(marks, np.int64)
    embeddings = np.repeat((numbers % 1000).astype(np.float16)[:, None], DIM, axis=1)
    return encode_records(numbers, numbers % 7, numbers * 10, embeddings)


def marks(history: MemberHistory) -> list[int]:
    """The marks of a history, checked to be the same in every field: a torn record would differ."""
    numbers = history.item_rows.astype(np.int64)
    np.testing.assert_array_equal(history.actions, numbers % 7)
    np.testing.assert_array_equal(history.timestamps, numbers * 10)
    np.testing.assert_array_equal(history.embeddings, np.repeat((numbers % 1000)[:, None], DIM, axis=1))
    return [int(number) for number in numbers]


async def read(store: HistoryStore, member_id: str = "m", window: Window = WIDE) -> MemberHistory:
    history = await store.get(member_id, window)
    assert history is not None
    return history


async def test_no_log_is_the_empty_history(backend: Backend) -> None:
    """A member never seen is a cold start, not an error."""
    store = backend.open(8)
    history = await read(store)
    assert (history.version, history.start, history.length) == (HistoryVersion(0, 0), 0, 0)
    assert history.embeddings.shape == (0, DIM)
    assert (await store.log("m")).version == HistoryVersion(0, 0)
    assert await store.get("m", WIDE, HistoryVersion(0, 0)) is None
    assert await store.erase("m") is False
    await store.ping()
    await store.close()


async def test_an_acknowledged_append_is_read_by_the_next_get(backend: Backend) -> None:
    """Records come back in order of arrival, whatever their timestamps."""
    store = backend.open(8)
    assert await store.append("m", records([3, 1]), None) == (2, 2, False)
    assert await store.append("m", records([2]), None) == (1, 3, False)
    history = await read(store)
    assert marks(history) == [3, 1, 2]
    assert (history.total, history.start) == (3, 0)
    assert (await read(store, "other")).total == 0
    await store.close()


async def test_an_unchanged_log_is_not_sent_again(backend: Backend) -> None:
    """None exactly while the log is the known one."""
    store = backend.open(8)
    await store.append("m", records([1, 2]), None)
    known = (await read(store)).version
    assert known.incarnation != 0
    assert await store.get("m", WIDE, known) is None
    assert await store.get("m", WIDE, HistoryVersion(known.incarnation, 1)) is not None
    assert await store.get("m", WIDE, HistoryVersion(known.incarnation ^ 1, 2)) is not None
    await store.append("m", records([3]), None)
    fresh = await store.get("m", WIDE, known)
    assert fresh is not None
    assert fresh.version == HistoryVersion(known.incarnation, 3)
    await store.close()


async def test_a_rewrite_is_noticed_even_at_an_equal_total(backend: Backend) -> None:
    """Replacing, and erasing and appending again, draw new incarnations."""
    store = backend.open(8)
    await store.append("m", records([1, 2]), None)
    known = (await read(store)).version
    assert await store.replace("m", records([8, 9])) == 2
    replaced = await store.get("m", WIDE, known)
    assert replaced is not None
    assert marks(replaced) == [8, 9]
    assert await store.erase("m") is True
    assert await store.get("m", WIDE, replaced.version) is not None
    await store.append("m", records([8, 9]), None)
    again = await store.get("m", WIDE, replaced.version)
    assert again is not None
    assert len({known.incarnation, replaced.incarnation, again.incarnation}) == 3
    await store.close()


async def test_replacing_by_nothing_forgets_the_log(backend: Backend) -> None:
    """A history without actions is no history."""
    store = backend.open(8)
    await store.append("m", records([1]), None)
    assert await store.replace("m", b"") == 0
    assert (await read(store)).version == HistoryVersion(0, 0)
    await store.close()


async def test_a_long_log_is_trimmed_to_its_longest_window(backend: Backend) -> None:
    """Above 2 · T_max the oldest go; the total still counts them; one huge batch is trimmed as well."""
    store = backend.open(3)
    await store.append("m", records(range(6)), None)
    assert (await store.log("m")).start == 0
    await store.append("m", records([6]), None)
    log = await store.log("m")
    assert (log.total, log.start, marks(log)) == (7, 4, [4, 5, 6])
    assert await store.append("m", records(range(7, 50)), None) == (43, 50, False)
    log = await store.log("m")
    assert (log.total, log.start, marks(log)) == (50, 47, [47, 48, 49])
    assert await store.replace("m", records(range(20))) == 20
    assert ((await store.log("m")).total, marks(await store.log("m"))) == (20, [17, 18, 19])
    await store.close()


async def test_a_window_longer_than_the_log_was_kept_for_reads_what_there_is(backend: Backend) -> None:
    """A ranker with a longer T_max than the store trimmed by gets fewer actions, never a wrong index."""
    store = backend.open(3)
    await store.append("m", records(range(7)), None)
    history = await read(store, window=Window(6, 2))
    assert (history.total, history.start, marks(history)) == (7, 4, [4, 5, 6])
    await store.close()


async def test_an_idempotency_key_appends_once(backend: Backend) -> None:
    """The second time the stored reply comes back; keys belong to their member and survive a trim and an erasure."""
    store = backend.open(3)
    assert await store.append("m", records([1, 2]), "k") == (2, 2, False)
    await store.append("m", records(range(3, 10)), None)
    assert await store.append("m", records([1, 2]), "k") == (2, 2, True)
    assert (await read(store)).total == 9
    assert (await store.append("other", records([1]), "k")).replayed is False
    await store.erase("m")
    assert (await store.append("m", records([1, 2]), "k")).replayed is True
    assert (await read(store)).total == 0
    await store.close()


async def test_concurrent_appends_lose_nothing_and_never_tear(backend: Backend) -> None:
    """Batches of many tasks lie one after another, each whole, and a reader in between sees only whole ones."""
    store = backend.open(1000)
    batches = [list(range(start, start + 5)) for start in range(0, 300, 5)]
    gaps: list[int] = []

    async def watch() -> None:
        for _ in range(30):
            gaps.append((await read(store)).total % 5)

    await asyncio.gather(watch(), *(store.append("m", records(batch), None) for batch in batches), watch())
    assert set(gaps) == {0}
    log = marks(await store.log("m"))
    assert sorted(log[i : i + 5] for i in range(0, 300, 5)) == batches
    await store.close()


async def test_concurrent_duplicates_append_once(backend: Backend) -> None:
    """Of many simultaneous appends under one key, one is stored and the others are told so."""
    store = backend.open(100)
    replies = await asyncio.gather(*(store.append("m", records([1, 2, 3]), "same") for _ in range(40)))
    assert [reply.replayed for reply in replies].count(False) == 1
    assert {(reply.appended, reply.total) for reply in replies} == {(3, 3)}
    assert (await read(store)).total == 3
    await store.close()


@pytest.mark.parametrize(
    ("log", "what"),
    [
        (b"hello", "header"),
        (b"\x00" * 200, "magic"),
        (pack_header(DIM, 1, 0)[:4] + b"\x09\x00" + pack_header(DIM, 1, 0)[6:], "schema"),
        (pack_header(DIM + 1, 1, 0), "record size"),
        (pack_header(DIM, 1, 0) + b"\x00" * 23, "alignment"),
        (pack_header(DIM, 1, 2**53), "trimmed"),
        (pack_header(DIM, 1, 2**64 - 1), "trimmed"),
    ],
)
async def test_a_damaged_log_is_refused_and_left_as_it_is(backend: Backend, log: bytes, what: str) -> None:
    """Neither read nor appended to; a rewrite or an erasure mends it."""
    store = backend.open(8)
    backend.put(store, "m", log)
    for call in (store.get("m", WIDE), store.log("m"), store.append("m", records([1]), "k")):
        with pytest.raises(HistoryDamaged, match=what):
            await call
    with pytest.raises(HistoryDamaged):  # the key of the refused batch was not used up, the log not touched
        await store.append("m", records([1]), "k")
    assert await store.replace("m", records([4])) == 1
    assert marks(await read(store)) == [4]
    assert (await store.append("m", records([1]), "k")).replayed is False
    backend.put(store, "m", log)
    assert await store.erase("m") is True
    assert (await read(store)).total == 0
    await store.close()


async def test_bytes_that_are_not_whole_records_are_refused(backend: Backend) -> None:
    """A caller's mistake does not reach the log."""
    store = backend.open(8)
    for call in (store.append("m", b"abc", None), store.replace("m", b"abc")):
        with pytest.raises(ValueError, match="whole number"):
            await call
    assert await store.append("m", b"", None) == (0, 0, False)
    assert (await read(store)).version == HistoryVersion(0, 0)
    await store.close()


@pytest.mark.parametrize("incarnation", [1, 2**53 + 1, 2**63, 2**64 - 1])
async def test_every_incarnation_survives_exactly(backend: Backend, incarnation: int) -> None:
    """64 bits, beyond what a double can hold."""
    store = backend.open(8)
    backend.put(store, "m", pack_header(DIM, incarnation, 5) + records([1]))
    version = (await read(store)).version
    assert version == HistoryVersion(incarnation, 6)
    assert await store.get("m", WIDE, version) is None
    assert await store.get("m", WIDE, HistoryVersion(incarnation - 1, 6)) is not None
    await store.append("m", records([2]), None)
    assert (await store.log("m")).version == HistoryVersion(incarnation, 7)
    await store.close()


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a}"), ("}", "{"), ("a}:idempotency:k", "a"), ("{a", "a"), ("%7D", "}")]
)
async def test_hostile_member_ids_stay_apart(backend: Backend, one: str, other: str) -> None:
    """No id reads, erases or replays another's, whatever braces and colons it holds."""
    store = backend.open(8)
    await store.append(one, records([1]), "k")
    assert (await store.append(other, records([2]), "k")).replayed is False
    assert marks(await read(store, one)) == [1]
    assert await store.erase(other) is True
    assert marks(await read(store, one)) == [1]
    await store.close()


operations = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "replace", "erase", "get", "again"]),
        st.sampled_from(["m", "ü{n}"]),
        st.integers(0, 11),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations, st.integers(1, 6), st.data())
def test_any_sequence_equals_a_plain_list(
    backend: Backend, steps: list[tuple[str, str, int]], max_history: int, data: st.DataObject
) -> None:
    """Appends, rewrites, erasures and reads with any known version: windows, trims and totals are a list's."""
    short = data.draw(st.integers(1, max_history))
    window = Window(short, data.draw(st.integers(1, short)))
    asyncio.run(_follow(backend.open(max_history), steps, max_history, window))


async def _follow(store: HistoryStore, steps: list[tuple[str, str, int]], max_history: int, window: Window) -> None:
    model: dict[str, list[int]] = {}  # member → every mark since its log began
    kept: dict[str, int] = {}  # member → how many of them are still stored
    begun: dict[str, int] = {}  # member → which beginning this is
    known: dict[str, list[tuple[HistoryVersion, tuple[int, int]]]] = {}
    sent: dict[str, list[int]] = {}
    last = 0
    for step, (what, member, count) in enumerate(steps):
        batch = list(range(last + 1, last + 1 + count))
        last += count
        if what in ("append", "again"):
            key = f"{member}-key" if what == "again" else None
            reply = await store.append(member, records(batch), key)
            if key is None or member not in sent:
                if batch and member not in model:
                    model[member], kept[member], begun[member] = [], 0, step + 1
                if batch:
                    model[member] += batch
                    kept[member] += count
                if key is not None:
                    sent[member] = [count, len(model.get(member, []))]
                assert reply == (count, len(model.get(member, [])), False)
            else:
                assert reply == (*sent[member], True)
        elif what == "replace":
            model.pop(member, None)
            if batch:
                model[member], kept[member], begun[member] = batch, count, step + 1
            assert await store.replace(member, records(batch)) == count
        elif what == "erase":
            assert await store.erase(member) is (model.pop(member, None) is not None)
        if member in model and kept[member] > 2 * max_history:
            kept[member] = max_history
        everything = model.get(member, [])
        stored = everything[len(everything) - kept[member] :] if everything else []
        log = await store.log(member)
        assert (marks(log), log.total, log.start) == (stored, len(everything), len(everything) - len(stored))
        content = (begun[member], len(everything)) if everything else (0, 0)
        versions = known.setdefault(member, [])
        for version, then in versions[-4:]:
            assert (await store.get(member, window, version) is None) is (then == content)
        history = await store.get(member, window)
        assert history is not None
        start = window_start(len(everything), *window)
        assert (history.total, history.start, marks(history)) == (len(everything), start, everything[start:])
        assert log.version == history.version
        versions.append((history.version, content))
    await store.close()


async def test_the_in_memory_store_forgets_unused_logs() -> None:
    """An append and a read both count as use; idempotency keys are forgotten after a day."""
    now = [0.0]
    store = InMemoryHistoryStore(DIM, 8, ttl_seconds=10, clock=lambda: now[0])
    await store.append("m", records([1]), "k")
    for now[0] in (9.0, 18.0):
        assert (await read(store)).total == 1
    now[0] = 28.0
    assert (await read(store)).total == 0
    assert (await store.append("m", records([1]), "k")).replayed is True
    now[0] = 24 * 3600.0
    assert (await store.append("m", records([1]), "k")).replayed is False
