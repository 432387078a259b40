"""Rows: more load than there is capacity for, requests that nobody waits for, and a service that is told to stop.

It does not know how requests are admitted, or threads shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec

from loadtests.bench_bundles import Bundle
from loadtests.bench_shapes import LARGE
from loadtests.chaos.ending import ending
from loadtests.chaos.generator import generating
from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.chaos.traffic import Traffic, traffic
from loadtests.checks import Outcome
from loadtests.latency import percentiles
from loadtests.workload import Workload
from service.schemas import Candidate, RankRequest

TIMES_CAPACITY = 5.0
GOODPUT = 0.9  # of the capacity
DEADLINE_MS = 1000.0  # the service's default for amortized requests
RECOVERY_SECONDS = 5.0
SLACK_MS = 50.0  # for the machine, which the generators share with the service
_CALLERS = 16
_DRAIN_SECONDS = 2.0
_HURRIED_MS = 20
_JSON = {"content-type": "application/json"}


def _p99(seen: Traffic) -> float:
    found = percentiles([sent.milliseconds for sent in seen.sent if sent.outcome is Outcome.answered])["p99"]
    return float("inf") if found is None else found


def _large(folder: Path) -> Path:
    """The reference request: with a smaller model one core of generators cannot send five times what is answered, and
    refusals cost more beside answers."""
    return Bundle(LARGE, folder).repository


async def overload(stage: Stage) -> Figures:
    """Five times as many requests as can be answered, for a minute, and what is left of the answers."""
    plan = dataclasses.replace(stage.workload.plan, candidates=LARGE.candidates)
    calls = Workload(stage.catalog, plan).calls("feed", "amortized")
    with generating(stage.service.url, calls, stage.service.process) as generator:
        await generator.capacity(_CALLERS, stage.seconds(1.0, 5.0))  # so that both runs find the same encodings kept
        capacity = await generator.capacity(_CALLERS, stage.seconds(2.0, 10.0))
        normal = await generator.open_loop(0.5 * capacity, stage.seconds(3.0, 10.0))
        seconds = stage.seconds(3.0, 60.0)
        flood = await generator.open_loop(TIMES_CAPACITY * capacity, seconds)
        ended = time.perf_counter()
        after = await generator.open_loop(0.5 * capacity, RECOVERY_SECONDS + stage.seconds(1.0, 5.0))
    figures = flood.figures()
    goodput, p99, usual = figures.answered / seconds, _p99(flood), _p99(normal)
    late = [s.due for s in after.sent if s.outcome is not Outcome.answered or s.milliseconds > 2 * usual + SLACK_MS]
    figures.recovery_s = max(late, default=ended) - ended
    refused = [sent.milliseconds for sent in flood.sent if sent.outcome is Outcome.shed]
    figures.facts = {
        "capacity, answers a second": capacity,
        "goodput of it": goodput / capacity,
        "p99 before ms": usual,
        "p99 in the flood ms": p99,
        "p99 of refusals ms": percentiles(refused)["p99"] or 0.0,
    }
    figures.expect(goodput >= GOODPUT * capacity, f"goodput was {goodput / capacity:.0%} of the capacity")
    figures.expect(p99 <= DEADLINE_MS, f"p99 of what was admitted was {p99:.0f} ms")
    figures.expect(figures.degraded == 0, f"{figures.degraded} requests were ranked without their history")
    figures.expect(figures.shed > 0, "nothing was refused: it was no overload")
    figures.expect(figures.recovery_s <= RECOVERY_SECONDS, f"recovery took {figures.recovery_s:.1f} s")
    return figures


def _huge(stage: Stage, mode: str) -> bytes:
    """As many candidates as are taken, for a member with a history."""
    facts = stage.catalog.surfaces["feed"]
    ids = [Candidate(f"huge-{i}") for i in range(facts.max_candidates)]
    member = stage.workload.member_id(0)
    return msgspec.json.encode(RankRequest(member, "feed", ids, mode=mode))  # type: ignore[arg-type]


async def huge(stage: Stage) -> Figures:
    """Small requests beside a flood of the most expensive ones, in both modes."""
    async with stage.load() as load:
        await asyncio.sleep(stage.seconds(1.0, 5.0))
        began = time.perf_counter()
        end = began + stage.seconds(2.0, 20.0)
        statuses: list[int] = []

        async def flood(body: bytes) -> None:
            while time.perf_counter() < end:
                answer = await stage.http.post("/v1/rank", content=body, headers=_JSON)
                statuses.append(answer.status_code)
                await asyncio.sleep(0.02)

        bodies = [_huge(stage, "non_amortized")] * 6 + [_huge(stage, "amortized")] * 2
        await asyncio.gather(*map(flood, bodies))
        await asyncio.sleep(0.5)
    figures = load.figures()
    during = load.between(began, end)
    shed = sum(sent.outcome is Outcome.shed for sent in during)
    p99 = percentiles([sent.milliseconds for sent in during])["p99"] or 0.0
    figures.facts = {"huge requests": len(statuses), "of them answered": statuses.count(200), "p99 of small ms": p99}
    figures.expect(shed <= 0.01 * len(during), f"{shed} of {len(during)} small requests were refused")
    figures.expect(p99 <= DEADLINE_MS, f"p99 of small requests was {p99:.0f} ms")
    figures.expect(set(statuses) <= {200, 429, 504}, f"huge requests got {sorted(set(statuses))}")
    figures.expect(200 in statuses, "no huge request was answered")
    return figures


async def given_up(stage: Stage) -> Figures:
    """Callers whose deadline passes and callers that hang up, behind slow requests; none of their work is done."""
    body, hurried = _huge(stage, "non_amortized"), {**_JSON, "x-request-deadline-ms": str(_HURRIED_MS)}
    before = await stage.metric("ranker_shed_total")
    statuses: list[int] = []
    async with stage.load() as load:
        end = time.perf_counter() + stage.seconds(2.0, 20.0)

        async def hurry() -> None:
            while time.perf_counter() < end:
                statuses.append((await stage.http.post("/v1/rank", content=body, headers=hurried)).status_code)

        async def hang_up() -> None:
            async with httpx.AsyncClient(base_url=stage.service.url) as client:
                while time.perf_counter() < end:
                    with contextlib.suppress(httpx.TimeoutException):
                        await client.post("/v1/rank", content=body, headers=_JSON, timeout=_HURRIED_MS / 1e3)

        await asyncio.gather(hurry(), hurry(), hang_up(), hang_up())
        await asyncio.sleep(0.5)
    figures = load.figures()
    text = (await stage.http.get("/metrics")).text.splitlines()
    gone = sum(
        float(line.rpartition(" ")[2])
        for line in text
        if line.startswith("ranker_http_requests_total") and '"499"' in line
    )
    figures.facts = {"504": statuses.count(504), "429": statuses.count(429), "hung up": gone}
    figures.expect(504 in statuses, "no deadline passed")
    figures.expect(set(statuses) <= {200, 429, 504}, f"who was in a hurry got {sorted(set(statuses))}")
    figures.expect(await stage.metric("ranker_shed_total") > before, "nothing was counted")
    figures.expect(gone > 0, "nobody was seen to hang up")
    await stage.until(lambda: _idle(stage), 1.0, "threads that work for nobody")
    return figures


async def _idle(stage: Stage) -> bool:
    return await stage.metric("ranker_pool_busy_threads") == 0.0


async def stopped(stage: Stage) -> Figures:
    """SIGTERM under load: callers go elsewhere once readiness has fallen, and nothing that they sent is lost."""
    async with ending(stage, stage.models, RANKER_DRAIN_SECONDS=f"{_DRAIN_SECONDS:g}") as service:
        async with traffic(service.url, stage.calls, 200.0) as sent, httpx.AsyncClient(base_url=service.url) as http:
            await asyncio.sleep(stage.seconds(1.0, 5.0))
            service.process.send_signal(signal.SIGTERM)
            signalled = time.perf_counter()

            async def unready() -> bool:
                return (await http.get("/readyz")).status_code == HTTPStatus.SERVICE_UNAVAILABLE

            await stage.until(unready, _DRAIN_SECONDS, "readiness falls")
            fallen = time.perf_counter()
            await asyncio.sleep(0.5)  # until everybody has noticed
        await asyncio.to_thread(service.process.wait, _DRAIN_SECONDS + 10.0)
    figures = sent.figures()
    figures.facts = {"readiness fell after s": fallen - signalled, "exit after s": time.perf_counter() - signalled}
    figures.expect(figures.answered == figures.sent, "not every request was answered")
    return figures


_THREADS = str(max(1, len(os.sched_getaffinity(0)) - 1))
ROWS = (
    Row("overload", "5 times the capacity", overload, {"RANKER_INFERENCE_THREADS": _THREADS}, models=_large),
    Row("huge", "a flood of huge requests", huge),
    Row("given-up", "nobody waits any more", given_up),
    Row("sigterm", "SIGTERM under load", stopped),
)
