"""Generator: ranking load from processes of its own, kept off the cores of the service that it floods.

An overload cannot be made on the event loop that also runs the store's proxy: that would be what is overloaded. It does
not know what the load is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil

from loadtests.chaos.traffic import Sent, Traffic, traffic
from loadtests.connection import Connection, loopback
from loadtests.workload import Call

PROCESSES = 2


class Generator:
    """`with generating() as generator:`."""

    def __init__(self, pool: ProcessPoolExecutor, url: str, calls: Sequence[Call]) -> None:
        self._pool, self._url, self._calls = pool, url, calls

    async def open_loop(self, rate: float, seconds: float) -> Traffic:
        """`rate` requests a second, whatever becomes of them; an equal share from each process."""
        loop, share = asyncio.get_running_loop(), rate / PROCESSES
        parts = [
            loop.run_in_executor(self._pool, _open_loop, self._url, self._calls[start::PROCESSES], share, seconds)
            for start in range(PROCESSES)
        ]
        together = Traffic()
        together.sent = sorted(sent for part in await asyncio.gather(*parts) for sent in part)
        return together

    async def capacity(self, callers: int, seconds: float) -> float:
        """Answers a second while so many callers each send their next request as soon as they are answered."""
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._pool, _closed_loop, self._url, self._calls, callers, seconds)


@contextlib.contextmanager
def generating(url: str, calls: Sequence[Call], service: psutil.Process) -> Iterator[Generator]:
    """Keeps the service on all cores but the last, and the generators on that; one core is shared by all."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for thread in service.threads():
            os.sched_setaffinity(thread.id, cores[:-1])
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), _keep_to, (cores[-1],)) as pool:
        yield Generator(pool, url, calls)


def _keep_to(core: int) -> None:
    os.sched_setaffinity(0, {core})


def _open_loop(url: str, calls: Sequence[Call], rate: float, seconds: float) -> list[Sent]:
    async def run() -> list[Sent]:
        async with traffic(url, calls, rate) as running:
            await asyncio.sleep(seconds)
        return running.sent

    return asyncio.run(run())


def _closed_loop(url: str, calls: Sequence[Call], callers: int, seconds: float) -> float:
    async def call(number: int, end: float) -> int:
        connection = await Connection.open(loopback(url))
        answered = 0
        try:
            while time.perf_counter() < end:
                answer = await connection.rank(calls[(number + answered * callers) % len(calls)].body)
                answered += answer.status == 200
        finally:
            connection.close()
        return answered

    async def run() -> float:
        begun = time.perf_counter()
        counts = await asyncio.gather(*(call(number, begun + seconds) for number in range(callers)))
        return sum(counts) / (time.perf_counter() - begun)

    return asyncio.run(run())
