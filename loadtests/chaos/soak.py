"""The soak: mixed load, members that come and go, reloads and Redis restarts, for minutes. Nothing may grow.

Growth is the median of the last quarter against that of the first one after the warm-up. It does not know what could
leak.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from dataclasses import dataclass, field
from http import HTTPStatus

import psutil

from loadtests.chaos.event_faults import PATIENT, RECOVERY_SECONDS, judge_events
from loadtests.chaos.reload_faults import add_version
from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.chaos.traffic import Traffic, traffic
from loadtests.chaos.writers import Writing, writing
from loadtests.checks import Outcome
from loadtests.faults.redis_server import DURABLE

SECONDS = (12.0, 600.0)  # quick, full
RESTART_EVERY = (4.0, 60.0)
DOWN_SECONDS = 0.5
SETTLED_SECONDS = 10.0  # after a restart; a lookup that is late after that is late for other reasons
MOST_STRAYS = 1e-3  # of all requests: on a busy machine a lookup takes longer than the store's timeout now and then
SETTINGS = {  # patient: a machine that stops for half a second is not what is tried here
    **PATIENT,
    "RANKER_ENCODED_CACHE_BYTES": str(4 * 1024 * 1024),  # full within seconds, so that it is flat then
}
RELOAD_EVERY = (2.0, 20.0)  # surface after surface, and each another version than before
LEAST_RELOADS = 4  # both surfaces, there and back
RETRY_SECONDS = 0.1
CHURN_SECONDS = (2.0, 5.0)  # then all members who write are new ones
FEED_RATE, ADS_RATE, NON_AMORTIZED_RATE = 30.0, 10.0, 2.0
WARM_UP = 0.3  # of the whole: caches fill, the allocator finds its size
MOST_GROWTH_MB, MOST_GROWTH_SHARE = 16.0, 0.05  # of resident memory, whichever is more
MOST_MORE = 8.0  # descriptors or tasks: what is under way varies by as much


@dataclass
class Samples:
    """What the service holds, once a second. descriptors: but for its clients' connections."""

    memory_mb: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def take(self, stage: Stage, tasks: float) -> None:
        process = stage.service.process
        self.memory_mb.append(stage.service.memory_mb())
        self.descriptors.append(float(process.num_fds() - _held_by_clients(stage)))
        self.threads.append(float(process.num_threads()))
        self.tasks.append(tasks)


def _held_by_clients(stage: Stage) -> int:
    """Connections that are open at their other end as well: how many the load needs, and keeps, is its own doing."""
    port = stage.http.base_url.port
    return sum(
        connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
        for connection in stage.service.process.net_connections("tcp")
    )


def quarters(samples: list[float]) -> tuple[float, float]:
    """Medians of the first and the last quarter of what came after the warm-up."""
    steady = samples[int(WARM_UP * len(samples)) :]
    quarter = max(1, len(steady) // 4)
    return statistics.median(steady[:quarter]), statistics.median(steady[-quarter:])


def judge_growth(figures: Figures, samples: Samples) -> None:
    for name, values in vars(samples).items():
        first, last = quarters(values)
        most = max(MOST_GROWTH_MB, MOST_GROWTH_SHARE * first) if name == "memory_mb" else MOST_MORE
        figures.facts[f"{name} after the warm-up"], figures.facts[f"{name} at the end"] = first, last
        figures.expect(last - first <= most, f"{name} grew from {first:.1f} to {last:.1f}, limit {most:.1f}")


def judge_restarts(figures: Figures, together: Traffic, restarts: list[tuple[float, float]], end: float) -> None:
    """restarts: when Redis was killed, and when it was back · end: of the load. By time.perf_counter."""
    ends = [killed - DOWN_SECONDS for killed, _ in restarts[1:]] + [end - DOWN_SECONDS]  # not what the next one met
    recoveries = [
        together.recovery_seconds(back, min(until, back + SETTLED_SECONDS))
        for (_, back), until in zip(restarts, ends, strict=True)
    ]
    figures.recovery_s = None if None in recoveries else max((r for r in recoveries if r is not None), default=0.0)
    recovered = figures.recovery_s is not None and figures.recovery_s < RECOVERY_SECONDS
    figures.expect(recovered, f"recovery took {figures.recovery_s} s at worst, limit {RECOVERY_SECONDS:g}")
    strays = sum(
        sent.outcome is Outcome.degraded
        and not any(killed - DOWN_SECONDS <= sent.due < back + SETTLED_SECONDS for killed, back in restarts)
        for sent in together.sent
    )
    figures.facts["degraded although Redis was there"] = float(strays)
    most = MOST_STRAYS * len(together.sent)
    figures.expect(strays <= most, f"{strays} requests were degraded although Redis was there, limit {most:.1f}")
    figures.expect(len(restarts) > 1, f"only {len(restarts)} restarts")


async def reload(stage: Stage, surface: str, version: str) -> int:
    """Load it; how often that was refused because Redis was away, when nobody can tell whether it fits the histories.

    Raises HTTPStatusError if it is refused for anything else."""
    path, body = f"/v2/repository/models/{surface}/load", {"parameters": {"version": version}}
    refusals = 0
    while (answer := await stage.http.post(path, json=body)).status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        refusals += 1
        await asyncio.sleep(RETRY_SECONDS)
    answer.raise_for_status()
    return refusals


async def soak(stage: Stage) -> Figures:
    end = time.perf_counter() + stage.seconds(*SECONDS)
    samples, restarts = Samples(), list[tuple[float, float]]()
    running: list[Traffic] = []
    written: list[Writing] = []
    refusals: list[int] = []  # of each reload
    for surface in ("feed", "ads"):
        add_version(stage.models / surface)

    async def restart() -> None:
        every = stage.seconds(*RESTART_EVERY)
        while time.perf_counter() + every < end:
            await asyncio.sleep(every - DOWN_SECONDS)
            killed = time.perf_counter()
            stage.redis.kill()
            await asyncio.sleep(DOWN_SECONDS)
            await asyncio.to_thread(stage.redis.start)
            restarts.append((killed, time.perf_counter()))

    async def churn() -> None:
        while time.perf_counter() < end:
            # Slowly: the writers are there to bring new members, not to fill the machine.
            async with writing([stage.http], stage.catalog.any, f"soak-{len(written)}", pause_seconds=0.1) as events:
                await asyncio.sleep(stage.seconds(*CHURN_SECONDS))
            written.append(events)

    async def deploy() -> None:
        turns = itertools.cycle(itertools.product(("2", "1"), ("feed", "ads")))
        # A busy machine takes longer to load one than the quick form takes between two: then the load goes on longer.
        while time.perf_counter() + stage.seconds(*RELOAD_EVERY) < end or len(refusals) < LEAST_RELOADS:
            await asyncio.sleep(stage.seconds(*RELOAD_EVERY))
            version, surface = next(turns)
            refusals.append(await reload(stage, surface, version))

    async def sample() -> None:
        while time.perf_counter() < end:
            samples.take(stage, await stage.metric("ranker_event_loop_tasks"))
            await asyncio.sleep(stage.seconds(0.2, 1.0))

    async with contextlib.AsyncExitStack() as stack:
        for surface, mode, rate in (
            ("feed", "amortized", FEED_RATE),
            ("ads", "amortized", ADS_RATE),
            ("feed", "non_amortized", NON_AMORTIZED_RATE),
        ):
            calls = stage.workload.calls(surface, mode)
            running.append(await stack.enter_async_context(traffic(stage.service.url, calls, rate)))
        await asyncio.gather(restart(), churn(), deploy(), sample())

    together = Traffic()
    together.sent = [sent for one in running for sent in one.sent]
    figures = together.figures()
    lost = sum([await events.lost(stage.http) for events in written])
    judge_events(figures, Writing([writer for events in written for writer in events.writers]), lost)
    figures.expect(lost == 0, f"{lost} acknowledged events are lost")
    judge_growth(figures, samples)
    judge_restarts(figures, together, restarts, end)
    figures.facts |= {"restarts of Redis": float(len(restarts)), "members who wrote": float(8 * len(written))}
    figures.facts |= {"reloads": float(len(refusals)), "tries refused without Redis": float(sum(refusals))}
    figures.expect(figures.shed == 0, f"{figures.shed} requests were refused")
    return figures


ROWS = (
    Row(
        "soak",
        "mixed load, churn, reloads, restarts",
        soak,
        settings=SETTINGS,
        redis=DURABLE,
        alone=True,
        slow=True,
    ),
)
