"""Connection: clients that are slow, endless or not speaking HTTP, on real sockets against the real process."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from service.bodies import BODIES_AT_A_TIME
from service.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED
from tests.live import Process, process
from tests.service.raw_http import PATIENCE, SLOWEST, answers, connect, everything, post, problem, trickle

MOST = 60
LARGEST = 1 << 20
RANK = json.dumps({"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}]}).encode()
SLOW = json.dumps(
    {"member_id": "m", "surface": "feed", "mode": "non_amortized", "candidates": [{"id": f"i{i}"} for i in range(1000)]}
).encode()
JSON = {"content-type": "application/json"}
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def service(repository: Path) -> Iterator[Process]:
    """A service with tight bounds."""
    with process(
        "serve",
        *("--port", 0, "--model-repository", repository),
        RANKER_TRANSFER_SECONDS=str(SLOWEST),
        RANKER_MAX_CONNECTIONS=str(MOST),
        RANKER_NON_AMORTIZED_CHUNK="1",
        RANKER_MAX_BODY_BYTES=str(LARGEST),
    ) as started:
        started.url()
        yield started
        assert "Traceback" not in "".join(started.log)


@pytest.fixture
def client(service: Process) -> Iterator[socket.socket]:
    """One connection to it."""
    with connect(service) as opened:
        yield opened


@pytest.mark.parametrize(
    "data",
    [HEALTH.replace(b"host: x", b"host: " + b"x" * 1000), post(RANK + b" " * 1000), b"\r\n" * 1000],
    ids=["head", "body", "blank lines"],
)
def test_what_trickles_is_ended(client: socket.socket, data: bytes) -> None:
    """Every byte comes in time and the whole does not: the request has one time limit, head and body together."""
    assert problem(trickle(client, data)) == (408, "request_timeout")


def test_who_says_nothing_is_ended(client: socket.socket) -> None:
    """A connection alone holds nothing for long. It ends without a word: nothing was asked."""
    assert everything(client) == b""


def test_a_trickling_chunked_body_is_ended(client: socket.socket) -> None:
    """Without a length too, and although the request is at work already."""
    client.sendall(
        b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )

    assert problem(trickle(client, b"1\r\n{\r\n" * 400)) == (408, "request_timeout")


def test_a_client_that_keeps_its_time_is_not_ended(client: socket.socket) -> None:
    """The limit is of one request, not of a connection; between requests it may wait."""
    for _ in range(4):
        client.sendall(HEALTH)
        answers(client, 1)
        time.sleep(SLOWEST * 0.6)


def test_a_request_at_work_is_not_on_the_clients_time(client: socket.socket) -> None:
    """A ranking may take longer than a request may take to arrive."""
    client.sendall(post(SLOW) * 3)
    answers(client, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nx: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nx: " + b"x" * (4 << 20),
        b"POST /v1/rank HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"x" * (4 << 20),
    ],
    ids=["path", "header", "headers", "endless header", "endless trailer"],
)
def test_a_head_without_end_is_refused(client: socket.socket, data: bytes) -> None:
    """Each part of it, and what follows a body, is counted whether or not it ever ends."""
    with contextlib.suppress(ConnectionError):
        client.sendall(data)
    answer = everything(client)

    assert answer[9:12] in (b"431", b"415", b"")  # the trailer's request is refused for its media type at once
    if answer[9:12] == b"431":
        assert problem(answer) == (431, "headers_too_large")


def test_endless_heads_take_no_memory(service: Process) -> None:
    """Twenty clients that send megabytes of headers leave the service as large as it was."""
    process_ = psutil.Process(service.popen.pid)
    before = process_.memory_info().rss
    for _ in range(20):
        with connect(service) as client:
            try:
                for _ in range(64):
                    client.sendall(b"GET / HTTP/1.1\r\nx: " + b"x" * 65536)
            except ConnectionError:
                continue

    assert process_.memory_info().rss - before < 32 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        b"GET \xff HTTP/1.1\r\n\r\n",
        b"POST /v1/rank HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/rank HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    ],
    ids=["TLS", "header name", "path", "two framings", "two lengths", "CONNECT"],
)
def test_what_is_not_http_is_a_problem(client: socket.socket, data: bytes) -> None:
    """A stranger's bytes, and framings that two servers could read in two ways, are refused and not logged as bugs."""
    client.sendall(data)

    assert problem(everything(client)) == (400, "malformed_request")


def test_a_broken_chunk_ends_the_request_that_reads_it(client: socket.socket) -> None:
    """The request at work is answered with the refusal, and only once."""
    client.sendall(b"POST /v1/rank HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    time.sleep(0.05)
    client.sendall(b"2\r\n{}\r\nzz\r\n")
    answer = everything(client)

    assert answer.count(b"HTTP/1.1") == 1
    assert problem(answer) == (400, "malformed_request")


def test_an_earlier_request_is_answered_first(client: socket.socket) -> None:
    """Rubbish behind a request in flight does not take its answer's place: that is given, and then the end."""
    client.sendall(post(SLOW))
    time.sleep(0.05)
    client.sendall(b"rubbish\r\n\r\n")
    answer = everything(client)

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


def test_pipelined_requests_are_bounded(client: socket.socket, service: Process) -> None:
    """A few may wait their turn; with thousands the first is answered and the connection ended."""
    client.sendall(HEALTH * MAX_PIPELINED)
    answers(client, MAX_PIPELINED)

    with connect(service) as flood:
        with contextlib.suppress(ConnectionError):
            flood.sendall(HEALTH * 5000)
        assert everything(flood).count(b"HTTP/1.1 200") <= MAX_PIPELINED


def test_an_upgrade_is_answered_plainly_and_ended(client: socket.socket) -> None:
    """There is no other protocol to change to."""
    client.sendall(b"GET /healthz HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")

    assert everything(client).startswith(b"HTTP/1.1 200")


def test_who_takes_no_answer_is_ended(service: Process) -> None:
    """Answers that nobody reads are not kept for ever."""
    asked = {"member_id": "m", "surface": "feed", "candidates": [{"id": "x" * 200 + str(i)} for i in range(1000)]}
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(PATIENCE)
        host, port = service.url().removeprefix("http://").split(":")
        deaf.connect((host, int(port)))
        connections = psutil.Process(service.popen.pid).net_connections
        ours = deaf.getsockname()
        deaf.setblocking(False)
        give_up = time.monotonic() + PATIENCE
        request = post(json.dumps(asked).encode())
        while True:
            try:
                deaf.send(request)
            except BlockingIOError:
                pass
            except ConnectionError:
                break
            if not any(c.raddr == ours and c.status == "ESTABLISHED" for c in connections("tcp")):
                break
            assert time.monotonic() < give_up, "it keeps the answer for ever"
            time.sleep(0.05)


def test_too_many_connections_are_sent_away(service: Process) -> None:
    """Beyond the limit a client is told 503 at once; when others leave there is room again."""
    held = [connect(service) for _ in range(MOST)]
    try:
        with connect(service) as one_more:
            assert problem(everything(one_more)) == (503, "unavailable")
    finally:
        for client in held:
            client.close()
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            assert httpx.get(f"{service.url()}/healthz").status_code == 200
            break
        except (AssertionError, httpx.HTTPError):
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_large_bodies_of_many_share_a_bound(service: Process) -> None:
    """Clients that each send nearly all of a body fill what is kept for bodies; then they are shed, and memory is
    bounded by that and not by how many there are."""
    process_ = psutil.Process(service.popen.pid)
    before = process_.memory_info().rss
    unfinished = post(b" " * (LARGEST - 1))[:-1]
    held = [connect(service) for _ in range(BODIES_AT_A_TIME + 8)]
    try:
        for client in held:
            client.sendall(unfinished)
        shed = [client for client in held if select.select([client], [], [], 0.05)[0]]
        grown = process_.memory_info().rss - before
        assert 8 <= len(shed) < len(held)
        assert shed[-1].recv(65536).startswith(b"HTTP/1.1 429")
        assert grown < (BODIES_AT_A_TIME + 8) * LARGEST * 2
    finally:
        for client in held:
            client.close()
    give_up = time.monotonic() + PATIENCE
    while httpx.post(f"{service.url()}/v1/rank", content=RANK, headers=JSON).status_code != 200:
        assert time.monotonic() < give_up, "what was given up is not free again"
