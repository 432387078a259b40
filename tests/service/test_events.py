"""Appending, showing and erasing a member's actions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.bundle import ItemTable, Manifest
from service.codec import decode_records, encode_records
from service.errors import HistoryDamaged, InvalidRequest, ModelUnavailable, NotFound, StoreUnavailable
from service.events import EventLog, EventsService, event_logs
from service.histories import Appended, InMemoryHistoryStore, Window
from service.items import Items
from service.schemas import Event, EventsRequest, EventsResponse, HistoryAction

DIM = 2
ACTIONS = ("view", "click")
TABLE = ItemTable(("", "a", "b"), np.array([[9, 9], [1, 2], [3, 4]], np.float16))


def manifest(name: str, **changes: Any) -> Manifest:
    fields = {
        "version": "1",
        "surface": "feed",
        "torch_version": "2.13.0",
        "encoder": "transformer",
        "embedding_dim": DIM,
        "layers": 1,
        "heads": 1,
        "ffn_dim": 1,
        "max_history": 8,
        "slack": 2,
        "max_candidates": 10,
        "tasks": [{"name": "click"}],
        "actions": ACTIONS,
        "meta_dim": 0,
        "embedding_version": "v1",
    }
    return Manifest.model_validate({"name": name, **fields, **changes})


def request(*events: tuple[str, str, int], member_id: str = "m") -> EventsRequest:
    return EventsRequest(member_id, [Event(item, action, at) for item, action, at in events])


@pytest.fixture
def store() -> InMemoryHistoryStore:
    return InMemoryHistoryStore(DIM, 8)


@pytest.fixture
def log(store: InMemoryHistoryStore) -> EventLog:
    return EventLog(store, Items(TABLE), ACTIONS)


async def test_an_event_is_stored_as_row_action_time_and_embedding(log: EventLog, store: InMemoryHistoryStore) -> None:
    """Known items carry their embedding; an unknown one row 0 with the learned unknown embedding."""
    events = EventsService([log])
    reply = await events.append(request(("b", "click", 5), ("never seen", "view", 6)), None)
    assert reply == EventsResponse(appended=2, total=2, replayed=False)
    history = await store.get("m", Window(8, 2))
    assert history is not None
    np.testing.assert_array_equal(history.item_rows, [2, 0])
    np.testing.assert_array_equal(history.actions, [1, 0])
    np.testing.assert_array_equal(history.timestamps, [5, 6])
    np.testing.assert_array_equal(history.embeddings, [[3, 4], [9, 9]])


async def test_an_unknown_action_is_refused_by_its_field(log: EventLog, store: InMemoryHistoryStore) -> None:
    """The whole batch is refused before anything is written."""
    with pytest.raises(InvalidRequest, match="view, click") as caught:
        await EventsService([log]).append(request(("a", "view", 1), ("a", "purchase", 2)), None)
    assert caught.value.field == "events[1].action"
    assert store.logs == {}


async def test_an_idempotency_key_is_replayed(log: EventLog) -> None:
    """The second answer is the first, marked as replayed."""
    events = EventsService([log])
    assert (await events.append(request(("a", "view", 1)), "k")).replayed is False
    assert await events.append(request(("a", "view", 1)), "k") == EventsResponse(appended=1, total=1, replayed=True)


async def test_a_history_is_shown_in_order_and_erased(log: EventLog) -> None:
    """Inspection gives ids and action names; erasure makes the member unknown again."""
    events = EventsService([log])
    await events.append(request(("b", "click", 5), ("?", "view", 4)), None)
    shown = await events.history("m")
    assert (shown.member_id, shown.total) == ("m", 2)
    assert shown.actions == [HistoryAction("b", "click", 5), HistoryAction("", "view", 4)]
    assert await events.erase("m") is True
    assert await events.erase("m") is False
    with pytest.raises(NotFound):
        await events.history("m")


async def test_records_beyond_the_tables_are_damage(log: EventLog, store: InMemoryHistoryStore) -> None:
    """A log that refers to rows or actions that do not exist is not shown as something else."""
    for row, action in ((3, 0), (0, 2)):
        await store.replace("m", encode_records([row], [action], [1], np.zeros((1, DIM), np.float16)))
        with pytest.raises(HistoryDamaged):
            await EventsService([log]).history("m")


async def test_each_embedding_version_gets_its_own_records(log: EventLog, store: InMemoryHistoryStore) -> None:
    """Two versions: two logs, each with the rows and embeddings of its own table; erasure takes both."""
    other = InMemoryHistoryStore(DIM, 8)
    table = ItemTable(("", "b", "z"), np.array([[0, 0], [7, 7], [8, 8]], np.float16))
    events = EventsService([log, EventLog(other, Items(table), ("click", "view"))])
    await events.append(request(("b", "click", 5)), None)
    records = decode_records(other.logs["m"][24:], DIM)
    assert (records["item_row"][0], records["action"][0]) == (1, 0)
    np.testing.assert_array_equal(records["embedding"], [[7, 7]])
    assert await events.erase("m") is True
    assert store.logs == other.logs == {}


class FailsOnce(InMemoryHistoryStore):
    """A store that is away for its first append."""

    failed = False

    async def append(self, member_id: str, records: bytes, idempotency_key: str | None) -> Appended:
        if not self.failed:
            self.failed = True
            raise StoreUnavailable("away")
        return await super().append(member_id, records, idempotency_key)


async def test_a_retry_completes_what_failed_between_two_logs(log: EventLog, store: InMemoryHistoryStore) -> None:
    """The same key appends only where it is missing, and is a replay only once it is everywhere."""
    other = FailsOnce(DIM, 8)
    events = EventsService([log, replace(log, store=other)])
    with pytest.raises(StoreUnavailable):
        await events.append(request(("a", "view", 1)), "k")
    assert await events.append(request(("a", "view", 1)), "k") == EventsResponse(appended=1, total=1, replayed=False)
    assert (await events.append(request(("a", "view", 1)), "k")).replayed is True
    assert (await store.log("m")).total == (await other.log("m")).total == 1


def test_bundles_that_share_a_version_share_one_log(store: InMemoryHistoryStore) -> None:
    """Feed and ads on one item table: events are written once."""
    stores = {"v1": store, "v2": InMemoryHistoryStore(DIM, 8)}
    items = Items(TABLE)
    shared = event_logs([(manifest("feed"), items), (manifest("ads", surface="ads"), Items(TABLE))], stores)
    assert [log.store for log in shared] == [store]
    apart = event_logs([(manifest("feed"), items), (manifest("ads", embedding_version="v2"), items)], stores)
    assert [log.store for log in apart] == [store, stores["v2"]]


@pytest.mark.parametrize("what", ["actions", "ids", "embeddings"])
def test_bundles_that_share_a_version_but_not_its_tables_are_refused(store: InMemoryHistoryStore, what: str) -> None:
    """One of them would misread every record of the other."""
    ids = ("", "a", "c") if what == "ids" else TABLE.ids
    embeddings = TABLE.embeddings * np.float16(2) if what == "embeddings" else TABLE.embeddings
    actions = ("click", "view") if what == "actions" else ACTIONS
    bundles = [
        (manifest("feed"), Items(TABLE)),
        (manifest("ads", actions=actions), Items(ItemTable(ids, embeddings))),
    ]
    with pytest.raises(ValueError, match="feed and ads share the embedding version v1"):
        event_logs(bundles, {"v1": store})


async def test_without_a_log_nothing_is_acknowledged() -> None:
    """Before any model serves an event would be lost; it is to be sent again."""
    events = EventsService()
    with pytest.raises(ModelUnavailable):
        await events.append(request(("a", "view", 1)), None)
    with pytest.raises(ModelUnavailable):
        await events.history("m")
