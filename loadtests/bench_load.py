"""Load for the benchmarks: as much as a server takes, or Poisson arrivals that wait for nobody.

As light as it can be (bytes ready, answers not decoded), because it shares the machine; openloop.py is the generator
that judges answers. Whatever is not answered with 200 raises. It does not know what is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loadtests.connection import Address, Connection, loopback
from loadtests.openloop import run


class Arrivals(NamedTuple):
    """latencies: seconds from the moment each request was due to its answer · busy: the generator's share of a core."""

    latencies: list[float]
    busy: float


def saturate(url: str, bodies: Sequence[bytes], concurrency: int, count: int) -> float:
    """Answers a second while `concurrency` requests are always under way, `count` in all."""
    return run(_saturate(loopback(url), bodies, concurrency, count))


def poisson(url: str, bodies: Sequence[bytes], rate: float, seconds: float, seed: int) -> Arrivals:
    """Latencies at `rate` requests a second, open loop."""
    return run(_poisson(loopback(url), bodies, rate, seconds, seed))


async def _saturate(address: Address, bodies: Sequence[bytes], concurrency: int, count: int) -> float:
    waiting = itertools.islice(itertools.cycle(bodies), count + concurrency)
    connections = [await Connection.open(address) for _ in range(concurrency)]
    answered: list[float] = []

    async def work(connection: Connection) -> None:
        for body in waiting:
            answered.append(await _rank(connection, body))

    try:
        await asyncio.gather(*map(work, connections))
    finally:
        for connection in connections:
            connection.close()
    answered.sort()
    # From the moment that every connection has been served about once to before the last ones run dry.
    counted = answered[concurrency - 1 : -concurrency]
    return (len(counted) - 1) / (counted[-1] - counted[0])


async def _poisson(address: Address, bodies: Sequence[bytes], rate: float, seconds: float, seed: int) -> Arrivals:
    rng = np.random.default_rng(seed)
    moments = np.cumsum(rng.exponential(1.0 / rate, int(rate * seconds))).tolist()
    free = [await Connection.open(address) for _ in range(16)]
    every = list(free)
    latencies: list[float] = []

    async def send(body: bytes, due: float) -> None:
        if not free:
            every.append(await Connection.open(address))
            free.append(every[-1])
        connection = free.pop()
        latencies.append(await _rank(connection, body) - due)
        free.append(connection)

    started, cpu = time.perf_counter(), time.process_time()
    try:
        async with asyncio.TaskGroup() as group:
            for moment, body in zip(moments, itertools.cycle(bodies), strict=False):
                delay = started + moment - time.perf_counter()
                if delay > 0:
                    await asyncio.sleep(delay)
                group.create_task(send(body, started + moment))
    finally:
        for connection in every:
            connection.close()
    return Arrivals(latencies, (time.process_time() - cpu) / (time.perf_counter() - started))


async def _rank(connection: Connection, body: bytes) -> float:
    answer = await connection.rank(body)
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:200]!r}")
    return answer.at
