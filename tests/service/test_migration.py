"""Migration: every log in another version's rows and embeddings, again and while events come in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from model.bundle import ItemTable
from service.errors import StoreUnavailable
from service.events import EventLog, EventsService
from service.histories import HistoryStore, InMemoryHistoryStore
from service.items import Items
from service.migration import Migration, MigrationReport, NotTranslatable
from service.redis_histories import RedisHistoryStore
from service.schemas import Event, EventsRequest

OLD = ItemTable(("", "a", "b", "c"), np.array([[9, 9], [1, 1], [2, 2], [3, 3]], np.float16))
NEW = ItemTable(("", "d", "b", "a"), np.array([[8, 8, 8], [4, 4, 4], [5, 5, 5], [6, 6, 6]], np.float16))


@pytest.fixture(params=["memory", "redis"])
async def logs(request: pytest.FixtureRequest) -> AsyncIterator[tuple[EventLog, EventLog]]:
    """The old and the new version's, with other items in other rows, and actions in another order."""
    stores: list[HistoryStore]
    if request.param == "memory":
        stores = [InMemoryHistoryStore(2, 8), InMemoryHistoryStore(3, 8)]
    else:
        url, namespace = request.getfixturevalue("redis_url"), uuid.uuid4().hex
        stores = [RedisHistoryStore(url, namespace, f"v{width}", width, 8, 10_000) for width in (2, 3)]
    yield (
        EventLog(stores[0], Items(OLD), ("view", "click")),
        EventLog(stores[1], Items(NEW), ("share", "click", "view")),
    )
    for store in stores:
        await store.close()


def request(member: str, *events: tuple[str, str, int]) -> EventsRequest:
    return EventsRequest(member, [Event(*event) for event in events])


async def shown(log: EventLog, member: str = "m") -> list[tuple[str, str, int]]:
    return [(a.item_id, a.action, a.timestamp) for a in log.decode(await log.store.log(member))]


async def test_actions_keep_their_items_by_id(logs: tuple[EventLog, EventLog]) -> None:
    """New rows, new embeddings, new action ids; what the new table lacks is its unknown item, counted."""
    old, new = logs
    await EventsService([old]).append(request("m", ("a", "view", 1), ("c", "click", 2), ("b", "view", 3)), None)
    await EventsService([old]).append(request("n", ("gone", "click", 4)), None)

    report = await Migration(old, new).run()

    assert report == MigrationReport(members=2, copied=2, unknown_items=1)
    assert await shown(new) == [("a", "view", 1), ("", "click", 2), ("b", "view", 3)]
    log = await new.store.log("m")
    np.testing.assert_array_equal(log.embeddings, [[6, 6, 6], [8, 8, 8], [5, 5, 5]])
    assert log.version == (await old.store.log("m")).version


async def test_a_second_run_copies_only_what_has_changed(logs: tuple[EventLog, EventLog]) -> None:
    """So it is safe to stop and to run again; each step is told."""
    old, new = logs
    events = EventsService([old])
    for member in range(50):
        await events.append(request(str(member), ("a", "view", member)), None)
    seen: list[int] = []
    first = await Migration(old, new).run(progress=lambda report: seen.append(report.members))
    await events.append(request("7", ("b", "click", 99)), None)
    await events.append(request("new", ("b", "click", 99)), None)

    again = await Migration(old, new).run()

    assert (first.members, first.copied, seen) == (50, 50, list(range(1, 51)))
    assert (again.members, again.copied) == (51, 2)
    assert await shown(new, "7") == [("a", "view", 7), ("b", "click", 99)]


async def test_what_is_ahead_or_damaged_is_counted_and_left(logs: tuple[EventLog, EventLog]) -> None:
    """A service on the new version has added to one log already; another was never readable."""
    old, new = logs
    await EventsService([old]).append(request("m", ("a", "view", 1)), None)
    await Migration(old, new).run()
    await EventsService([new]).append(request("m", ("d", "share", 2)), None)
    if isinstance(old.store, InMemoryHistoryStore):
        old.store.logs["bad"] = b"nonsense"

    report = await Migration(old, new).run()

    assert (report.copied, report.ahead) == (0, 1)
    assert report.damaged == int(isinstance(old.store, InMemoryHistoryStore))
    assert await shown(new) == [("a", "view", 1), ("d", "share", 2)]


def test_an_action_without_a_word_is_refused(logs: Any) -> None:
    """Every record has an action; there is no unknown one."""
    old, new = logs

    with pytest.raises(NotTranslatable, match="does not know the action share"):
        Migration(new, old)


async def test_events_that_come_meanwhile_are_in_both(logs: tuple[EventLog, EventLog]) -> None:
    """Once the new log has joined, whatever is acknowledged during the copy is complete in the new version as well,
    with nothing twice and in one order; erased members are in neither."""
    old, new = logs
    events = EventsService([old])
    members = [str(member) for member in range(40)]
    for member in members:
        await events.append(request(member, ("a", "view", 0)), None)
    migration = Migration(old, new)
    done = False

    async def act(seed: int) -> None:
        rng = np.random.default_rng(seed)
        time = 1
        while not done:
            member = str(rng.integers(0, 45))
            await events.append(request(member, (str(rng.choice(["a", "b", "d"])), "click", time)), f"{seed}-{time}")
            time += 1
            await asyncio.sleep(0)

    acting = [asyncio.create_task(act(seed)) for seed in range(4)]
    await asyncio.sleep(0.05)
    async with events.paused():
        events.use([old], migration)
    await events.erase("3")
    await migration.run(in_flight=3)
    await asyncio.sleep(0.05)
    async with events.paused():
        pairs = [(member, (await old.store.log(member)), await new.store.log(member)) for member in map(str, range(45))]
    done = True
    await asyncio.gather(*acting)

    assert sum(theirs.total for _, theirs, _ in pairs) > 100
    for member, theirs, ours in pairs:
        assert ours.version == theirs.version, member
        np.testing.assert_array_equal(ours.timestamps, theirs.timestamps)


async def test_a_failing_store_ends_the_run(logs: tuple[EventLog, EventLog], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error comes out, and what was copied stays."""
    old, new = logs
    for member in range(30):
        await EventsService([old]).append(request(str(member), ("a", "view", 1)), None)
    mirror: Callable[..., Any] = new.store.mirror
    left = 20

    async def failing(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("away")
        return await mirror(*arguments)

    monkeypatch.setattr(new.store, "mirror", failing)
    with pytest.raises(StoreUnavailable, match="away"):
        await Migration(old, new).run(in_flight=4)

    monkeypatch.undo()
    report = await Migration(old, new).run()
    assert (report.members, 0 < report.copied < 30) == (30, True)
