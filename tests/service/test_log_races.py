"""A member's log on a real Redis while everything happens to it at once: every read is a whole run of its events."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.faults.redis_server import DURABLE, RedisServer
from service.codec import HistoryVersion
from service.errors import NotReplicated, StoreUnavailable
from service.histories import Window
from service.redis_histories import RedisHistoryStore
from tests.service.stores import DIM, marks, records

MAX_HISTORY = 16
KILLS = 6

WRITER = """
import asyncio, sys
from service.redis_histories import RedisHistoryStore
from tests.service.stores import DIM, records

async def main(url, namespace, member, begin):
    store = RedisHistoryStore(url, namespace, "v1", DIM, 16, 5000)
    for first in range(int(begin), 10**9, 3):  # each batch of three twice, as a client that saw no answer would
        batch = records(range(first, first + 3)), f"{member}-{first}"
        await asyncio.gather(store.append(member, *batch), store.append(member, *batch))
        print(first + 3, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(*DURABLE) as server:
        yield server


def open_store(server: RedisServer, namespace: str, replicas: int = 0, timeout_ms: float = 5000.0) -> RedisHistoryStore:
    return RedisHistoryStore(server.url, namespace, "v1", DIM, MAX_HISTORY, timeout_ms, wait_replicas=replicas)


def spawn(server: RedisServer, namespace: str, member: str, begin: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, server.url, namespace, member, str(begin)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


async def test_every_read_is_whole_while_writers_are_killed(server: RedisServer) -> None:
    """Processes append, trim and repeat themselves and are killed in the middle of it; readers of windows and of whole
    logs never see a torn, lost, doubled or misplaced record, and nothing that was printed as done is missing."""
    namespace, members = uuid.uuid4().hex, ("a", "b")
    store = open_store(server, namespace)
    done = dict.fromkeys(members, 0)
    reads = 0

    async def read(member: str, finished: asyncio.Event) -> None:
        nonlocal reads
        known: HistoryVersion | None = None
        newest = 0
        rng = random.Random(member)
        while not finished.is_set():
            width = rng.randint(1, MAX_HISTORY)
            history = await store.get(member, Window(width, rng.randint(1, width)), known)
            if history is None or history.total == 0:
                continue
            found = marks(history)
            assert found == list(range(history.start, history.total))
            assert history.total % 3 == 0
            assert history.total >= newest
            known, newest, reads = history.version, history.total, reads + 1
            log = await store.log(member)
            assert marks(log) == list(range(log.start, log.total))

    finished = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(read(member, finished))
        for _ in range(KILLS):
            writers = {member: spawn(server, namespace, member, done[member]) for member in members}
            for member, writer in writers.items():
                assert writer.stdout is not None
                for _ in range(20):
                    done[member] = int(await asyncio.to_thread(writer.stdout.readline))
            for member, writer in writers.items():
                writer.kill()
                out, _ = await asyncio.to_thread(writer.communicate)
                done[member] = max([done[member], *map(int, out.split())])
                # What was under way may be kept or not; the next writer sends it again, and it is kept once.
                assert (await store.log(member)).total - done[member] in (0, 3)
        finished.set()
    assert reads > 100
    await store.close()


async def test_an_erasure_begins_a_log_anew_and_never_leaves_half_of_one(server: RedisServer) -> None:
    """Appends race with erasures: each read is a run that ends with the newest, and its incarnation is its own."""
    store = open_store(server, uuid.uuid4().hex)
    seen: dict[int, int] = {}  # incarnation → the mark its log began with
    at = 0

    async def write() -> None:
        nonlocal at
        for first in range(0, 600, 2):
            await store.append("m", records([first, first + 1]), f"k{first}")
            at = first

    async def erase(writing: asyncio.Task[None]) -> None:
        while not writing.done():
            await asyncio.sleep(0.005)
            await store.erase("m")

    async def read(writing: asyncio.Task[None]) -> None:
        while not writing.done():
            log = await store.log("m")
            if log.total:
                found = marks(log)
                assert found == list(range(found[0], found[-1] + 1))
                assert seen.setdefault(log.incarnation, found[0] - log.start) == found[0] - log.start

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        for work in (erase, read, read):
            tasks.create_task(work(writing))
    assert at == 598
    assert len(seen) > 3
    await store.close()


async def test_a_repeated_batch_is_not_acknowledged_before_replicas_have_it(server: RedisServer) -> None:
    """The first attempt is written and not replicated; its repetition finds it done, and waits all the same."""
    with RedisServer() as replica:
        replica.follow(server.port)
        store = open_store(server, uuid.uuid4().hex, replicas=1, timeout_ms=500.0)
        assert (await store.append("m", records([1]), "k1")).total == 1
        replica.stop()
        for _ in range(2):
            with pytest.raises(NotReplicated):
                await store.append("m", records([2]), "k2")
        replica.resume()
        give_up = asyncio.get_running_loop().time() + 20.0
        reply = None
        while reply is None:
            try:
                reply = await store.append("m", records([2]), "k2")
            except StoreUnavailable:
                assert asyncio.get_running_loop().time() < give_up
        assert reply == (1, 2, True)
        server.kill()
        replica.promote()
        survivor = RedisHistoryStore(replica.url, store.key("m").decode().split(":")[0], "v1", DIM, MAX_HISTORY, 5000)
        assert marks(await survivor.log("m")) == [1, 2]
        await store.close()
        await survivor.close()
