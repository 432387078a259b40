"""The benchmarks' load: as much as is taken, or what falls due; a wrong answer ends the run."""

from __future__ import annotations

import time

import pytest

from loadtests.bench_load import poisson, saturate
from tests.loadtests.conftest import Answering, Respond, stalling

BODY = b'{"member_id": "m"}'


def after(seconds: float) -> Respond:
    """Right after a while, one at a time."""

    def respond(_: bytes) -> tuple[int, bytes]:
        time.sleep(seconds)
        return 200, b"{}"

    return respond


def test_saturation_is_what_the_server_takes(answering: Answering) -> None:
    """A server that needs 5 ms for each answers at most 200 a second, however many ask."""
    with answering(after(0.005)) as url:
        assert 20 < saturate(url, [BODY], concurrency=4, count=60) <= 201


def test_arrivals_wait_for_nobody(answering: Answering) -> None:
    """A stall of 0.3 s in a second of load is in the latencies of all that fell due in it."""
    with answering(stalling(after(0.0), 30, 0.3)) as url:
        seen = poisson(url, [BODY], rate=100.0, seconds=1.0, seed=1)

    assert len(seen.latencies) == 100
    assert sum(latency > 0.1 for latency in seen.latencies) >= 10
    assert 0.0 < seen.busy < 1.5


def test_an_answer_that_is_none_ends_the_run(answering: Answering) -> None:
    """A rate of refusals is no throughput."""
    with answering(lambda _: (429, b"no")) as url:
        with pytest.raises(RuntimeError, match="429"):
            saturate(url, [BODY], concurrency=2, count=4)
        with pytest.raises(ExceptionGroup):
            poisson(url, [BODY], rate=50.0, seconds=0.1, seed=1)
