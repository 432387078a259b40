"""EncodedHistoryCache: encoded histories across requests. It does not know torch, Redis or how to encode.

A caller first learns the log's version from the store, then asks for the encoding of exactly that version. So an entry
is never *believed* to be current: a new event, a rewritten log or a new bundle gives another key.

    lookup      the newest encoding of a member under a bundle, and the version it encodes (to offer to the store)
    get         the encoding of one version: kept, or on its way (single flight), or computed now

The work of one flight belongs to nobody: a caller that is cancelled leaves it to the others that wait for it, and the
last one to leave stops it. Failures reach everyone who waits and are never kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from service.codec import HistoryVersion

CacheEvent = Literal["hit", "shared", "miss", "eviction"]

_ENTRY_OVERHEAD_BYTES = 1024  # key, bookkeeping and tensor headers, so that many tiny entries are bounded as well


@dataclass(frozen=True, eq=False)
class EncodedHistory:
    """One history as the ranker encoded it. Only the ranker that made it reads `tensors`.

    length: actions encoded · nbytes: memory the tensors hold · seconds: what computing it took
    """

    tensors: object
    length: int
    nbytes: int
    seconds: float


class EncodedKey(NamedTuple):
    """Equal keys have equal encodings. bundle: identity of the loaded bundle."""

    bundle: str
    member_id: str
    version: HistoryVersion


class Cached(NamedTuple):
    """An encoding and the version of the log that it encodes."""

    version: HistoryVersion
    encoded: EncodedHistory


@dataclass(eq=False)
class _Flight:
    future: asyncio.Future[EncodedHistory]
    hurry: Callable[[], None] | None
    waiting: int = 0


class EncodedHistoryCache:
    """At most `max_bytes` of encodings, least recently used out first; one entry per (bundle, member), the newest.

    0 bytes keep nothing, and simultaneous requests still share one encoding. Event-loop only. The counters only grow;
    `observe` is called with each event, for whoever publishes them.
    """

    def __init__(self, max_bytes: int, observe: Callable[[CacheEvent], None] | None = None) -> None:
        self._max_bytes = max_bytes
        self._observe = observe
        self._entries: OrderedDict[tuple[str, str], Cached] = OrderedDict()
        self._flights: dict[EncodedKey, _Flight] = {}
        self._retired: set[str] = set()
        self.bytes = 0
        self.counts: dict[CacheEvent, int] = {"hit": 0, "shared": 0, "miss": 0, "eviction": 0}

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(self, bundle: str, member_id: str) -> Cached | None:
        """The newest encoding kept for a member. Not a hit yet: the store decides whether it is current."""
        return self._entries.get((bundle, member_id))

    def hit(self, bundle: str, member_id: str) -> None:
        """Record that what `lookup` gave was current and is being used."""
        if (bundle, member_id) in self._entries:
            self._entries.move_to_end((bundle, member_id))
        self._count("hit")

    async def get(
        self,
        key: EncodedKey,
        encode: Callable[[], Awaitable[EncodedHistory]],
        hurry: Callable[[], None] | None = None,
    ) -> tuple[EncodedHistory, Literal["computed", "cached"]]:
        """The encoding of `key`, by `encode()` unless it is kept or on its way. Raises whatever `encode()` raises.

        hurry: given by a caller who has time, and called when one who has none waits for the same encoding.
        """
        kept = self._entries.get((key.bundle, key.member_id))
        if kept is not None and kept.version == key.version:
            self.hit(key.bundle, key.member_id)
            return kept.encoded, "cached"
        flight = self._flights.get(key)
        if flight is not None:
            self._count("shared")
            if hurry is None and flight.hurry is not None:
                flight.hurry()
            return await self._join(key, flight), "cached"
        self._count("miss")
        flight = self._flights[key] = _Flight(asyncio.ensure_future(encode()), hurry)
        flight.future.add_done_callback(lambda future: self._land(key, future))
        return await self._join(key, flight), "computed"

    def forget(self, bundle: str, member_id: str) -> None:
        """Drop a member's encoding (erasure). A flight under way still answers those who wait, and is not kept."""
        self._remove((bundle, member_id))
        for key in [key for key in self._flights if key[:2] == (bundle, member_id)]:
            del self._flights[key]

    def forget_bundle(self, bundle: str) -> None:
        """Drop every encoding of a bundle that is no longer served, and keep no more of those that requests which have
        begun with it still make."""
        self._retired.add(bundle)
        for place in [place for place in self._entries if place[0] == bundle]:
            self._remove(place)

    def welcome_bundle(self, bundle: str) -> None:
        """It is served, perhaps again."""
        self._retired.discard(bundle)

    async def _join(self, key: EncodedKey, flight: _Flight) -> EncodedHistory:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.future)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.future.done():  # everyone was cancelled
                self._drop(key, flight)
                flight.future.cancel()

    def _drop(self, key: EncodedKey, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _land(self, key: EncodedKey, future: asyncio.Future[EncodedHistory]) -> None:
        flight = self._flights.get(key)
        if flight is None or flight.future is not future:  # erased meanwhile, or everyone has left
            return
        del self._flights[key]
        if not future.cancelled() and future.exception() is None:
            self._keep(key, future.result())

    def _keep(self, key: EncodedKey, encoded: EncodedHistory) -> None:
        place = (key.bundle, key.member_id)
        kept = self._entries.get(place)
        if (
            kept is not None
            and kept.version.incarnation == key.version.incarnation
            and kept.version.total >= key.version.total
        ):
            return  # a slow flight of an older version must not push out a newer one
        self._remove(place)
        if _size(encoded) > self._max_bytes or key.bundle in self._retired:
            return
        self._entries[place] = Cached(key.version, encoded)
        self.bytes += _size(encoded)
        while self.bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self._count("eviction")

    def _remove(self, place: tuple[str, str]) -> None:
        entry = self._entries.pop(place, None)
        if entry is not None:
            self.bytes -= _size(entry.encoded)

    def _count(self, event: CacheEvent) -> None:
        self.counts[event] += 1
        if self._observe is not None:
            self._observe(event)


def _size(encoded: EncodedHistory) -> int:
    return encoded.nbytes + _ENTRY_OVERHEAD_BYTES
