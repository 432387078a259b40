"""Traffic: open-loop ranking load beside a fault. What became of each request is kept with the moment it was due.

Requests leave when they are due, whatever became of those before; a latency counts from that moment. The number of
requests and of connections is bounded. It does not know the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from loadtests.chaos.row import Figures
from loadtests.checks import Outcome, judge
from loadtests.connection import Address, Connection, loopback
from loadtests.workload import Call

MOST_REQUESTS = 200_000
MOST_UNDER_WAY = 512


class Sent(NamedTuple):
    """One request. due, done: by time.perf_counter · what: what was wrong with it, or the problem's status and code."""

    due: float
    done: float
    outcome: Outcome
    what: str

    @property
    def milliseconds(self) -> float:
        return 1e3 * (self.done - self.due)


class Traffic:
    """What was sent so far. Figures cover everything whose due moment lies in a span."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def between(self, begin: float, end: float) -> list[Sent]:
        return [sent for sent in self.sent if begin <= sent.due < end]

    def figures(self, healed: float | None = None) -> Figures:
        """Of all of it. healed: the moment the fault ended, from which recovery is counted."""
        counts = Counter(sent.outcome for sent in self.sent)
        figures = Figures(
            sent=len(self.sent),
            answered=counts[Outcome.answered],
            degraded=counts[Outcome.degraded],
            shed=counts[Outcome.shed],
            failed=counts[Outcome.wrong],
            worst_ms=worst_ms(self.sent),
        )
        if healed is not None:
            figures.recovery_s = self.recovery_seconds(healed)
            figures.expect(figures.recovery_s is not None, "it did not recover while load ran")
        wrong = Counter(sent.what for sent in self.sent if sent.outcome is Outcome.wrong)
        for what, times in wrong.most_common(3):
            figures.broken.append(f"{times} requests failed: {what}")
        return figures

    async def calm(self, seconds: float, within: float) -> None:
        """Returns once requests were answered in full for so long, `within` at the latest."""
        begun = time.perf_counter()
        quiet = begun
        while time.perf_counter() < min(quiet + seconds, begun + within + seconds):
            await asyncio.sleep(0.02)
            troubled = [sent.done for sent in self.sent[-50:] if sent.outcome is not Outcome.answered]
            quiet = max(quiet, *troubled) if troubled else quiet

    def recovery_seconds(self, healed: float, until: float = float("inf")) -> float | None:
        """From `healed` to the first of the requests that were all answered in full up to `until`; None if the last
        one was not."""
        after = sorted(self.between(healed, until))
        lasting = list(itertools.takewhile(lambda sent: sent.outcome is Outcome.answered, reversed(after)))
        if not lasting:
            return None
        return 0.0 if len(lasting) == len(after) else max(0.0, lasting[-1].due - healed)


def worst_ms(sent: Sequence[Sent]) -> float:
    return max((one.milliseconds for one in sent), default=0.0)


@contextlib.asynccontextmanager
async def traffic(url: str, calls: Sequence[Call], rate: float) -> AsyncIterator[Traffic]:
    """`rate` requests a second, evenly, while the block runs; on its way out it waits for those under way."""
    running = Traffic()
    sender = asyncio.create_task(_send(running, loopback(url), calls, rate))
    try:
        yield running
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender


async def _send(running: Traffic, address: Address, calls: Sequence[Call], rate: float) -> None:
    free: list[Connection] = []
    under_way: set[asyncio.Task[None]] = set()

    async def send(call: Call, due: float) -> None:
        try:
            while free and free[-1].closed:
                free.pop()
            connection = free.pop() if free else await Connection.open(address)
            answer = await connection.rank(call.body)
        except (OSError, TimeoutError) as error:
            running.sent.append(Sent(due, time.perf_counter(), Outcome.wrong, type(error).__name__))
            return
        if not connection.closed:
            free.append(connection)
        outcome, what, _ = judge(call, answer.status, answer.body)
        running.sent.append(Sent(due, answer.at, outcome, what))

    due = time.perf_counter()
    try:
        for call in itertools.islice(itertools.cycle(calls), MOST_REQUESTS):
            due += 1.0 / rate
            await asyncio.sleep(due - time.perf_counter())
            if len(under_way) >= MOST_UNDER_WAY:  # the service let them pile up: not sent, and counted as failed
                running.sent.append(Sent(due, due, Outcome.wrong, f"{MOST_UNDER_WAY} requests were under way"))
                continue
            sending = asyncio.create_task(send(call, due))
            under_way.add(sending)
            sending.add_done_callback(under_way.discard)
        raise RuntimeError(f"a row that sends more than {MOST_REQUESTS} requests")
    finally:
        await asyncio.gather(*under_way)
        for connection in free:
            connection.close()
