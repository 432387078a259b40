"""Load beside a fault: every request is accounted for, with the moment it was due."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from loadtests.chaos.traffic import Sent, Traffic, traffic
from loadtests.checks import Outcome
from loadtests.workload import Workload
from service.schemas import Problem
from tests.loadtests.conftest import Answering, rightly, stalling


def of(*outcomes: Outcome) -> Traffic:
    """One request a second, each answered after 10 ms."""
    running = Traffic()
    running.sent = [Sent(float(at), at + 0.01, outcome, "why") for at, outcome in enumerate(outcomes)]
    return running


A, D, S, W = Outcome.answered, Outcome.degraded, Outcome.shed, Outcome.wrong


def test_figures_count_every_outcome_and_name_what_failed() -> None:
    """A failed request breaks the row whatever its fault."""
    figures = of(A, A, D, S, W).figures()
    assert (figures.sent, figures.answered, figures.degraded, figures.shed, figures.failed) == (5, 2, 1, 1, 1)
    assert figures.worst_ms == pytest.approx(10.0)
    assert figures.broken == ["1 requests failed: why"]
    assert figures.recovery_s is None


@pytest.mark.parametrize(
    ("outcomes", "seconds"), [((A, A, A), 0.0), ((D, A, A), 1.5), ((D, A, S, A), 3.5), ((A, A, D), None), ((), None)]
)
def test_recovery_is_when_the_last_trouble_ended(outcomes: tuple[Outcome, ...], seconds: float | None) -> None:
    """From the fault's end to the first of the answers that went on to the end."""
    running = of(W, *outcomes)
    assert running.recovery_seconds(0.5) == seconds
    assert (running.figures(0.5).recovery_s is None) == (seconds is None)


async def test_requests_leave_when_they_are_due(workload: Workload, answering: Answering) -> None:
    """A stall is felt by all that fell due in it: none waits to be sent for an answer to another."""
    calls = workload.calls("feed", "amortized")
    with answering(stalling(rightly(calls), at=5, seconds=0.4)) as url:
        async with traffic(url, calls, 100.0) as running:
            await asyncio.sleep(0.6)
    assert len(running.sent) >= 40
    assert {sent.outcome for sent in running.sent} == {A}
    assert sum(sent.milliseconds > 100 for sent in running.sent) >= 10


async def test_calm_waits_until_the_trouble_is_over(workload: Workload, answering: Answering) -> None:
    """It returns after so long without a refusal, and not for ever where there is no end of them."""
    calls = workload.calls("feed", "amortized")
    right, seen = rightly(calls), 0
    refusal = msgspec.json.encode(Problem("t", "t", 503, "store_unavailable", "d", "r"))

    def at_first_unavailable(body: bytes) -> tuple[int, bytes]:
        nonlocal seen
        seen += 1
        return right(body) if seen > 20 else (503, refusal)

    with answering(at_first_unavailable) as url:
        async with traffic(url, calls, 100.0) as running:
            await running.calm(0.2, 20.0)
    assert running.figures().shed == 20
    assert all(sent.outcome is A for sent in sorted(running.sent)[20:])
    with answering(lambda body: (503, refusal)) as url:
        async with traffic(url, calls, 100.0) as running:
            await running.calm(0.2, 0.2)
    assert running.figures(0.0).broken == ["it did not recover while load ran"]


async def test_a_service_that_is_gone_fails_every_request(workload: Workload, answering: Answering) -> None:
    """Nothing is left out because it could not be sent."""
    with answering(lambda body: (200, b"")) as url:
        pass
    async with traffic(url, workload.calls("feed", "amortized"), 100.0) as running:
        await asyncio.sleep(0.2)
    assert {sent.outcome for sent in running.sent} == {W}
    assert len(running.sent) >= 10
