"""An open-loop generator for the tails: requests leave when they are due, whatever has become of those before.

Arrivals are a Poisson process. A latency counts from the moment a request *should* have left, so a stall is felt by
every request that fell due in it, as it would be by members; a closed loop would have waited and not seen it
(coordinated omission). The last line is JSON. It does not know the service beyond its rank route.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import selectors
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from loadtests.catalog import read_catalog
from loadtests.checks import Outcome, judge
from loadtests.connection import Address, Connection, loopback
from loadtests.latency import percentiles, shown
from loadtests.serving import ServiceFailed, find_models, serving
from loadtests.shapes import find_data
from loadtests.workload import Call, Plan, Workload

T = TypeVar("T")

CONNECTIONS = 128
MOST_REQUESTS = 500_000
TOLERANCE = 0.05
WARM_UP = 20


@dataclass
class Measured:
    """One run. corrected_ms: from the intended moment · service_ms: from sending · late_ms: how much later than
    intended the generator itself sent, over requests that found a connection free · in_time: right answers that came
    before the run's planned end."""

    seconds: float
    offered: int
    in_time: int = 0
    cpu_share: float = 0.0
    corrected_ms: list[float] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def offered_rps(self) -> float:
        return self.offered / self.seconds

    @property
    def achieved_rps(self) -> float:
        """A backlog that is worked off after the end does not count."""
        return self.in_time / self.seconds

    def refusals(self, tolerance: float) -> list[str]:
        """Why the figures do not stand for the rate that was asked for."""
        found = []
        if self.outcomes[Outcome.wrong]:
            found.append(f"{self.outcomes[Outcome.wrong]} wrong answers")
        if not self.offered:
            found.append("nothing was offered")
        elif self.in_time < (1.0 - tolerance) * self.offered:
            found.append(
                f"achieved {self.achieved_rps:.1f} of {self.offered_rps:.1f} requests/s offered, "
                f"{self.in_time / self.offered:.1%}; at least {1 - tolerance:.0%} was asked"
            )
        return found


class _Pool:
    """Connections that are opened when none is free, up to `most`; a request beyond that waits, and its clock runs."""

    def __init__(self, address: Address, most: int) -> None:
        self._address = address
        self._permits = asyncio.Semaphore(most)
        self._free: list[Connection] = []
        self._all: list[Connection] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        async with self._permits:
            if self._free:
                taken = self._free.pop()
            else:
                taken = await Connection.open(self._address)
                self._all.append(taken)
            yield taken
            self._free.append(taken)  # one that failed is not used again

    async def open(self, count: int) -> None:
        opened = [await Connection.open(self._address) for _ in range(count)]
        self._all += opened
        self._free += opened

    def close(self) -> None:
        for connection in self._all:
            connection.close()


async def generate(
    url: str, calls: Sequence[Call], rate: float, seconds: float, seed: int, connections: int = CONNECTIONS
) -> Measured:
    """Send `rate` requests a second for `seconds`, in the order of `calls`, again and again. Run it with `run`."""
    rng = np.random.default_rng([seed, 3])
    count = int(rng.poisson(rate * seconds))
    if count > MOST_REQUESTS:
        raise ValueError(f"{count} requests; at most {MOST_REQUESTS} are sent in one run")
    moments = np.sort(rng.uniform(0.0, seconds, count)).tolist()  # a Poisson process, given its count
    pool = _Pool(loopback(url), connections)
    await pool.open(min(connections, 16))
    measured = Measured(seconds, count)

    async def send(call: Call, intended: float, sent_free: bool) -> None:
        try:
            async with pool.connection() as connection:
                sent = time.perf_counter()
                answer = await connection.rank(call.body)
        except (OSError, TimeoutError) as error:
            measured.outcomes[Outcome.wrong] += 1
            measured.faults[type(error).__name__] += 1
            return
        outcome, fault, _ = judge(call, answer.status, answer.body)
        measured.outcomes[outcome] += 1
        if sent_free:
            measured.late_ms.append(1e3 * (sent - intended))
        if outcome is Outcome.answered:
            measured.in_time += answer.at <= started + seconds
            measured.corrected_ms.append(1e3 * (answer.at - intended))
            measured.service_ms.append(1e3 * (answer.at - sent))
        else:
            measured.faults[f"{outcome}: {fault}"] += 1

    under_way: set[asyncio.Task[None]] = set()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        for moment, call in zip(moments, itertools.cycle(calls), strict=False):
            intended = started + moment
            delay = intended - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            sending = asyncio.create_task(send(call, intended, len(under_way) < connections))
            under_way.add(sending)
            sending.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    finally:
        for sending in under_way:
            sending.cancel()
        pool.close()
    measured.cpu_share = (time.process_time() - cpu) / (time.perf_counter() - started)
    return measured


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, with select: its timeouts are exact to microseconds, epoll's only to milliseconds."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(main)


def main() -> int:
    options = _options()
    models, data = find_models(options.models), find_data(options.data)
    workload = Workload(read_catalog(models), Plan(options.seed, data=data, candidates=options.candidates))
    calls = workload.calls(options.surface, options.mode)
    try:
        with contextlib.ExitStack() as stack:
            url = options.url or stack.enter_context(serving(models, workload)).url
            run(generate(url, calls, WARM_UP, 1.0, options.seed + 1))
            measured = run(generate(url, calls, options.rate, options.seconds, options.seed))
    except (ServiceFailed, OSError, ValueError) as error:
        sys.exit(f"refused: {error}")
    return _report(options, measured)


def _report(options: argparse.Namespace, measured: Measured) -> int:
    refused = measured.refusals(options.tolerance)
    corrected, closed = percentiles(measured.corrected_ms), percentiles(measured.service_ms)
    late = percentiles(measured.late_ms)
    cores = len(os.sched_getaffinity(0))
    print(f"{options.surface} {options.mode}: open loop, service and generator share {cores} cores")
    print(f"offered {measured.offered_rps:.1f} requests/s, achieved {measured.achieved_rps:.1f}")
    print(f"generator: {measured.cpu_share:.1%} of a core, sent {shown(late['p99'])} ms late at its p99\n")
    print("ms                          p50      p90      p99    p99.9      max")
    for name, found in (("from the intended moment", corrected), ("from sending", closed)):
        print(f"{name:<24}", *(f"{shown(found[key]):>8}" for key in ("p50", "p90", "p99", "p99.9", "max")))
    for fault, times in measured.faults.most_common(10):
        print(f"  seen {times} times: {fault}")
    for reason in refused:
        print(f"refused: {reason}", file=sys.stderr, flush=True)
    facts = {
        "surface": options.surface,
        "mode": options.mode,
        "held": not refused,
        "offered_rps": round(measured.offered_rps, 2),
        "achieved_rps": round(measured.achieved_rps, 2),
        "tolerance": options.tolerance,
        **{outcome.value: measured.outcomes[outcome] for outcome in Outcome},
        "corrected_ms": corrected,
        "from_sending_ms": closed,
        "generator_cpu_share": round(measured.cpu_share, 3),
        "generator_late_p99_ms": late["p99"],
        "refused": refused,
    }
    print(msgspec.json.encode(facts).decode(), flush=True)
    return 1 if refused else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.openloop", description=__doc__)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--surface", choices=("feed", "ads"), default="feed")
    parser.add_argument("--mode", choices=("amortized", "non_amortized"), default="amortized")
    parser.add_argument("--url", help="a local service with the workload's histories; default: one is started")
    parser.add_argument("--models", type=Path, help="model repository; default: the demo's, or a quick one is trained")
    parser.add_argument("--data", type=Path, help="folder with mind_sample/ to replay; default: RANKONCE_DATA")
    parser.add_argument("--candidates", type=int, help="so many in each request, instead of MIND's counts")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="how far achieved may fall short of offered")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
