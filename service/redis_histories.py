"""RedisHistoryStore: members' logs in Redis, behind the two scripts of `lua/`, one round trip a call.

The only file that knows redis-py. `connect` is the seam for Sentinel and Cluster: whatever it returns needs
`execute_command` and `aclose`, and all keys of one member share a hash tag. It does not know what a record means.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from service.codec import (
    HistoryVersion,
    MemberHistory,
    count_records,
    damaged,
    decode_records,
    draw_incarnation,
    pack_prefix,
)
from service.errors import StoreUnavailable
from service.histories import IDEMPOTENCY_SECONDS, Appended, Connections, Window

MAX_CONNECTIONS = 32
WHOLE_LOG = Window(0, 1)
_UNCHANGED = 1
_DAMAGED = "DAMAGED "
_GLOB = re.compile(rb"[*?\[\]\\]")
_SCANNED, _MOST_SCANS = 200, 20  # keys a round trip, and how many of these: a large Redis is not read to its end


class RedisClient(Protocol):
    """What is used of redis.asyncio's Redis, Sentinel-made Redis or RedisCluster."""

    async def execute_command(self, *args: Any) -> Any: ...

    async def aclose(self) -> None: ...


def connect_url(url: str, timeout_seconds: float) -> RedisClient:
    """A client of one server (redis://, rediss:// or unix://). It connects on first use.

    redis-py retries by default, for seconds; here a call fails within its timeout and the caller decides.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=None,  # for a free connection: the budget of the whole call bounds it
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
            protocol=2,
        )
    except ValueError:
        raise ValueError("the Redis URL cannot be understood") from None  # its text holds the password
    client: RedisClient = Redis.from_pool(pool)
    return client


class _Script:
    def __init__(self, name: str) -> None:
        self.text = files("service").joinpath("lua", name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


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
        *,
        connect: Callable[[str, float], RedisClient] = connect_url,
    ) -> None:
        self._key_prefix = f"{namespace}:{embedding_version}:"
        self._embedding_dim = embedding_dim
        self._max_history = max_history
        self._timeout_seconds = timeout_ms / 1e3
        self._ttl_ms = round((ttl_seconds or 0) * 1e3)
        self._prefix = pack_prefix(embedding_dim)
        self._read, self._append = _Script("read.lua"), _Script("append.lua")
        self._client = connect(url, self._timeout_seconds)

    async def get(self, member_id: str, window: Window, known: HistoryVersion | None = None) -> MemberHistory | None:
        incarnation, total = (known.incarnation.to_bytes(8, "little"), known.total) if known else (b"", 0)
        key = self.key(member_id)
        reply = await self._run(self._read, [key], self._prefix, *window, incarnation, total, self._ttl_ms)
        if reply is None:
            return None if known == HistoryVersion(0, 0) else MemberHistory.empty(self._embedding_dim)
        if reply == _UNCHANGED:
            return None
        incarnation, total, data = reply
        records = decode_records(data, self._embedding_dim)
        return MemberHistory(int.from_bytes(incarnation, "little"), total, total - len(records), records)

    async def append(self, member_id: str, records: bytes, idempotency_key: str | None) -> Appended:
        keys = [self.key(member_id)]
        if idempotency_key is not None:
            keys.append(keys[0] + b":idempotency:" + _bytes(idempotency_key))
        appended, total, replayed = await self._write("append", keys, records)
        return Appended(appended, total, bool(replayed))

    async def replace(self, member_id: str, records: bytes) -> int:
        _, total, _ = await self._write("replace", [self.key(member_id)], records)
        return total

    async def log(self, member_id: str) -> MemberHistory:
        history = await self.get(member_id, WHOLE_LOG)
        assert history is not None, "only a known version can be unchanged"
        return history

    async def erase(self, member_id: str) -> bool:
        return bool(await self._call(self._client.execute_command("DEL", self.key(member_id))))

    async def members(self, limit: int) -> list[str]:
        start, cursor = _bytes(self._key_prefix + "{"), b"0"
        found: set[str] = set()
        for _ in range(_MOST_SCANS):
            pattern = _GLOB.sub(rb"\\\g<0>", start) + b"*}"
            scan = self._client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
            cursor, keys = await self._call(scan)
            found.update(filter(None, (_member(key[len(start) : -1]) for key in keys)))
            if len(found) >= limit or int(cursor) == 0:
                break
        return list(found)[:limit]

    async def ping(self) -> None:
        await self._call(self._client.execute_command("PING"))

    async def close(self) -> None:
        await self._client.aclose()

    def connections(self) -> Connections:
        pool = getattr(self._client, "connection_pool", None)  # Sentinel's client has one, a Cluster's one a node
        if pool is None:
            return Connections(0, 0)
        return Connections(len(pool._in_use_connections), pool.max_connections)  # no public way to the first

    def key(self, member_id: str) -> bytes:
        """The member's log. `{member}` is the hash tag; a brace of the member's own is escaped, so that the tag ends
        where the member does and no member's keys can be another's."""
        member_id = member_id.replace("%", "%25").replace("}", "%7D")
        return _bytes(f"{self._key_prefix}{{{member_id}}}")

    async def _write(self, mode: str, keys: list[bytes], records: bytes) -> tuple[int, int, int]:
        count_records(records, self._embedding_dim)
        appended, total, replayed = await self._run(
            self._append,
            keys,
            mode,
            self._prefix,
            draw_incarnation().to_bytes(8, "little"),
            records,
            self._max_history,
            self._ttl_ms,
            IDEMPOTENCY_SECONDS * 1000,
        )
        return appended, total, replayed

    async def _run(self, script: _Script, keys: list[bytes], *args: bytes | str | int) -> Any:
        return await self._call(self._evaluate(script, len(keys), *keys, *args))

    async def _evaluate(self, script: _Script, *args: bytes | str | int) -> Any:
        try:
            return await self._client.execute_command("EVALSHA", script.sha, *args)
        except NoScriptError:  # a new or restarted server, or SCRIPT FLUSH: EVAL stores the script again
            return await self._client.execute_command("EVAL", script.text, *args)

    async def _call(self, command: Awaitable[Any]) -> Any:
        """Await a command for at most the timeout in all, whatever it is that hangs: a free connection, the connect,
        the reply. redis-py closes a connection whose reply was not awaited, so no reply reaches another caller."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await command
        except ResponseError as error:
            if str(error).startswith(_DAMAGED):
                raise damaged(str(error).removeprefix(_DAMAGED)) from None
            raise StoreUnavailable("the history store refused the command") from error
        except (TimeoutError, RedisTimeout) as error:
            raise StoreUnavailable("the history store did not answer in time") from error
        except (RedisError, OSError, RuntimeError) as error:  # the last is uvloop's, for a connection that is gone
            raise StoreUnavailable("the history store cannot be reached") from error


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
