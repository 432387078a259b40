"""RedisHistoryStore: members' logs in Redis, behind the scripts of `lua/`, one round trip a call.

All keys of one member share a hash tag, for Redis Cluster. It does not know redis-py, what a call may take and how it
fails (redis_calls.py), or what a record means.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Self, get_args

from service.codec import (
    HistoryVersion,
    MemberHistory,
    count_records,
    damaged,
    decode_records,
    draw_incarnation,
    pack_prefix,
)
from service.errors import IdempotencyConflict, RankonceError, StoreUnavailable
from service.histories import IDEMPOTENCY_SECONDS, Appended, Connections, Image, Standing, Window
from service.redis_calls import RedisCalls, RedisClient, Script, ScriptError, connect_url

WHOLE_LOG = Window(0, 1)
_STANDINGS: dict[bytes, Standing] = {standing.encode(): standing for standing in get_args(Standing)}
_UNCHANGED = 1
_GLOB = re.compile(rb"[*?\[\]\\]")
_SCANNED, _MOST_SCANS = 200, 20  # keys a round trip, and how many of these: a large Redis is not read to its end


class RedisHistoryStore:
    """The store of one embedding version. `max_history`: the longest window that any ranker reads of it."""

    def __init__(
        self,
        url: str,
        namespace: str,
        embedding_version: str,
        embedding_dim: int,
        max_history: int,
        timeout_ms: float,
        ttl_seconds: float | None = None,
        wait_replicas: int = 0,
        *,
        connect: Callable[[str, float], RedisClient] = connect_url,
    ) -> None:
        self._key_prefix = f"{namespace}:{embedding_version}:"
        self._embedding_dim = embedding_dim
        self._max_history = max_history
        self._ttl_ms = round((ttl_seconds or 0) * 1e3)
        self._prefix = pack_prefix(embedding_dim)
        self._read, self._append, self._mirror = Script("read.lua"), Script("append.lua"), Script("mirror.lua")
        self._calls = RedisCalls(url, timeout_ms, wait_replicas, connect)

    async def get(self, member_id: str, window: Window, known: HistoryVersion | None = None) -> MemberHistory | None:
        incarnation, total = (known.incarnation.to_bytes(8, "little"), known.total) if known else (b"", 0)
        asked = (self._prefix, *window, incarnation, total, self._ttl_ms)
        reply = await self._run(self._read, [self.key(member_id)], *asked, replicated=False)
        match reply:
            case None:
                return None if known == HistoryVersion(0, 0) else MemberHistory.empty(self._embedding_dim)
            case int() if reply == _UNCHANGED and known:
                return None
            case [bytes(incarnation), int(total), bytes(data)]:
                records = decode_records(data, self._embedding_dim)
                return MemberHistory(int.from_bytes(incarnation, "little"), total, total - len(records), records)
        raise await self._nonsense()

    async def append(self, member_id: str, records: bytes, idempotency_key: str | None) -> Appended:
        keys = [self.key(member_id)]
        if idempotency_key is not None:
            keys.append(keys[0] + b":idempotency:" + _bytes(idempotency_key))
        return await self._write("append", keys, records)

    async def replace(self, member_id: str, records: bytes) -> int:
        return (await self._write("replace", [self.key(member_id)], records)).total

    async def log(self, member_id: str) -> MemberHistory:
        history = await self.get(member_id, WHOLE_LOG)
        assert history is not None, "only a known version can be unchanged"
        return history

    async def erase(self, member_id: str) -> bool:
        return bool(await self._calls.command("DEL", self.key(member_id), replicated=True))

    async def members(self, limit: int) -> list[str]:
        found: set[str] = set()
        async with aclosing(self._scan(_MOST_SCANS)) as scan:
            async for some in scan:
                found.update(some)
                if len(found) >= limit:
                    break
        return list(found)[:limit]

    async def scan(self) -> AsyncGenerator[str, None]:
        async with aclosing(self._scan()) as scan:
            async for some in scan:
                for member_id in some:
                    yield member_id

    async def mirror(self, member_id: str, source: Self, image: Image | None = None) -> Standing:
        keys = [source.key(member_id), self.key(member_id)]
        records, version, start = (image.records, image.of.version, image.of.start) if image else (b"", (0, 0), 0)
        incarnation, total = version[0].to_bytes(8, "little"), version[1]
        words = (source._prefix, self._prefix, records, incarnation, total, start.to_bytes(8, "little"), self._ttl_ms)
        reply = await self._run(self._mirror, keys, *words, replicated=image is not None)
        match reply:
            case bytes() if standing := _STANDINGS.get(reply):
                return standing
        raise await self._nonsense()

    async def ping(self) -> None:
        await self._calls.command("PING")

    async def verify(self) -> None:
        memory = await self._calls.command("INFO", "memory")  # CONFIG GET is often forbidden
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and memory.get("maxmemory") != 0:
            raise ValueError(
                f"Redis's maxmemory-policy is {policy}: short of memory it would forget histories without a word. "
                "Set it to noeviction"
            )

    async def close(self) -> None:
        await self._calls.close()

    def connections(self) -> Connections:
        return self._calls.connections()

    def key(self, member_id: str) -> bytes:
        """The member's log. `{member}` is the hash tag; a brace of the member's own is escaped, so that the tag ends
        where the member does and no member's keys can be another's."""
        member_id = member_id.replace("%", "%25").replace("}", "%7D")
        return _bytes(f"{self._key_prefix}{{{member_id}}}")

    async def _scan(self, most: int | None = None) -> AsyncGenerator[list[str], None]:
        """Members that have a log, a round trip at a time, at most so many of them."""
        start, cursor = _bytes(self._key_prefix + "{"), b"0"
        pattern = _GLOB.sub(rb"\\\g<0>", start) + b"*}"
        for _ in itertools.count() if most is None else range(most):
            cursor, keys = await self._calls.command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
            yield [member for key in keys if (member := _member(key[len(start) : -1]))]
            if int(cursor) == 0:
                return

    async def _write(self, mode: str, keys: list[bytes], records: bytes) -> Appended:
        count_records(records, self._embedding_dim)
        incarnation, remembered_ms = draw_incarnation().to_bytes(8, "little"), IDEMPOTENCY_SECONDS * 1000
        words = (mode, self._prefix, incarnation, records, self._max_history, self._ttl_ms, remembered_ms)
        replicated = mode == "append"  # a history that is loaded from a file can be loaded again
        reply = await self._run(self._append, keys, *words, replicated=replicated)
        match reply:
            case [int(appended), int(total), int(replayed)]:
                return Appended(appended, total, bool(replayed))
        raise await self._nonsense()

    async def _run(self, script: Script, keys: Sequence[bytes], *args: bytes | str | int, replicated: bool) -> Any:
        try:
            return await self._calls.script(script, keys, *args, replicated=replicated)
        except ScriptError as error:
            raise _typed(error) from None

    async def _nonsense(self) -> StoreUnavailable:
        """For a reply that the script never gives: it was meant for somebody else."""
        await self._calls.drop_idle_connections()
        return StoreUnavailable("the history store answered something else")


def _typed(error: ScriptError) -> RankonceError:
    if error.kind == "CONFLICT":
        return IdempotencyConflict()
    return damaged(error.words)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _member(tag: bytes) -> str | None:
    """The member of a log's key; None for a key that is no log, or a member that is no text."""
    if b"}" in tag:  # a member's own brace is escaped: this is an idempotency key that ends in one
        return None
    try:
        return tag.decode().replace("%7D", "}").replace("%25", "%")
    except UnicodeDecodeError:
        return None
