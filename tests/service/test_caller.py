"""Caller: deadlines of the caller's own, and callers that hang up, also at a real service with a busy thread."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from loadtests.faults.bundles import FAULT, SPIN
from service.caller import DEADLINE_HEADER, give_up_at, while_connected
from service.client import ProblemError
from service.errors import InvalidRequest
from service.schemas import Candidate, Mode, RankRequest
from tests.live import Live

BUSY_MS = 800.0
NEVER = SPIN + 10 * BUSY_MS  # had it begun, nothing else would be answered for a while


class Line:
    """What a request's `receive` gives: nothing, until the caller hangs up."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.listeners = 0

    async def receive(self) -> Message:
        self.listeners += 1
        try:
            await self.gone.wait()
        finally:
            self.listeners -= 1
        return {"type": "http.disconnect"}


def request(fault: float = 0.0, mode: Mode = "amortized") -> RankRequest:
    return RankRequest("m", "feed", [Candidate("item-1")], mode=mode, context={FAULT: fault})


@pytest.fixture
def busy(faulty: Live) -> Iterator[Live]:
    """A service whose only thread is at work for a while, and then is not."""
    worker = threading.Thread(target=faulty.client.rank, args=(request(SPIN + BUSY_MS, "non_amortized"),))
    worker.start()
    for name, labels in (("ranker_inflight_requests", {"mode": "non_amortized"}), ("ranker_pool_busy_threads", {})):
        while faulty.metric(name, **labels) == 0.0:
            assert worker.is_alive(), "too quick"
    yield faulty
    worker.join()
    assert len(faulty.client.rank(request()).response.ranked) == 1  # the thread is free: nothing else began


@pytest.mark.parametrize("header", ["", "-1", "1.5", "soon", "123456789", "1e3", "0x10", " 5", "٣"])
def test_a_deadline_that_is_none_is_refused(header: str) -> None:
    """The error names the header."""
    with pytest.raises(InvalidRequest) as refused:
        give_up_at(header, 100.0)
    assert refused.value.field == DEADLINE_HEADER


def test_a_deadline_counts_from_receipt() -> None:
    """In milliseconds; none is none."""
    assert give_up_at("250", 100.0) == 100.25
    assert give_up_at("0", 100.0) == 100.0
    assert give_up_at(None, 100.0) is None


async def test_work_is_awaited_while_the_caller_is_there() -> None:
    """Its result and its errors are passed on, and nobody listens afterwards."""
    line = Line()

    async def work(result: int) -> int:
        await asyncio.sleep(0.01)
        return 7 // result

    assert await while_connected(line.receive, work(1), listen_after=0.0) == 7
    with pytest.raises(ZeroDivisionError):
        await while_connected(line.receive, work(0), listen_after=0.0)
    await asyncio.sleep(0)
    assert line.listeners == 0


async def test_nobody_listens_for_the_callers_of_quick_work() -> None:
    """Listening takes a task; an answer that is there at once is not worth one."""
    line = Line()
    await while_connected(line.receive, asyncio.sleep(0))
    await asyncio.sleep(0)

    assert line.listeners == 0


async def test_work_ends_when_the_caller_hangs_up() -> None:
    """It is cancelled, and whoever asked learns why; its task may go on."""
    line, cancelled = Line(), False

    async def work() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    asyncio.get_running_loop().call_later(0.01, line.gone.set)
    with pytest.raises(ClientDisconnect):
        await while_connected(line.receive, work(), listen_after=0.0)

    assert cancelled
    await asyncio.sleep(0)


async def test_a_cancellation_from_elsewhere_is_not_a_disconnect() -> None:
    """A server that stops cancels its tasks, and they end as cancelled."""
    line = Line()
    task = asyncio.create_task(while_connected(line.receive, asyncio.sleep(60), listen_after=0.0))
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


def test_nonsense_in_the_header_is_a_typed_refusal(faulty: Live) -> None:
    """422, and `field` is the header's name."""
    body = {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}]}
    answer = faulty.http.post("/v1/rank", json=body, headers={DEADLINE_HEADER: "soon"})

    assert (answer.status_code, answer.json()["field"]) == (422, DEADLINE_HEADER)


def test_a_deadline_that_has_passed_is_told_at_once(faulty: Live) -> None:
    """Somebody before us has used up all the time."""
    with pytest.raises(ProblemError) as late:
        faulty.client.rank(request(), deadline_ms=0)
    assert (late.value.problem.status, late.value.problem.code) == (504, "deadline_exceeded")


def test_work_whose_deadline_passes_before_it_begins_never_does(busy: Live) -> None:
    """504 long before the thread is free, counted; and when it is free, it stays so."""
    before = busy.metric("ranker_shed_total", reason="deadline")
    start = time.monotonic()

    with pytest.raises(ProblemError) as late:
        busy.client.rank(request(NEVER), deadline_ms=50)

    assert (late.value.problem.status, late.value.problem.code) == (504, "deadline_exceeded")
    assert time.monotonic() - start < BUSY_MS / 1e3
    assert busy.metric("ranker_shed_total", reason="deadline") == before + 1


def test_work_of_a_caller_that_hung_up_before_it_began_never_does(busy: Live) -> None:
    """Counted as cancelled, and as 499; and when the thread is free, it stays so."""
    labels = {"surface": "feed", "mode": "amortized", "outcome": "cancelled"}
    before = busy.metric("ranker_request_duration_seconds_count", **labels)
    counted = busy.metric("ranker_http_requests_total", route="/v1/rank", status="499")
    parts = urlsplit(busy.url)
    body = json.dumps(
        {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}], "context": {FAULT: NEVER}}
    )
    head = f"POST /v1/rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall((head + body).encode())
        while busy.metric("ranker_inflight_requests", mode="amortized") == 0.0:
            time.sleep(0.005)

    give_up = time.monotonic() + 30
    while busy.metric("ranker_request_duration_seconds_count", **labels) != before + 1:
        assert time.monotonic() < give_up
    assert busy.metric("ranker_http_requests_total", route="/v1/rank", status="499") == counted + 1


def test_a_follower_is_answered_when_the_leader_of_its_encoding_hangs_up(busy: Live) -> None:
    """The encoding that both wait for belongs to nobody."""
    body = {"member_id": "shared", "surface": "feed", "candidates": [{"id": "item-1"}]}
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{busy.url}/v1/rank", json=body, timeout=0.2)

    followed = busy.http.post("/v1/rank", json=body)

    assert followed.status_code == 200
