"""The stage that faults are provoked on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from loadtests.chaos.stage import staged


async def test_the_service_ranks_through_the_proxy_and_everything_is_gone_afterwards(repository: Path) -> None:
    """Load is answered from the workload's histories, metrics can be read, no process is left."""
    async with staged(repository, {"RANKER_STORE_TIMEOUT_MS": "500"}, ("--maxmemory", "50mb"), quick=True) as stage:
        async with stage.load(100.0) as traffic:
            await asyncio.sleep(0.3)
        assert traffic.figures().held
        assert traffic.figures().answered == len(traffic.sent) > 10
        assert stage.proxy.connections > 0
        assert await stage.metric("ranker_candidates_count") > len(traffic.sent)
        assert await stage.metric("no_such_metric") == 0.0
        assert stage.redis.command("CONFIG", "GET", "maxmemory")[b"maxmemory"] == b"52428800"
        assert stage.seconds(1.0, 2.0) == 1.0
        redis, service = stage.redis.pid, stage.service.process

        async def never() -> bool:
            return False

        with pytest.raises(TimeoutError, match="nothing happens"):
            await stage.until(never, 0.05, "nothing happens")
    assert not psutil.pid_exists(redis)
    assert not service.is_running()
