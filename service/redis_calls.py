"""RedisCalls: one call to Redis, within a budget of time, behind a circuit breaker, failing typed.

The only file that knows redis-py. `connect` is the seam for Sentinel and Cluster: whatever it returns is a RedisClient.
It does not know what is stored, or under which keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from service.breaker import PAUSE_SECONDS, CircuitBreaker
from service.errors import NotReplicated, StoreUnavailable
from service.histories import Connections

Send = Callable[..., Awaitable[Any]]

MAX_CONNECTIONS = 32
MOST_WAITING = MAX_CONNECTIONS // 2  # so that slow replicas never take every connection from the reads
LATE_SECONDS = 0.02
WAIT_SHARE = 0.6  # of what is left of the budget: Redis says that a replica is late before we give up on Redis

_SCRIPT_ERROR = re.compile(r"(DAMAGED|CONFLICT) ([a-z ]+)$")
_READ_ONLY = "it is a read-only replica"
_REFUSALS = (
    (re.compile("OutOfMemory|OOM"), "it is out of memory"),
    (re.compile("ReadOnly|READONLY"), _READ_ONLY),
    (re.compile("MISCONF"), "it cannot write to its disk"),
    (re.compile("NOREPLICAS"), "it has too few replicas"),
    (re.compile("BusyLoading|LOADING"), "it is still loading its data"),
    (re.compile("UNBLOCKED"), "it has just become a replica"),
)


class RedisClient(Protocol):
    """What is used of redis.asyncio's Redis, Sentinel-made Redis or RedisCluster (there without WAIT)."""

    async def execute_command(self, *args: Any) -> Any: ...

    def pipeline(self, transaction: bool = ...) -> Any: ...

    async def aclose(self) -> None: ...


def connect_url(url: str, timeout_seconds: float) -> RedisClient:
    """A client of one server (redis://, rediss:// or unix://). It connects on first use.

    redis-py retries by default, for seconds; here a call fails within its timeout and the caller decides.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            # The budget of the whole call bounds both; and a bounded write is one that can lose a cancellation.
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
            protocol=2,
        )
    except ValueError:
        raise ValueError("the Redis URL cannot be understood") from None  # its text holds the password
    client: RedisClient = Redis.from_pool(pool)
    return client


class Script:
    """A Lua script of `lua/`, known to the server by its SHA-1."""

    def __init__(self, name: str) -> None:
        self.text = files("service").joinpath("lua", name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class ScriptError(Exception):
    """A script of ours answered with an error of its own, `KIND words`."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind} {words}")
        self.kind = kind
        self.words = words


class RedisCalls:
    """replicas: how many of them must have a write before it counts as done."""

    def __init__(
        self, url: str, timeout_ms: float, replicas: int, connect: Callable[[str, float], RedisClient] = connect_url
    ) -> None:
        self._timeout_seconds = timeout_ms / 1e3
        self._replicas = replicas
        self._waiting = asyncio.Semaphore(MOST_WAITING)
        self._breaker = CircuitBreaker()
        self._next_look = 0.0
        self._client = connect(url, self._timeout_seconds)

    async def command(self, *words: Any, replicated: bool = False) -> Any:
        """A command's reply. Raises StoreUnavailable, and NotReplicated for one that is to be `replicated`.

        What was refused was not written; what did not answer in time, or was not replicated, may have been.
        """
        return await self._within_budget(lambda send: send(*words), replicated)

    async def script(self, script: Script, keys: Sequence[bytes], *args: bytes | str | int, replicated: bool) -> Any:
        """A script's reply: as `command`, and ScriptError for the script's own errors."""

        async def evaluate(send: Send) -> Any:
            try:
                return await send("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:  # a new or restarted server, or SCRIPT FLUSH: EVAL stores the script again
                return await send("EVAL", script.text, len(keys), *keys, *args)

        return await self._within_budget(evaluate, replicated)

    async def drop_idle_connections(self) -> None:
        """Use none of them again: what came over one was not what it should be."""
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            # Taken out at once: the pool's own way would close one that somebody is just being given.
            idle, pool._available_connections = pool._available_connections, []
            await asyncio.gather(*(connection.disconnect(nowait=True) for connection in idle))

    async def close(self) -> None:
        await self._client.aclose()

    def connections(self) -> Connections:
        pool = getattr(self._client, "connection_pool", None)  # Sentinel's client has one, a Cluster's one a node
        if pool is None:
            return Connections(0, 0, self._breaker.open)
        in_use = len(pool._in_use_connections)  # there is no public way to it
        return Connections(in_use, pool.max_connections, self._breaker.open)

    async def _within_budget(self, call: Callable[[Send], Awaitable[Any]], replicated: bool) -> Any:
        """At most the timeout in all, whatever it is that hangs: a turn, a free connection, the connect, the reply."""
        end = asyncio.get_running_loop().time() + self._timeout_seconds
        if not (replicated and self._replicas):
            return await self._admitted(lambda: call(self._client.execute_command), end)
        try:
            async with asyncio.timeout_at(end - self._timeout_seconds / 2):  # the other half is for the write itself
                await self._waiting.acquire()
        except TimeoutError:  # no fault of Redis, so the breaker does not hear of it
            raise StoreUnavailable("too many events wait for replicas") from None
        try:
            return await self._admitted(lambda: call(partial(self._send_and_wait, end)), end)
        finally:
            self._waiting.release()

    async def _admitted(self, call: Callable[[], Awaitable[Any]], end: float) -> Any:
        """redis-py closes a connection whose reply was not awaited, so no late reply reaches another caller."""
        if not self._breaker.admits():
            raise StoreUnavailable("the history store has failed and is not asked for the moment")
        try:
            async with asyncio.timeout_at(end):
                reply = await call()
        except ResponseError as error:
            self._breaker.answered()
            raise await self._refused(error) from None
        except NotReplicated:
            self._breaker.answered()
            raise
        except (TimeoutError, RedisTimeout) as error:
            if asyncio.get_running_loop().time() > end + LATE_SECONDS:  # this loop was held up, so who knows
                self._breaker.abandoned()
            else:
                self._breaker.failed()
            if self._breaker.open:  # an idle connection may be as dead, and would fail the next probe
                await self.drop_idle_connections()
            raise StoreUnavailable("the history store did not answer in time") from error
        except (RedisError, OSError, RuntimeError) as error:  # the last is uvloop's, for a connection that is gone
            self._breaker.failed()
            await self.drop_idle_connections()  # they have hardly fared better, and each would fail a request
            raise StoreUnavailable(_why(error, "the history store cannot be reached")) from error
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.answered()
        return reply

    async def _send_and_wait(self, end: float, *words: Any) -> Any:
        """The command and WAIT, which waits for what this connection has seen: also for the write that a repeated
        batch finds done already."""
        left_ms = 1e3 * (end - asyncio.get_running_loop().time())
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command(*words)
        pipeline.execute_command("WAIT", self._replicas, max(1, round(WAIT_SHARE * left_ms)))
        reply, reached = await pipeline.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        if not isinstance(reached, int) or reached < self._replicas:  # an error: this server has just been demoted
            raise NotReplicated(
                "the write has not reached enough replicas in time and may be lost: send it again, "
                "with the same Idempotency-Key"
            )
        return reply

    async def _refused(self, error: ResponseError) -> ScriptError | StoreUnavailable:
        if found := _SCRIPT_ERROR.match(str(error)):
            return ScriptError(found[1], found[2])
        reason = _why(error, "the history store refused the command")
        now = asyncio.get_running_loop().time()
        if _READ_ONLY in reason and now >= self._next_look:
            self._next_look = now + PAUSE_SECONDS
            await self.drop_idle_connections()  # its successor may be behind the same address: look there next
        return StoreUnavailable(reason)


def _why(error: Exception, otherwise: str) -> str:
    words = f"{type(error).__name__} {error}"
    reason = next((reason for pattern, reason in _REFUSALS if pattern.search(words)), None)
    return f"the history store refused: {reason}" if reason else otherwise
