"""Rows: Redis refuses writes, is killed or replaced while events are written. Nothing acknowledged may be lost.

It does not know how events are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import httpx

from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.chaos.writers import Writing, writing
from loadtests.faults.proxy import Fault, FaultProxy
from loadtests.faults.redis_server import DURABLE, RedisServer
from loadtests.serving import ServiceFailed, serving

RATE = 30.0  # ranking requests a second beside the writers
LAG_SECONDS = 0.03  # of the replica
CLOSED_PORT = 1  # nobody listens there: who follows it is a replica without a master
MANY_WRITERS = 24
RECOVERY_SECONDS = 2.0
WINDOW_SECONDS = 1.0  # an acknowledged event that is lost in a failover is not older than this


def judge_events(figures: Figures, writing: Writing, lost: int) -> None:
    """What holds for events in every row."""
    figures.facts |= {
        "events acknowledged": float(writing.acknowledged),
        "of them repeated": float(sum(writer.replayed for writer in writing.writers)),
        "batches refused": ", ".join(f"{times} {what}" for what, times in writing.refusals.most_common()) or "none",
        "acknowledged events lost": float(lost),
        "worst event ms": writing.worst_ms,
    }
    figures.expect(writing.acknowledged > 0, "no event was acknowledged")
    figures.expect(not writing.odd, f"{len(writing.odd)} odd answers to events, such as {writing.odd[:1]}")
    figures.expect(lost >= 0, f"{-lost} events are stored twice")


async def refusing(stage: Stage, row: str, words: str, begin: Callable[[], None], end: Callable[[], None]) -> Figures:
    """Redis answers, and takes no writes: rankings go on in full, events are refused in these words, none is lost."""
    async with stage.load(RATE) as traffic, writing([stage.http], stage.catalog.any, row) as events:
        await asyncio.sleep(stage.seconds(0.4, 4.0))
        await asyncio.to_thread(begin)
        acknowledged = events.acknowledged
        await asyncio.sleep(stage.seconds(0.8, 8.0))
        meanwhile = events.acknowledged - acknowledged
        await asyncio.to_thread(end)
        healed = time.perf_counter()
        await asyncio.sleep(stage.seconds(0.4, 4.0))
    figures = traffic.figures(healed)
    judge_events(figures, events, lost := await events.lost(stage.http))
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    figures.expect(figures.degraded + figures.shed == 0, "rankings were degraded or refused")
    most = 2 * len(events.writers) * 5  # what was under way
    figures.expect(meanwhile <= most, f"{meanwhile} events were acknowledged by a store that refuses writes")
    told = any(words in reason for reason in events.reasons)
    figures.expect(told, f"no event was refused because {words}, but {events.reasons}")
    return figures


async def out_of_memory(stage: Stage) -> Figures:
    redis = stage.redis
    return await refusing(
        stage,
        "memory",
        "it is out of memory",
        lambda: redis.configure("maxmemory", 1),
        lambda: redis.configure("maxmemory", 0),
    )


async def read_only(stage: Stage) -> Figures:
    """As after a failover that the service's address did not follow."""

    def demote() -> None:
        stage.redis.command("REPLICAOF", "127.0.0.1", CLOSED_PORT)

    return await refusing(stage, "replica", "it is a read-only replica", demote, stage.redis.promote)


async def restarts(stage: Stage) -> Figures:
    """Killed and started again while events are written, with appendfsync always."""
    async with stage.load(RATE) as traffic, writing([stage.http], stage.catalog.any, "restart") as events:
        for _ in range(2 if stage.quick else 8):
            await asyncio.sleep(0.5)
            stage.redis.kill()
            await asyncio.sleep(0.3)
            stage.redis.start()
        healed = time.perf_counter()
        await traffic.calm(0.4, 3.0)
    figures = traffic.figures(healed)
    judge_events(figures, events, lost := await events.lost(stage.http))
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    return figures


async def _failover(stage: Stage, row: str) -> tuple[Figures, int]:
    """The master is killed, a replica that lags behind takes over, and the master comes back as its replica."""
    with RedisServer() as other:
        async with FaultProxy(stage.redis.port) as lag:
            await asyncio.to_thread(other.follow, lag.port)
            lag.set(Fault.delay, LAG_SECONDS)
            # They write so slowly that the gap a loss leaves in a log is still kept when it is looked for.
            slowly = writing([stage.http], stage.catalog.any, row, MANY_WRITERS, 0.1)
            async with stage.load(RATE) as traffic, slowly as events:
                await asyncio.sleep(stage.seconds(0.8, 3.0))
                stage.redis.kill()
                killed = time.perf_counter()
                other.promote()
                stage.proxy.target = other.port
                stage.proxy.cut()
                stage.redis.start()
                await asyncio.to_thread(stage.redis.follow, other.port)
                healed = time.perf_counter()
                await traffic.calm(0.4, 3.0)
                ages = [killed - at for at in await _lost_at(stage, events)]
            figures = traffic.figures(healed)
            judge_events(figures, events, lost := await events.lost(stage.http))
            figures.expect((figures.recovery_s or 0.0) < RECOVERY_SECONDS, f"recovery took {figures.recovery_s} s")
            if ages:
                figures.facts["oldest lost, acknowledged s before"] = max(ages)
                figures.expect(max(ages) <= WINDOW_SECONDS, f"an event acknowledged {max(ages):.2f} s before is lost")
            return figures, lost


async def _lost_at(stage: Stage, events: Writing) -> list[float]:
    """When those events were acknowledged that now leave a gap in their log."""
    return [
        min(at for last, at in writer.acknowledged_at.items() if last >= number)
        for writer in events.writers
        for number in (await writer.stored(stage.http)).missing
    ]


async def fails_over(stage: Stage) -> Figures:
    """Without WAIT: what was acknowledged within the replica's lag is lost, and counted."""
    figures, _ = await _failover(stage, "failover")
    return figures


async def fails_over_with_wait(stage: Stage) -> Figures:
    figures, lost = await _failover(stage, "wait")
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    return figures


async def races(stage: Stage) -> Figures:
    """Appends race with trims, erasures, reads, rankings and their own repetitions: every read is a whole run of the
    member's events, the newest acknowledged one included."""
    broken: list[str] = []
    reads = erasures = 0
    async with stage.load(RATE) as traffic, writing([stage.http], stage.catalog.any, "race") as events:
        end = time.perf_counter() + stage.seconds(1.5, 15.0)
        keeping, erased = events.writers[:4], events.writers[4:]

        async def read() -> None:
            nonlocal reads
            while time.perf_counter() < end:
                for writer in events.writers:
                    acknowledged = writer.acknowledged
                    stored = await writer.stored(stage.http)
                    reads += 1
                    if stored.missing:
                        broken.append(f"{writer.member}: {stored.missing[:3]} are missing inside the log")
                    if writer in keeping and acknowledged and stored.numbers[-1:] < [acknowledged - 1]:
                        broken.append(f"{writer.member}: an acknowledged event was not read")

        async def erase() -> None:
            nonlocal erasures
            while time.perf_counter() < end:
                await asyncio.sleep(0.1)
                writer = erased[erasures % len(erased)]
                answer = await stage.http.delete(f"/v1/members/{writer.member}/history")
                erasures += answer.status_code == 204

        await asyncio.gather(read(), read(), erase())
    figures = traffic.figures()
    lost = sum([writer.begun - (await writer.stored(stage.http)).total for writer in keeping])
    judge_events(figures, events, lost)
    figures.facts |= {"logs read whole": float(reads), "erasures": float(erasures)}
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    figures.expect(reads > 20 and erasures > 3, f"only {reads} reads raced with {erasures} erasures")
    figures.broken += broken[:3]
    return figures


async def service_killed(stage: Stage) -> Figures:
    """SIGKILL to a service in the middle of its appends; the batches are sent again, to another instance."""
    async with stage.load(RATE) as traffic, contextlib.AsyncExitStack() as stack:
        doomed = serving(stage.models, stage.workload, RANKER_REDIS_URL=stage.proxy.url)
        service = await asyncio.to_thread(doomed.__enter__)
        try:
            first = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, timeout=10.0))
            async with writing([first, stage.http], stage.catalog.any, "kill", pause_seconds=0.0) as events:
                await asyncio.sleep(stage.seconds(0.6, 6.0))
                service.process.kill()
                await asyncio.sleep(0.1)
                cut_off = events.refusals["ReadError"] + events.refusals["RemoteProtocolError"]
                await first.aclose()
                await asyncio.sleep(stage.seconds(0.4, 2.0))
        finally:
            with contextlib.suppress(ServiceFailed):
                await asyncio.to_thread(doomed.__exit__, None, None, None)
    figures = traffic.figures()
    judge_events(figures, events, lost := await events.lost(stage.http))
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    figures.facts["batches under way when it was killed"] = float(cut_off)
    figures.expect(cut_off > 0, "nothing was under way when the service was killed")
    return figures


# A patient store: these rows ask what is kept, and on a busy machine a write may take longer than 100 ms.
PATIENT = {"RANKER_STORE_TIMEOUT_MS": "1000"}

ROWS = (
    Row("redis-out-of-memory", "Redis out of memory", out_of_memory, PATIENT, DURABLE),
    Row("redis-read-only", "Redis becomes a replica", read_only, PATIENT, DURABLE),
    Row("redis-restarts", "Redis killed while written", restarts, PATIENT, DURABLE),
    Row("log-races", "appends, trims, erasures race", races, PATIENT, DURABLE),
    Row("service-killed", "service killed mid-append", service_killed, PATIENT, DURABLE),
    Row("failover", "failover, no WAIT", fails_over, PATIENT, alone=True),
    Row(
        "failover-wait", "failover, WAIT 1", fails_over_with_wait, {**PATIENT, "RANKER_WAIT_REPLICAS": "1"}, alone=True
    ),
)
