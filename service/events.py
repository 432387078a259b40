"""EventsService: the use case behind POST /v1/events and the inspection and erasure of a history.

An action is written to the log of every embedding version in use, as the row and embedding that this version's table
has for its item. It does not know HTTP, Redis or torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from model.bundle import UNKNOWN_ROW, Manifest
from service.codec import MemberHistory, encode_records
from service.errors import HistoryDamaged, InvalidRequest, ModelUnavailable, NotFound
from service.histories import HistoryStore
from service.items import Items
from service.schemas import Event, EventsRequest, EventsResponse, HistoryAction, HistoryResponse


class Joining(Protocol):
    """A migration to the log of an embedding version that is about to be used."""

    target: EventLog

    async def bring(self, member_id: str) -> object:
        """Make a member's log in `target` complete."""
        ...


class EncodedEvents(NamedTuple):
    """records: bytes in the events' order; unknown_items: how many events name an item the table lacks."""

    records: bytes
    unknown_items: int


@dataclass(frozen=True)
class EventLog:
    """The logs of one embedding version, and the tables that their records refer to."""

    store: HistoryStore
    items: Items
    actions: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {action: i for i, action in enumerate(self.actions)})

    def refers_to(self, items: Items, actions: tuple[str, ...]) -> bool:
        """Whether these tables read its records rightly."""
        ours = self.items
        same = ours is items or (ours.ids == items.ids and np.array_equal(ours.embeddings16, items.embeddings16))
        return same and self.actions == actions

    def encode(self, events: Sequence[Event]) -> EncodedEvents:
        """Events → records. An unknown item becomes row 0 with its learned embedding; an unknown action is refused."""
        rows = self.items.rows([event.item_id for event in events])
        try:
            actions = [self._ids[event.action] for event in events]
        except KeyError:
            at = next(i for i, event in enumerate(events) if event.action not in self._ids)
            known = ", ".join(self.actions[:20]) + (", …" if len(self.actions) > 20 else "")
            raise InvalidRequest(f"events[{at}].action", f"is not an action of this model: {known}") from None
        times = [event.timestamp for event in events]
        records = encode_records(rows, actions, times, self.items.embeddings16[rows])
        return EncodedEvents(records, int(np.count_nonzero(rows == UNKNOWN_ROW)))

    def decode(self, history: MemberHistory) -> list[HistoryAction]:
        """Records → actions, oldest first; an unknown item has the empty id. Raises HistoryDamaged."""
        if history.length and (
            history.item_rows.max() >= len(self.items.ids) or history.actions.max() >= len(self.actions)
        ):
            raise HistoryDamaged("the member's history refers to items or actions that the model does not have")
        columns = (history.item_rows.tolist(), history.actions.tolist(), history.timestamps.tolist())
        return [
            HistoryAction(item_id=self.items.ids[row], action=self.actions[action], timestamp=timestamp)
            for row, action, timestamp in zip(*columns, strict=True)
        ]


def event_logs(bundles: Iterable[tuple[Manifest, Items]], stores: Mapping[str, HistoryStore]) -> tuple[EventLog, ...]:
    """One EventLog for each embedding version among `bundles`. `stores`: embedding version → store.

    Raises ValueError when bundles share a version but not its tables: one of them would misread the other's records.
    """
    logs: dict[str, tuple[str, EventLog]] = {}
    for manifest, items in bundles:
        version = manifest.embedding_version
        log = EventLog(stores[version], items, manifest.actions)
        first, shared = logs.setdefault(version, (manifest.name, log))
        if not shared.refers_to(items, manifest.actions):
            raise ValueError(
                f"bundles {first} and {manifest.name} share the embedding version {version} "
                "but differ in its items or actions: give one of them a version of its own"
            )
    return tuple(log for _, log in logs.values())


class EventsService:
    """Appends to, shows and erases members' logs. Event-loop only.

    elsewhere: stores of embedding versions that are not in use but may hold logs; an erasure reaches them too.
    """

    def __init__(
        self,
        logs: Sequence[EventLog] = (),
        elsewhere: Callable[[], Awaitable[Sequence[HistoryStore]]] | None = None,
    ) -> None:
        self._logs = tuple(logs)
        self._elsewhere = elsewhere
        self._joining: Joining | None = None
        self._under_way = 0
        self._ended = asyncio.Condition()
        self._paused = False

    def use(self, logs: Sequence[EventLog], joining: Joining | None = None) -> None:
        """From now on these logs, one per embedding version in use, that of a serving model first.

        joining: a version that is about to be used, whose log of a member is brought up to date after each change.
        """
        self._logs, self._joining = tuple(logs), joining

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No event is being written inside; those that come wait. For moments."""
        self._paused = True
        try:
            async with self._ended:
                await self._ended.wait_for(lambda: self._under_way == 0)
            yield
        finally:
            self._paused = False
            async with self._ended:
                self._ended.notify_all()

    async def append(self, request: EventsRequest, idempotency_key: str | None) -> EventsResponse:
        """Append the batch, whole or not at all, to each log; once it returns, every later read sees it.

        Everything is validated before anything is written. With several embedding versions a failure may fall between
        two logs: a retry with the same idempotency key completes it and repeats nothing.
        """
        async with self._writing() as (logs, joining):
            batches = [(log.store, log.encode(request.events).records) for log in logs]
            replies = [await store.append(request.member_id, records, idempotency_key) for store, records in batches]
            if joining is not None:
                await joining.bring(request.member_id)
        appended, total, _ = replies[0]
        return EventsResponse(appended=appended, total=total, replayed=all(reply.replayed for reply in replies))

    async def history(self, member_id: str) -> HistoryResponse:
        """The stored log. Raises NotFound where there is none."""
        log = self._in_use()[0]
        history = await log.store.log(member_id)
        if history.total == 0:
            raise NotFound("no history is stored for this member")
        return HistoryResponse(member_id=member_id, total=history.total, actions=log.decode(history))

    async def erase(self, member_id: str) -> bool:
        """Erase every log of a member, also in versions that do not serve; whether there was one in use."""
        async with self._writing() as (logs, joining):
            found = any([await log.store.erase(member_id) for log in logs])
            if joining is not None:
                await joining.target.store.erase(member_id)
            for store in await self._elsewhere() if self._elsewhere is not None else ():
                try:
                    await store.erase(member_id)
                finally:
                    await store.close()
        return found

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[tuple[EventLog, ...], Joining | None]]:
        if self._paused:
            async with self._ended:
                await self._ended.wait_for(lambda: not self._paused)
        self._under_way += 1
        try:
            yield self._in_use(), self._joining
        finally:
            self._under_way -= 1
            if self._paused:
                async with self._ended:
                    self._ended.notify_all()

    def _in_use(self) -> tuple[EventLog, ...]:
        if not self._logs:  # an event would be acknowledged and lost
            raise ModelUnavailable("no model is loaded whose history it could be")
        return self._logs
