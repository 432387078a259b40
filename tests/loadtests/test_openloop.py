"""The open-loop generator."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtests.checks import Outcome
from loadtests.connection import Connection, loopback
from loadtests.openloop import Measured, generate, run
from loadtests.workload import Workload
from tests.loadtests.conftest import Answering, rightly, stalling

STALL_SECONDS = 0.5


async def closed_loop(url: str, bodies: list[bytes]) -> list[float]:
    """Latencies in ms of one connection that waits for each answer before it sends the next request."""
    connection, found = await Connection.open(loopback(url)), []
    for body in bodies:
        sent = time.perf_counter()
        found.append(1e3 * ((await connection.rank(body)).at - sent))
        await asyncio.sleep(0.005)
    connection.close()
    return found


def test_a_stall_that_a_closed_loop_hides_is_seen(workload: Workload, answering: Answering) -> None:
    """One pause of half a second in two: a twentieth of what the closed loop sends notices, and a fifth of what members
    would have sent; so the one's p90 is the server's usual latency and the other's is most of the pause."""
    calls = workload.calls("feed", "amortized")
    with answering(stalling(rightly(calls), 100, STALL_SECONDS)) as url:
        closed = run(closed_loop(url, [call.body for call in calls * 5][:200]))
    with answering(stalling(rightly(calls), 100, STALL_SECONDS)) as url:
        opened = run(generate(url, calls, 100.0, 2.0, seed=1, connections=1))

    assert opened.outcomes[Outcome.answered] == opened.offered
    assert max(closed) > 1e3 * STALL_SECONDS
    assert np.percentile(opened.corrected_ms, 90) > 5 * np.percentile(closed, 90)
    assert np.percentile(opened.corrected_ms, 90) > 5 * np.percentile(opened.service_ms, 90)


def test_requests_leave_when_they_are_due(workload: Workload, answering: Answering) -> None:
    """A Poisson process: gaps as spread as their mean, and no request before its moment."""
    calls = workload.calls("ads", "amortized")
    with answering(rightly(calls)) as url:
        measured = run(generate(url, calls, 150.0, 2.0, seed=2))

    assert measured.offered == measured.outcomes[Outcome.answered] == len(measured.corrected_ms)
    assert abs(measured.offered - 300) < 4 * np.sqrt(300)
    assert min(measured.late_ms) >= 0
    assert measured.refusals(0.05) == []


def test_wrong_answers_and_lost_connections_refuse_the_run(workload: Workload, answering: Answering) -> None:
    """A body that is no ranking counts as wrong, and so does a server that is not there."""
    calls = workload.calls("feed", "amortized")
    with answering(lambda body: (200, b"{}")) as url:
        measured = run(generate(url, calls, 50.0, 0.5, seed=1))

    assert measured.outcomes == {Outcome.wrong: measured.offered}
    assert "wrong answers" in measured.refusals(0.05)[0]
    with pytest.raises(OSError, match="Connect"):
        run(generate(url, calls, 50.0, 0.5, seed=1))


def test_a_backlog_refuses_the_run() -> None:
    """What was answered after the end does not count as achieved."""
    measured = Measured(seconds=10.0, offered=100, in_time=90)

    assert measured.achieved_rps == 9.0
    assert "achieved 9.0 of 10.0" in measured.refusals(0.05)[0]
    assert measured.refusals(0.1) == []


def test_load_is_bounded(workload: Workload) -> None:
    """So many requests are never sent."""
    with pytest.raises(ValueError, match="at most"):
        run(generate("http://127.0.0.1:9", workload.calls("feed", "amortized"), 1e6, 1.0, seed=1))


@pytest.mark.slow
def test_from_the_command_line(repository: Path) -> None:
    """Against a service of its own it holds, and its last line has the corrected percentiles."""
    command = [
        sys.executable,
        "-m",
        "loadtests.openloop",
        "--models",
        str(repository),
        "--rate",
        "50",
        "--seconds",
        "3",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    facts = msgspec.json.decode(done.stdout.splitlines()[-1])
    assert facts["held"]
    assert facts["corrected_ms"]["p50"] >= facts["from_sending_ms"]["p50"]
