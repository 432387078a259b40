"""Stage: the real service with the workload's histories, its own Redis behind a proxy that can fail, and load.

It does not know which faults are provoked on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.catalog import Catalog, read_catalog
from loadtests.chaos.traffic import Traffic, traffic
from loadtests.faults.proxy import FaultProxy
from loadtests.faults.redis_server import RedisServer
from loadtests.serving import Service, serving
from loadtests.workload import Call, Plan, Workload

RATE = 60.0
MEMBERS, REQUESTS = 200, 400
_WARM_UP = 20


@dataclass(frozen=True)
class Stage:
    """service → proxy → redis, all of them processes or sockets of this run alone. quick: seconds, not minutes.

    models: a copy, which a row that is alone may change · calls: amortized feed requests · http: for everything that is
    not the load.
    """

    service: Service
    redis: RedisServer
    proxy: FaultProxy
    models: Path
    catalog: Catalog
    workload: Workload
    calls: list[Call]
    http: httpx.AsyncClient
    quick: bool

    def load(self, rate: float = RATE) -> AbstractAsyncContextManager[Traffic]:
        """`async with stage.load() as traffic:` — ranking requests while the block runs."""
        return traffic(self.service.url, self.calls, rate)

    def seconds(self, quick: float, full: float) -> float:
        return quick if self.quick else full

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples; 0 where there is none."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)

    async def until(self, reached: Callable[[], Awaitable[bool]], within: float, what: str) -> float:
        """Wait for a condition; how many seconds that took. Raises TimeoutError after `within` of them."""
        begun = time.perf_counter()
        while not await reached():
            if time.perf_counter() - begun > within:
                raise TimeoutError(f"not within {within:g} s: {what}")
            await asyncio.sleep(0.02)
        return time.perf_counter() - begun


@contextlib.asynccontextmanager
async def staged(
    models: Path, settings: Mapping[str, str], redis: tuple[str, ...], quick: bool
) -> AsyncIterator[Stage]:
    """Everything started, warmed up, and stopped again on the way out. Raises ServiceFailed."""
    catalog = read_catalog(models)
    workload = Workload(catalog, Plan(members=MEMBERS, requests=REQUESTS))
    calls = workload.calls("feed", "amortized")
    with tempfile.TemporaryDirectory(prefix="rankonce-models-") as folder, RedisServer(*redis) as server:
        models = Path(shutil.copytree(models, Path(folder) / "models"))
        async with FaultProxy(server.port) as proxy, contextlib.AsyncExitStack() as stack:
            # On a thread: this loop runs the proxy, and the service loads its histories through it.
            running = serving(models, workload, RANKER_REDIS_URL=proxy.url, **settings)
            service = await asyncio.to_thread(running.__enter__)
            stack.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, timeout=30.0))
            for call in calls[:_WARM_UP]:
                await http.post("/v1/rank", content=call.body, headers={"content-type": "application/json"})
            yield Stage(service, server, proxy, models, catalog, workload, calls, http, quick)
