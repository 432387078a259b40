"""Rows: Redis cannot save its data, or is busy reading them back. It does not know how the service learns of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from loadtests.chaos.event_faults import PATIENT, RATE, RECOVERY_SECONDS, judge_events, refusing
from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.chaos.writers import writing
from loadtests.faults.redis_server import DURABLE

FILLERS, FILLER_BYTES = 64, 2**20
KEY_LOAD_MICROSECONDS = 5000
SLOW_TO_LOAD = (*DURABLE, "--key-load-delay", str(KEY_LOAD_MICROSECONDS), "--rdbcompression", "no")
"""Between keys it sleeps so long at a start, and it looks at its clients after every two megabytes only."""


async def cannot_save(stage: Stage) -> Figures:
    """Its folder is gone, a snapshot fails, and it takes no more writes until one succeeds."""
    redis = stage.redis
    folder = redis.command("CONFIG", "GET", "dir")[b"dir"].decode()

    def begin() -> None:
        gone = Path(tempfile.mkdtemp(prefix="rankonce-chaos-"))
        redis.configure("dir", gone)
        gone.rmdir()
        redis.configure("save", "3600 1")  # without a save point it takes a failure to save for unimportant
        redis.command("BGSAVE")
        redis.until("rdb_last_bgsave_status", "err")

    def end() -> None:
        redis.configure("dir", folder)
        redis.command("BGSAVE")
        redis.until("rdb_last_bgsave_status", "ok")
        redis.configure("save", "")

    return await refusing(stage, "disk", "it cannot write to its disk", begin, end)


async def still_loading(stage: Stage) -> Figures:
    """Killed, and started again with so much data that it refuses every command for a while."""
    redis = stage.redis
    slowly = writing([stage.http], stage.catalog.any, "loading", pause_seconds=0.1)  # what they write loads slowly too
    async with stage.load(RATE) as traffic, slowly as events:
        redis.command("DEBUG", "POPULATE", FILLERS, "filler", FILLER_BYTES)
        redis.command("BGREWRITEAOF")
        await asyncio.to_thread(redis.until, "aof_rewrite_in_progress", 0)
        redis.kill()
        begun = time.perf_counter()
        await asyncio.to_thread(redis.start)
        healed = time.perf_counter()
        await traffic.calm(0.4, 3.0)
    figures = traffic.figures(healed)
    judge_events(figures, events, lost := await events.lost(stage.http))
    figures.facts["loading took s"] = healed - begun
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    figures.expect(figures.shed == 0, f"{figures.shed} rankings were refused")
    figures.expect((figures.recovery_s or 0.0) < RECOVERY_SECONDS, f"recovery took {figures.recovery_s} s")
    said = any("it is still loading its data" in reason for reason in events.reasons)
    figures.expect(said, f"events were refused for other reasons: {events.reasons}")
    return figures


ROWS = (
    Row("redis-cannot-save", "Redis cannot write to its disk", cannot_save, PATIENT, DURABLE),
    Row("redis-loading", "Redis still loads its data", still_loading, PATIENT, SLOW_TO_LOAD),
)
