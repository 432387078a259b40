"""One contract for every history store, run against the in-memory one and a real Redis.

`test_histories_model.py` runs random sequences of the same operations against a plain list.
"""

from __future__ import annotations

import asyncio

import pytest

from service.codec import HistoryVersion, pack_header
from service.errors import HistoryDamaged, IdempotencyConflict
from service.histories import InMemoryHistoryStore, Window
from tests.service.stores import DIM, WIDE, Backend, marks, read, records


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


async def test_a_key_that_came_with_other_records_is_a_conflict(backend: Backend) -> None:
    """Neither appended nor taken for a repetition; the right ones are still replayed."""
    store = backend.open(8)
    await store.append("m", records([1, 2]), "k")
    for other in ([1, 3], [1], []):
        with pytest.raises(IdempotencyConflict) as caught:
            await store.append("m", records(other), "k")
        assert caught.value.field == "Idempotency-Key"
    assert await store.append("m", records([1, 2]), "k") == (2, 2, True)
    assert await store.append("n", records([3]), "k") == (1, 1, False)
    assert marks(await read(store)) == [1, 2]
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


async def test_members_with_a_log_can_be_listed(backend: Backend) -> None:
    """Some of them, as they were named; erased ones and idempotency keys are no members."""
    store = backend.open(8)
    assert await store.members(10) == []
    names = {"a", "a}", "{b}", "%7D", "*[?]\\", "é\n", "a:idempotency:k}", "gone"}
    for name in names:
        await store.append(name, records([1]), "key}")
    await store.erase("gone")

    assert set(await store.members(100)) == names - {"gone"}
    assert len(await store.members(2)) == 2
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
