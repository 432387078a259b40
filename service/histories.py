"""Where members' histories are kept: the store's contract, and the store that keeps them in this process.

There is one store object per embedding version. Every store keeps the same bytes (codec.py) and trims alike: a log of
more than 2 · T_max actions is cut to its last T_max, which covers every window. This module does not know Redis.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np

from model.bundle import window_start
from service.codec import (
    HEADER,
    HistoryVersion,
    MemberHistory,
    count_records,
    decode_log,
    draw_incarnation,
    pack_header,
    record_dtype,
    unpack_header,
)
from service.errors import HistoryDamaged, IdempotencyConflict

IDEMPOTENCY_SECONDS = 24 * 3600


class Window(NamedTuple):
    """What a ranker reads of a log: at most `max_history` actions, its start moving in steps of `slack`."""

    max_history: int
    slack: int


class Appended(NamedTuple):
    """appended: records of this batch; total: ever appended; replayed: the idempotency key had been seen."""

    appended: int
    total: int
    replayed: bool


class Connections(NamedTuple):
    """in_use: connections that a call holds now; limit: how many there may be. Zeros where there is no other side.

    cut_off: the store has stopped answering, and calls are kept from it but for one now and then."""

    in_use: int
    limit: int
    cut_off: bool = False


Standing = Literal["same", "behind", "ahead", "gone"]
"""A log beside that of another embedding version: nothing is missing · something is · it has more · it is alone."""


class Image(NamedTuple):
    """A member's log in the rows and embeddings of another embedding version: of which log, and its records."""

    of: MemberHistory
    records: bytes


class HistoryStore(Protocol):
    """Append-only logs by member. Every method may raise StoreUnavailable, the reading ones also HistoryDamaged."""

    async def get(self, member_id: str, window: Window, known: HistoryVersion | None = None) -> MemberHistory | None:
        """The window of a member's log in one round trip; None ⇔ the log is exactly `known`.

        A member without a log has the empty history, version (0, 0).
        """
        ...

    async def append(self, member_id: str, records: bytes, idempotency_key: str | None) -> Appended:
        """Add whole records, atomically. A key seen within 24 h gives the stored reply and appends nothing.

        Raises IdempotencyConflict where the key came with other records. After StoreUnavailable the records may be
        kept or not; sent again with their key they are kept once.
        """
        ...

    async def replace(self, member_id: str, records: bytes) -> int:
        """Rewrite the log under a new incarnation, damaged or not; no records: forget it. Returns the total."""
        ...

    async def log(self, member_id: str) -> MemberHistory:
        """The whole stored log."""
        ...

    async def erase(self, member_id: str) -> bool:
        """Forget a log; whether there was one."""
        ...

    async def members(self, limit: int) -> list[str]:
        """Some members that have a log, at most `limit`, to try things with: neither all nor a fair sample."""
        ...

    def scan(self) -> AsyncGenerator[str, None]:
        """Every member that has a log, some of them twice; those that come or go meanwhile may be missed."""
        ...

    async def mirror(self, member_id: str, source: Self, image: Image | None = None) -> Standing:
        """How a member's log stands to that in `source`; with `image`, written first if that is still its image.

        Atomic. A log that is ahead is never overwritten. Raises HistoryDamaged for the source's log.
        """
        ...

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the store answers."""
        ...

    async def verify(self) -> None:
        """Raise ValueError, with what to do, if it is set up so that it may forget what it was given."""
        ...

    async def close(self) -> None: ...

    def connections(self) -> Connections: ...


class InMemoryHistoryStore:
    """Keeps in a dictionary the very bytes that Redis would keep. For tests and benchmarks: nothing survives it."""

    def __init__(
        self,
        embedding_dim: int,
        max_history: int,
        ttl_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.logs: dict[str, bytes] = {}
        self._embedding_dim = embedding_dim
        self._max_history = max_history
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._expires: dict[str, float] = {}
        self._seen: dict[tuple[str, str], tuple[float, bytes, Appended]] = {}

    async def get(self, member_id: str, window: Window, known: HistoryVersion | None = None) -> MemberHistory | None:
        log = await self.log(member_id)
        if known == log.version:
            return None
        start = max(log.start, window_start(log.total, *window))
        return MemberHistory(log.incarnation, log.total, start, log.records[start - log.start :])

    async def append(self, member_id: str, records: bytes, idempotency_key: str | None) -> Appended:
        appended = count_records(records, self._embedding_dim)
        log = self._live(member_id)
        header = unpack_header(log, self._embedding_dim) if log else None
        if idempotency_key is not None:
            expires, before, reply = self._seen.get((member_id, idempotency_key), (0.0, b"", None))
            if reply is not None and self._clock() < expires:
                if before != records:
                    raise IdempotencyConflict()
                return reply._replace(replayed=True)
        total = self._write(member_id, log, header.incarnation if header else draw_incarnation(), records)
        reply = Appended(appended, total, replayed=False)
        if idempotency_key is not None:
            self._seen[member_id, idempotency_key] = (self._clock() + IDEMPOTENCY_SECONDS, records, reply)
        return reply

    async def replace(self, member_id: str, records: bytes) -> int:
        count_records(records, self._embedding_dim)
        self.logs.pop(member_id, None)
        return self._write(member_id, b"", draw_incarnation(), records)

    async def log(self, member_id: str) -> MemberHistory:
        log = self._live(member_id)
        if not log:
            return MemberHistory.empty(self._embedding_dim)
        history = decode_log(log, self._embedding_dim)
        self._renew(member_id)
        return history

    async def erase(self, member_id: str) -> bool:
        log = self._live(member_id)
        self.logs.pop(member_id, None)
        return bool(log)

    async def members(self, limit: int) -> list[str]:
        return [member_id for member_id in list(self.logs) if self._live(member_id)][:limit]

    async def scan(self) -> AsyncGenerator[str, None]:
        for member_id in list(self.logs):
            if self._live(member_id):
                yield member_id

    async def mirror(self, member_id: str, source: Self, image: Image | None = None) -> Standing:
        theirs = (await source.log(member_id)).version
        if theirs.total == 0:
            return "gone"
        try:
            ours = (await self.log(member_id)).version
        except HistoryDamaged:
            ours = HistoryVersion(0, 0)
        if ours.incarnation == theirs.incarnation and ours.total >= theirs.total:
            return "same" if ours == theirs else "ahead"
        if image is None or image.of.version != theirs:
            return "behind"
        header = pack_header(self._embedding_dim, theirs.incarnation, image.of.start)
        self.logs[member_id] = header + image.records
        self._renew(member_id)
        return "same"

    async def ping(self) -> None:
        return

    async def verify(self) -> None:
        return

    async def close(self) -> None:
        return

    def connections(self) -> Connections:
        return Connections(0, 0)

    def _live(self, member_id: str) -> bytes:
        if self._clock() >= self._expires.get(member_id, np.inf):
            self.logs.pop(member_id, None)
            del self._expires[member_id]
        return self.logs.get(member_id, b"")

    def _renew(self, member_id: str) -> None:
        if self._ttl_seconds is not None:
            self._expires[member_id] = self._clock() + self._ttl_seconds

    def _write(self, member_id: str, log: bytes, incarnation: int, records: bytes) -> int:
        size = record_dtype(self._embedding_dim).itemsize
        trimmed = unpack_header(log, self._embedding_dim).trimmed if log else 0
        body = log[HEADER.size :] + records
        total = trimmed + len(body) // size
        if len(body) // size > 2 * self._max_history:
            body = body[-self._max_history * size :]
        if records:
            trimmed = total - len(body) // size
            self.logs[member_id] = pack_header(self._embedding_dim, incarnation, trimmed) + body
            self._renew(member_id)
        return total
