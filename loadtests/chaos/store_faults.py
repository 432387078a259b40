"""Rows: the history store is killed, hangs, is slow, hangs up or talks nonsense. Ranking must stay useful.

It does not know how the service copes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.chaos.traffic import worst_ms
from loadtests.faults.proxy import Fault
from loadtests.faults.redis_server import DURABLE

STORE_TIMEOUT_MS = 100.0  # the service's default
RECOVERY_SECONDS = 2.0
SLACK_MS = 250.0  # for the machine, which the generator and the faults share with the service
SLOW_SECONDS = 0.4
MOST_CONNECTIONS = 32


async def _outage(stage: Stage, begin: Callable[[], None], end: Callable[[], None]) -> Figures:
    """Load before, during and after a fault, and what every fault of the store promises."""
    async with stage.load() as traffic:
        await asyncio.sleep(stage.seconds(0.3, 4.0))
        began = time.perf_counter()
        begin()
        connections = 0
        while time.perf_counter() < began + stage.seconds(0.6, 8.0):
            await asyncio.sleep(0.1)
            connections = max(connections, stage.proxy.connections)
        end()
        healed = time.perf_counter()
        await traffic.calm(stage.seconds(0.3, 4.0), RECOVERY_SECONDS + 1.0)
    figures = traffic.figures(healed)
    before = [sent for sent in traffic.between(0.0, began) if sent.done < began]
    during = traffic.between(began, healed)
    limit = STORE_TIMEOUT_MS + worst_ms(before) + SLACK_MS
    figures.facts = {"worst before ms": worst_ms(before), "connections at most": float(connections)}
    figures.expect(worst_ms(during) <= limit, f"worst {worst_ms(during):.0f} ms in the fault, limit {limit:.0f}")
    figures.expect(figures.degraded + figures.shed > 0, "no request noticed the fault")
    figures.expect(
        figures.recovery_s is not None and figures.recovery_s < RECOVERY_SECONDS,
        f"recovery took {figures.recovery_s} s, limit {RECOVERY_SECONDS:g}",
    )
    figures.expect(connections <= MOST_CONNECTIONS, f"{connections} connections to the store piled up")
    return figures


async def killed(stage: Stage) -> Figures:
    """SIGKILL, then the same server again on the same files; ranked without histories meanwhile."""
    figures = await _outage(stage, stage.redis.kill, stage.redis.start)
    figures.expect(figures.shed == 0, f"{figures.shed} requests were refused")
    return figures


async def killed_unavailable(stage: Stage) -> Figures:
    """The same where the setting prefers 503 to a ranking without the history."""
    figures = await _outage(stage, stage.redis.kill, stage.redis.start)
    figures.expect(figures.degraded == 0, f"{figures.degraded} requests were ranked without their history")
    return figures


async def hangs(stage: Stage) -> Figures:
    """SIGSTOP: connections stay open and nothing is answered, until SIGCONT."""
    return await _outage(stage, stage.redis.stop, stage.redis.resume)


def _network(fault: Fault, delay_seconds: float = 0.0) -> Callable[[Stage], Awaitable[Figures]]:
    async def run(stage: Stage) -> Figures:
        proxy = stage.proxy
        return await _outage(stage, lambda: proxy.set(fault, delay_seconds), lambda: proxy.set(Fault.passing))

    return run


ROWS = (
    Row("redis-killed", "Redis killed, restarted", killed, redis=DURABLE),
    Row("redis-hangs", "Redis stopped, resumed", hangs, redis=DURABLE),
    Row("redis-black-hole", "Redis's answers vanish", _network(Fault.black_hole), redis=DURABLE),
    Row("redis-slow", "Redis answers in 400 ms", _network(Fault.delay, SLOW_SECONDS), redis=DURABLE),
    Row("redis-half-closed", "Redis's side half-closes", _network(Fault.half_close), redis=DURABLE),
    Row("redis-garbage", "Redis answers garbage", _network(Fault.garbage), redis=DURABLE),
    Row("redis-resets", "connections are reset", _network(Fault.reset), redis=DURABLE),
    Row(
        "redis-killed-503",
        "Redis killed, 503 wanted",
        killed_unavailable,
        settings={"RANKER_ON_HISTORY_FAILURE": "unavailable"},
        redis=DURABLE,
    ),
)
