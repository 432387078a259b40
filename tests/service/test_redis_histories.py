"""What only the Redis store can show: its bytes, its keys, its time to live, and a server that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis
from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot

from loadtests.faults.proxy import Fault, FaultProxy
from loadtests.faults.redis_server import RedisServer
from service.breaker import FAILURES
from service.codec import encode_records
from service.embedded_redis import EmbeddedRedis, find_server
from service.errors import HistoryDamaged, StoreUnavailable
from service.histories import InMemoryHistoryStore, Window
from service.redis_histories import RedisHistoryStore

DIM = 3
WINDOW = Window(4, 2)


def records(*marks: int) -> bytes:
    return encode_records(marks, np.zeros(len(marks), int), marks, np.ones((len(marks), DIM), np.float16))


def open_store(url: str, **options: Any) -> RedisHistoryStore:
    """A store of its own namespace, T_max 4, patient unless told otherwise."""
    settings = {"timeout_ms": 5000.0, "max_history": 4, "embedding_dim": DIM, **options}
    return RedisHistoryStore(url, uuid.uuid4().hex, "v1", **settings)


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    """A plain client of the same server, to look behind the store's back."""
    with Redis.from_url(redis_url) as client:
        yield client


async def test_redis_keeps_the_bytes_that_the_in_memory_store_keeps(redis_url: str, client: Redis) -> None:
    """Header, trims and records are the same; only the random incarnation differs."""
    stores = (open_store(redis_url), InMemoryHistoryStore(DIM, 4))
    for store in stores:
        await store.append("m", records(1, 2), None)
        await store.append("m", records(*range(3, 12)), None)
        await store.append("m", records(12), None)
    log, other = client.get(stores[0].key("m")), stores[1].logs["m"]
    assert isinstance(log, bytes)
    assert log[:8] + log[16:] == other[:8] + other[16:]
    assert log[8:16] != other[8:16]
    await stores[0].close()


async def test_keys_are_namespaced_and_share_the_members_slot(redis_url: str, client: Redis) -> None:
    """`namespace:version:{member}`, the idempotency key beside it, in one slot whatever the member's name is."""
    store = RedisHistoryStore(redis_url, "ns-keys", "v7", DIM, 4, 5000)
    assert store.key("m") == b"ns-keys:v7:{m}"
    members = ["m", "a}b", "}", "{", "ü", "a:b", "\ud800"]
    for member in members:
        await store.append(member, records(1), "key")
        assert key_slot(store.key(member)) == key_slot(store.key(member) + b":idempotency:key")
    keys = client.keys("ns-keys:*")
    assert len({store.key(member) for member in members}) == len(members)
    assert len(keys) == 2 * len(members)
    await store.close()


async def test_a_lookup_is_one_round_trip(redis_url: str, client: Redis) -> None:
    """One EVALSHA a call once the script is known; EVAL only the first time."""
    store = open_store(redis_url)
    client.script_flush()

    def calls(command: str) -> int:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
        return stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]

    await store.append("m", records(1), "k")
    before = calls("evalsha"), calls("eval")
    for _ in range(5):
        await store.append("m", records(1), None)
    assert (calls("evalsha"), calls("eval")) == (before[0] + 5, before[1])
    await store.get("m", WINDOW)
    before = calls("evalsha"), calls("eval")
    for _ in range(5):
        await store.get("m", WINDOW)
    assert (calls("evalsha"), calls("eval")) == (before[0] + 5, before[1])
    await store.close()


async def test_it_recovers_from_lost_scripts_and_lost_connections(redis_url: str, client: Redis) -> None:
    """SCRIPT FLUSH, or a server that closed every connection: the next call works."""
    store = open_store(redis_url)
    await store.append("m", records(1), None)
    client.script_flush()
    assert (await store.log("m")).total == 1
    client.script_flush()
    assert (await store.append("m", records(2), None)).total == 2
    await asyncio.gather(*(store.ping() for _ in range(8)))
    client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.01)  # an idle connection learns of its end from the event loop
    assert all(await asyncio.gather(*(store.get("m", WINDOW) for _ in range(8))))
    assert (await store.log("m")).total == 2
    await store.close()


async def test_a_log_lives_as_long_as_it_is_used(redis_url: str, client: Redis) -> None:
    """Appends and reads renew the time to live; idempotency keys last a day; without a setting a log stays."""
    store = open_store(redis_url, ttl_seconds=100)
    await store.append("m", records(1), "k")
    key = store.key("m")
    assert 90_000 < client.pttl(key) <= 100_000
    assert 86_390_000 < client.pttl(key + b":idempotency:k") <= 86_400_000
    known = (await store.log("m")).version
    for use in (
        lambda: store.get("m", WINDOW),
        lambda: store.get("m", WINDOW, known),
        lambda: store.append("m", records(*range(9)), None),
        lambda: store.replace("m", records(1)),
    ):
        client.pexpire(key, 50_000)
        await use()
        assert client.pttl(key) > 90_000
    client.pexpire(key, 1)
    await asyncio.sleep(0.01)
    assert (await store.log("m")).total == 0
    await store.close()
    forever = open_store(redis_url)
    await forever.append("m", records(1), None)
    client.expire(forever.key("m"), 100)
    await forever.append("m", records(2), None)
    assert client.pttl(forever.key("m")) == -1
    await forever.close()


async def test_a_key_of_another_type_is_damage(redis_url: str, client: Redis) -> None:
    """Something else lives where the log should: refused, untouched, and mended by a rewrite."""
    store = open_store(redis_url)
    client.rpush(store.key("m"), "x")
    for call in (store.get("m", WINDOW), store.append("m", records(1), None)):
        with pytest.raises(HistoryDamaged, match="type"):
            await call
    assert client.llen(store.key("m")) == 1
    assert await store.replace("m", records(1)) == 1
    await store.close()


async def test_a_hung_server_costs_the_timeout_and_no_reply_is_mixed_up() -> None:
    """A stopped server gives StoreUnavailable; when it wakes, late replies reach nobody."""
    with EmbeddedRedis() as server:
        store = open_store(server.url, timeout_ms=100.0)
        for number in range(40):
            await store.append(f"m{number}", records(number), None)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                gets = (store.get(f"m{number}", WINDOW) for number in range(40))
                replies = await asyncio.gather(*gets, store.ping(), return_exceptions=True)
                with pytest.raises(StoreUnavailable, match=r"in time|for the moment"):
                    await store.append("m0", records(99), "late")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert {type(reply) for reply in replies} == {StoreUnavailable}
        await store.close()
        store = _same_keys(store, server.url)
        for number in range(40):
            history = await store.get(f"m{number}", WINDOW)
            assert history is not None
            assert history.item_rows[0] == number
        await store.close()


def _same_keys(store: RedisHistoryStore, url: str) -> RedisHistoryStore:
    namespace, version, _ = store.key("m").decode().split(":")
    return RedisHistoryStore(url, namespace, version, DIM, 4, 5000)


async def test_a_server_that_is_gone_is_unavailable() -> None:
    """Every call says so, in words that hold neither address nor password; soon without trying."""
    with EmbeddedRedis() as server:
        url = server.url
    store = open_store(url)
    said = []
    for call in (
        store.ping(),
        store.get("m", WINDOW),
        store.append("m", records(1), None),
        store.replace("m", b""),
        store.log("m"),
        store.erase("m"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        said.append(caught.value.detail)
    assert set(said[:FAILURES]) == {"the history store cannot be reached"}
    assert set(said[FAILURES:]) == {"the history store has failed and is not asked for the moment"}
    await store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_is_refused_when_it_may_ever_do_so(policy: str) -> None:
    """Histories, or idempotency keys alone, would vanish without a word; without a limit of memory nothing does."""
    with RedisServer("--maxmemory-policy", policy) as server:
        store = open_store(server.url)
        await store.verify()
        server.configure("maxmemory", 10**9)
        with pytest.raises(ValueError, match=f"{policy}.*noeviction"):
            await store.verify()
        server.configure("maxmemory-policy", "noeviction")
        await store.verify()
        await store.close()


async def test_an_answer_that_is_no_scripts_is_not_taken_for_one() -> None:
    """A connection that has come out of step gives what was meant for somebody else: refused, and not used again."""
    with RedisServer() as server:
        async with FaultProxy(server.port) as proxy:
            store = open_store(proxy.url)
            await store.append("m", records(1), None)
            for call in (lambda: store.get("m", WINDOW), lambda: store.append("m", records(2), None)):
                for answer in (b"+OK\r\n", b":1\r\n", b"*1\r\n:7\r\n", b"$2\r\nhi\r\n"):
                    accepted = proxy.accepted
                    proxy.set(Fault.garbage, answer=answer)
                    with pytest.raises(StoreUnavailable, match="something else"):
                        await call()
                    proxy.set(Fault.passing)
                    await store.ping()
                    assert proxy.accepted == accepted + 1
            await store.close()


@pytest.fixture
def cluster_port(tmp_path: Path) -> Iterator[int]:
    """A Redis Cluster of one node that holds every slot: it refuses scripts whose keys lie in several."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1] % 50_000 + 2000  # the node's bus port is 10,000 above
    command = [
        str(find_server()),
        "--port",
        str(port),
        "--cluster-enabled",
        "yes",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL) as server:
        try:
            with Redis(port=port) as node:
                _eventually(lambda: node.ping())
                node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
                _eventually(lambda: "cluster_state:ok" in str(node.execute_command("CLUSTER", "INFO")))
            yield port
        finally:
            server.kill()


def _eventually(check: Callable[[], object]) -> None:
    for _ in range(500):
        try:
            if check():
                return
        except OSError:
            pass
        except Exception as error:
            if "Connection" not in type(error).__name__:
                raise
        signal.sigtimedwait([], 0.02)
    pytest.fail("the cluster node did not come up")


async def test_the_scripts_run_on_a_cluster(cluster_port: int) -> None:
    """Through the `connect` seam: all keys are declared and lie in the member's slot."""
    store = open_store(
        f"redis://127.0.0.1:{cluster_port}", connect=lambda url, timeout: RedisCluster.from_url(url, protocol=2)
    )
    for member in ("m", "other", "}", "a}{b"):
        assert await store.append(member, records(1, 2), "k") == (2, 2, False)
        assert await store.append(member, records(1, 2), "k") == (2, 2, True)
        assert await store.replace(member, records(3)) == 1
        history = await store.get(member, WINDOW)
        assert history is not None
        assert await store.get(member, WINDOW, history.version) is None
        assert await store.erase(member) is True
    await store.ping()
    await store.close()
