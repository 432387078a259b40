"""Loop lag: how late the event loop is, which every request feels. It does not know who counts it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

INTERVAL_SECONDS = 0.1


@asynccontextmanager
async def sampling_loop_lag(
    observe: Callable[[float], None], interval: float = INTERVAL_SECONDS
) -> AsyncIterator[None]:
    """While inside, tell ten times a second by how many seconds a sleeping task was woken too late."""

    async def sample() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(interval)
            observe(max(0.0, time.perf_counter() - start - interval))

    task = asyncio.create_task(sample(), name="loop-lag")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
