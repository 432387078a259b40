"""Ending: a service beside the stage's own that may come to an end, for rows that end one. It does not know how."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from loadtests.chaos.stage import Stage
from loadtests.serving import Service, ServiceFailed, serving


@contextlib.asynccontextmanager
async def ending(stage: Stage, models: Path, **settings: str) -> AsyncIterator[Service]:
    """On the stage's Redis; settings by their variables' names. Raises ServiceFailed where it does not even start."""
    running = serving(models, stage.workload, RANKER_REDIS_URL=stage.proxy.url, **settings)
    service = await asyncio.to_thread(running.__enter__)  # this loop runs the proxy that it starts through
    try:
        yield service
    finally:
        with contextlib.suppress(ServiceFailed):  # it has ended: that is what it was for
            await asyncio.to_thread(running.__exit__, None, None, None)
